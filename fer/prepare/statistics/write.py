# SPDX-License-Identifier: Apache-2.0
"""The tables and figures of prepared splits, written to a folder, and their summary as text."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fer.files import atomic_write
from fer.manifest import UNKNOWN
from fer.prepare.statistics.counting import count_classes, count_lengths, count_skipped, summarise
from fer.prepare.statistics.figures import plot_classes, plot_lengths
from fer.prepare.statistics.splits import SplitContents, read_split

SUMMARY = 'summary.csv'


def write_statistics(data: Path, output: Path, splits: Sequence[str], item: str | None = None) -> list[dict[str, str]]:
    """Writes the tables and figures of prepared splits.

    - `classes_<split>.csv`, and a .png if any video is labelled.
    - `lengths_<split>.csv` and .png, if the split has lengths.
    - `skipped_<split>.csv`, if the split has a ledger.
    - `summary.csv`, with a row per split.

    Files of these names that no longer apply are removed.

    Args:
      data: folder of `<split>.txt` and their ledgers.
      output: folder to write to. It is made if it is missing.
      splits: names of the splits.
      item: what a line of a manifest is, one of ITEMS. None finds it as `read_split` does.

    Returns:
      The rows of summary.csv, for `format_summaries`.

    Raises:
      InputError: a manifest or ledger is missing or malformed. Then nothing is written.
    """
    contents = [read_split(data / f'{name}.txt', item) for name in splits]
    output.mkdir(parents=True, exist_ok=True)
    for split in contents:
        _write_split(split, output)
    summaries = [summarise(split) for split in contents]
    _write_table(output / SUMMARY, pd.DataFrame(summaries))
    return summaries


def _write_split(split: SplitContents, output: Path) -> None:
    """Writes the tables and figures of a split, and removes those that no longer apply."""
    lengths, classes = split.lengths, count_classes(split)
    labelled = classes[classes['class'] != UNKNOWN]
    tables = {'classes': classes}
    items = 'stills' if split.item == 'still' else 'videos'
    figures = {} if labelled.empty else {'classes': plot_classes(labelled, split.name, items)}
    if len(lengths):
        tables['lengths'] = count_lengths(lengths)
        figures['lengths'] = plot_lengths(tables['lengths'], float(np.median(lengths)), split.name)
    if split.with_ledger:
        tables['skipped'] = count_skipped(split)
    for kind in ('classes', 'lengths', 'skipped'):
        path = output / f'{kind}_{split.name}.csv'
        if kind in tables:
            _write_table(path, tables[kind])
        else:
            path.unlink(missing_ok=True)
        figure_path = path.with_suffix('.png')
        if kind in figures:
            with atomic_write(figure_path, 'wb') as file:
                figures[kind].savefig(file, format='png', dpi=100)
        else:
            figure_path.unlink(missing_ok=True)


def format_summaries(summaries: Sequence[Mapping[str, str]]) -> str:
    """Returns the rows of summary.csv as columns side by side, and notes on what is missing."""
    columns = [list(summaries[0]), *(list(summary.values()) for summary in summaries)]
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = [
        '  '.join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in zip(*columns, strict=True)
    ]
    notes = {
        'no ledger, so what was left out is not known': _names(summaries, 'ledger', ('no',)),
        'no labels': [s['split'] for s in summaries if s['unlabelled'] == s['videos']],
        'no video with frames, so no lengths': [
            s['split'] for s in summaries if s['item'] == 'frame' and s['with_frames'] == '0'
        ],
        'a line is the audio of a whole video, so no lengths': _names(summaries, 'item', ('video',)),
        'a line is an image, so no lengths': _names(summaries, 'item', ('still',)),
    }
    return '\n'.join(lines + [f'{", ".join(names)}: {note}' for note, names in notes.items() if names])


def _names(summaries: Iterable[Mapping[str, str]], column: str, values: Sequence[str]) -> list[str]:
    return [summary['split'] for summary in summaries if summary[column] in values]


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with atomic_write(path) as file:
        table.to_csv(file, index=False, lineterminator='\n')
