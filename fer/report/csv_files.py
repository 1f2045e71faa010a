# SPDX-License-Identifier: Apache-2.0
"""The report's CSV files."""

import csv
import io
from collections.abc import Iterator, Sequence

from fer.report.intervals import METRICS
from fer.report.tables import DatasetLine, ReportTables, RunRow

_TABLE_COLUMNS = (
    *('section', 'table', 'run_id', 'dataset', 'metric', 'printed', 'ours', 'sd', 'low', 'high', 'seeds', 'verdict'),
    *('cross_validated', 'optimistic', 'dates', 'commits', 'flags', 'unfinished'),
)


def tables_csv(report: ReportTables) -> str:
    """Returns one line for each run, dataset and metric."""
    rows: list[Sequence[object]] = []
    for table in report.tables:
        for row in table.rows:
            rows.extend(_table_cells(table.section, table.number, row))
    for row in report.others:
        section, number, *_ = row.run_id.split('-')
        rows.extend(_table_cells(section, number.removeprefix('t'), row))
    return _to_csv(_TABLE_COLUMNS, rows)


def errata_csv(report: ReportTables) -> str:
    """Returns one line for each erratum of the dissertation."""
    rows = [(erratum.number, erratum.place, erratum.runs or '', erratum.text) for erratum in report.errata]
    return _to_csv(('number', 'place', 'runs', 'text'), rows)


def unfinished_seeds(row: RunRow) -> list[str]:
    """Returns a line for each unfinished seed of a run, with the reasons."""
    return [
        f'seed {seed}: {missing}{f"; status: {status}" if status else ""}' for seed, missing, status in row.unfinished
    ]


def _table_cells(section: str, number: int | str, row: RunRow) -> Iterator[Sequence[object]]:
    for line in row.lines:
        for metric in METRICS:
            yield _metric_cells(section, number, row, line, metric)


def _metric_cells(section: str, number: int | str, row: RunRow, line: DatasetLine, metric: str) -> Sequence[object]:
    printed, ours, verdict = getattr(line, metric)
    numbers = ('', '', '', '') if ours is None else (ours.mean, ours.spread, ours.low, ours.high)
    validated = metric == 'accuracy' and line.validated
    return (
        *(section, number, row.run_id, line.dataset, metric),
        '' if printed is None else printed,
        *(f'{value:.4f}' if isinstance(value, float) else '' for value in numbers),
        ' '.join(map(str, line.seeds)),
        verdict,
        f'{sum(line.validated) / len(line.validated):.4f}' if validated else '',
        line.optimistic,
        *(' '.join(row.dates), ' '.join(row.commits)),
        '; '.join(f'{who}: {flag.kind}: {flag.text}' for who, flag in row.flags),
        '; '.join(unfinished_seeds(row)),
    )


def _to_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(columns)
    writer.writerows([_no_formula(cell) for cell in row] for row in rows)
    return file.getvalue()


def _no_formula(cell: object) -> object:
    """Returns the cell. A text such as `=HYPERLINK(...)` is changed, so that a spreadsheet does not compute it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(('=', '+', '-', '@', '\t', '\r')) else cell
