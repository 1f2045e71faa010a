"""The report as files: a page that needs nothing but itself, Markdown, and CSV."""

import csv
import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fer.dissertation.entrants import PAPERS
from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.files import atomic_files, atomic_write
from fer.report.cells import ABOVE, BELOW, COVERED, METRICS, MISSING, SAMPLES, Estimate
from fer.report.figures import Matrices, Picture
from fer.report.runs import FLAGS
from fer.report.tables import MIXED, Line, Report, Row, ranges, section_title

PAGE, MARKDOWN, TABLES, ERRATA = 'index.html', 'report.md', 'tables.csv', 'errata.csv'
# A verdict's sign, so that it is not told by its colour alone, and its class in the style sheet.
_MARKS = {COVERED: '✓', ABOVE: '▲', BELOW: '▼', MIXED: '◆', MISSING: '–', '': ''}
_STYLES = {COVERED: 'covered', ABOVE: 'above', BELOW: 'below', MIXED: 'mixed', MISSING: 'missing', '': 'none'}
_TABLE_COLUMNS = (
    *('section', 'table', 'run_id', 'dataset', 'metric', 'printed', 'ours', 'sd', 'low', 'high', 'seeds', 'verdict'),
    *('cross_validated', 'optimistic', 'dates', 'commits', 'flags', 'unfinished'),
)
_COMMIT = 8  # digits of a commit that are shown
_NAMES = 5  # of ignored folders that are shown


def write_report(
    output: Path,
    report: Report,
    curves: Sequence[Picture],
    matrices: Sequence[Matrices],
    statistics: Sequence[tuple[str, Sequence[Picture]]],
    note: str,
) -> list[Path]:
    """Writes index.html, report.md, tables.csv and errata.csv, all of them or, on an error before, none.

    Args:
      output: a folder, made if need be.
      report: all that is said in numbers.
      curves: figures of chapter 6.
      matrices: figures of chapter 6.
      statistics: figures of chapter 2, for each folder of data its name and pictures.
      note: stands on top; '' for none.

    Returns:
      The files written.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f'--output={output}: a file; expected a folder')
    values: dict[str, Any] = {
        **{'report': report, 'curves': curves, 'matrices': matrices, 'statistics': statistics, 'note': note},
        **{'emotions': EMOTIONS, 'papers': PAPERS, 'kinds': FLAGS, 'samples': SAMPLES},
    }
    templates = _templates()
    texts = {
        PAGE: templates.get_template('page.html').render(values),
        MARKDOWN: templates.get_template('report.md').render(values),
        TABLES: _tables_csv(report),
        ERRATA: _to_csv(
            ('number', 'place', 'runs', 'text'),
            [(erratum.number, erratum.place, erratum.runs or '', erratum.text) for erratum in report.errata],
        ),
    }
    with atomic_files(output) as files:
        for name, text in texts.items():
            with atomic_write(files / name) as file:
                file.write(text)
    return [output / name for name in texts]


@functools.cache
def _templates() -> Environment:
    """Every value is escaped, in Markdown by the filter `md`, whose templates put it on whatever comes from outside."""
    environment = Environment(
        loader=PackageLoader('fer.report'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        **{'md': _escape_markdown, 'one': _one_decimal, 'ours': _ours, 'interval': _interval, 'mark': _MARKS.get},
        **{
            'style': _STYLES.get,
            'short': _short_commits,
            'section': section_title,
            'svg': Markup,
            'ranges': ranges,
            'notes': _notes,
            'span': _span,
            'some': _some,
        },
    }
    environment.filters |= filters
    return environment


def _one_decimal(number: float | None) -> str:
    return '' if number is None else f'{number:.1f}'


def _ours(ours: Estimate | None) -> str:
    """`45.3 ± 0.8`, without a spread where there is one seed."""
    if ours is None:
        return ''
    return f'{ours.mean:.1f}' if ours.spread is None else f'{ours.mean:.1f} ± {ours.spread:.1f}'


def _interval(ours: Estimate | None) -> str:
    return '' if ours is None else f'[{ours.low:.1f}, {ours.high:.1f}]'


def _short_commits(commits: Sequence[str]) -> str:
    return ', '.join(commit[:_COMMIT] for commit in commits)


def _notes(row: Row) -> str:
    """What is to be said of a row, in one line."""
    flags = [f'{flag.kind} ({who}): {flag.text}' for who, flag in row.flags]
    return '; '.join([*flags, *(f'unfinished, {text}' for text in _unfinished(row))])


def _unfinished(row: Row) -> list[str]:
    return [
        f'seed {seed}: {lacking}{f"; status: {status}" if status else ""}' for seed, lacking, status in row.unfinished
    ]


def _span(dates: Sequence[str]) -> str:
    """The first and the last day, or the only one."""
    return ' to '.join(dict.fromkeys([dates[0], dates[-1]])) if dates else ''


def _some(names: Sequence[str]) -> str:
    """The first few of many names, and how many there are besides."""
    rest = len(names) - _NAMES
    return ', '.join(names[:_NAMES]) + (f' and {rest} more' if rest > 0 else '')


def _escape_markdown(value: object) -> Markup:
    """Text that Markdown shows as it is, in a table as well: no markup, no HTML, one line."""
    text = ' '.join(str(value).split())
    for character in '\\`*_[]|~#$':
        text = text.replace(character, f'\\{character}')
    return Markup(text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;'))


def _tables_csv(report: Report) -> str:
    rows: list[Sequence[object]] = []
    for table in report.tables:
        for row in table.rows:
            for line in row.lines:
                rows.extend(_cells(table.section, table.number, row, line))
    for row in report.others:
        section, number, *_ = row.run_id.split('-')
        for line in row.lines:
            rows.extend(_cells(section, number.removeprefix('t'), row, line))
    return _to_csv(_TABLE_COLUMNS, rows)


def _cells(section: str, number: int | str, row: Row, line: Line) -> list[Sequence[object]]:
    cells: list[Sequence[object]] = []
    for metric in METRICS:
        printed, ours, verdict = getattr(line, metric)
        numbers = ('', '', '', '') if ours is None else (ours.mean, ours.spread, ours.low, ours.high)
        validated = metric == 'accuracy' and line.validated
        cells.append(
            (
                *(section, number, row.run_id, line.dataset, metric),
                '' if printed is None else printed,
                *(f'{value:.4f}' if isinstance(value, float) else '' for value in numbers),
                ' '.join(map(str, line.seeds)),
                verdict,
                f'{sum(line.validated) / len(line.validated):.4f}' if validated else '',
                line.optimistic,
                *(' '.join(row.dates), ' '.join(row.commits)),
                '; '.join(f'{who}: {flag.kind}: {flag.text}' for who, flag in row.flags),
                '; '.join(_unfinished(row)),
            )
        )
    return cells


def _no_formula(cell: object) -> object:
    """A cell that a spreadsheet does not compute: a text from a run folder may be `=HYPERLINK(...)`."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(('=', '+', '-', '@', '\t', '\r')) else cell


def _to_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(columns)
    writer.writerows([_no_formula(cell) for cell in row] for row in rows)
    return file.getvalue()
