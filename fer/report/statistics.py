# SPDX-License-Identifier: Apache-2.0
"""The figures of chapter 2, plotted from prepared data. They show the lengths and classes of the videos."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.report.pictures import Picture, draw_image
from fer.runs.logs import read_log

# {split: number of the dissertation's figure}
_LENGTHS = {'train': '2.1', 'val': '2.2', 'test': '2.3'}
_CLASSES = {'train': '2.4', 'val': '2.5'}
_SIZE = (6, 2.8)  # inches


def draw_statistics(folders: Sequence[Path]) -> list[tuple[str, list[Picture]]]:
    """Draws figures 2.1 to 2.5, for the splits that the data have.

    Args:
      folders: folders of prepared data. `python -m fer.prepare.statistics` must have written `statistics` in each.

    Returns:
      The name and the pictures of each folder.

    Raises:
      InputError: a folder has no statistics, or its files are malformed.
    """
    drawn: list[tuple[str, list[Picture]]] = []
    for folder in folders:
        statistics = folder / 'statistics'
        if not statistics.is_dir():
            raise InputError(
                f'--data={folder}: no folder statistics; make it with `python -m fer.prepare.statistics '
                f'--data={folder}`'
            )
        pictures = []
        for numbers, kind, draw in ((_LENGTHS, 'lengths', _draw_lengths), (_CLASSES, 'classes', _draw_classes)):
            for split, number in numbers.items():
                path = statistics / f'{kind}_{split}.csv'
                if path.exists():
                    pictures.append(draw(path, number, split))
        drawn.append((str(folder), pictures))
    return drawn


def _draw_lengths(path: Path, number: str, split: str) -> Picture:
    table = _read_statistics(path, ('frames_from', 'frames_to', 'videos'))

    def draw(axes: Any) -> None:
        widths = table['frames_to'] - table['frames_from'] + 1
        axes.bar(table['frames_from'] - 0.5, table['videos'], width=0.9 * widths, align='edge')
        axes.set(xlabel='frames with a face', ylabel='videos')

    title = f'{split}: lengths of {int(table["videos"].sum())} videos'
    alt = f'Bar chart of split {split}: number of videos by their number of frames with a face'
    return Picture(number, title, '', [draw_image(draw, _SIZE, alt)])


def _draw_classes(path: Path, number: str, split: str) -> Picture:
    table = _read_statistics(path, ('class', 'videos', 'with_frames'))
    table = table[table['class'].isin(EMOTIONS)]
    if table.empty:
        return Picture(number, f'{split}: no labels', '', [])

    def draw(axes: Any) -> None:
        without = table['videos'] - table['with_frames']
        axes.bar(table['class'], table['with_frames'], label='with frames')
        bars = axes.bar(table['class'], without, bottom=table['with_frames'], label='without')
        axes.bar_label(bars, [str(count) for count in table['videos']], fontsize=9)
        axes.set(ylabel='videos')
        axes.margins(y=0.12)
        axes.legend(loc='center left', bbox_to_anchor=(1, 0.5))

    title = f'{split}: classes of {int(table["videos"].sum())} videos'
    counts = ', '.join(f'{name} {count}' for name, count in zip(table['class'], table['videos'], strict=True))
    alt = f'Bar chart of split {split}: number of videos of each class, with and without frames: {counts}'
    return Picture(number, title, '', [draw_image(draw, _SIZE, alt)])


def _read_statistics(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    expected = f'expected columns {", ".join(columns)}, as `python -m fer.prepare.statistics` writes them'
    try:
        found = read_log(path)
        if missing := [name for name in columns if name not in found]:
            raise ValueError(f'no column {missing[0]}')
        table = pd.DataFrame({name: found[name] for name in columns})
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f'{path}: {error}; {expected}') from None
    for name in set(columns) - {'class'}:
        table[name] = pd.to_numeric(table[name], errors='coerce')
        if not pd.api.types.is_integer_dtype(table[name]):
            raise InputError(f'{path}: column {name} has values that are not whole numbers; {expected}')
    return table
