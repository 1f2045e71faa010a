"""Curves and bars as SVG that takes its colours from the page, so that it is legible on light and dark."""

import csv
import functools
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fer.dissertation.confusion import Figure, read_figures
from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.report.runs import Seed, datasets_of, pooled_confusion
from fer.report.tables import answers_of
from fer.runs.logs import ONE_DATASET, read_log
from fer.runs.names import TRAIN_LOG, VALIDATION_LOG

# The figures of curves: of which run, and what is to be said of that.
_CURVES = {
    '6.1': ('6.1-t1-r3', ''),
    '6.3': ('6.1-t5-r3', ''),
    '6.5': ('6.2-t1-r13', ''),
    '6.7': ('6.3-t4-r1', ''),
    '6.9': ('6.4-t1-r5', ''),
    '6.11': ('6.4-t2-r6', 'Figure 6.12, captioned as the same run, has the numbers of 6.4-t2-r7 (erratum 2).'),
    # The caption's Run Four is of another option than the caption's Option 1, and the numbers are no run's. The text
    # reads the matrix against SE-ResNet-50's of 6.3; of that network's two runs of early fusion this is the better.
    '6.14': (
        '6.5e-t3-r2',
        'The caption, Option 1 and Run Four, fits no run (erratum 3). Shown is SE-ResNet-50, which the text compares '
        'it with, in the better of its two runs.',
    ),
}
_DECIDED = {'6.15': _CURVES['6.14']}  # figures of matrices whose run had to be decided
_POINTS = 150  # of a curve of training
_SERIES = 8  # colours that the page has
# Of each series, so that it is not told by its colour alone: matplotlib's marker, and the sign of the legend.
_MARKERS = (('', '━'), ('o', '●'), ('s', '■'), ('^', '▲'), ('D', '◆'), ('v', '▼'), ('P', '✚'), ('X', '✖'))
_BAR = '■'
_LENGTHS = {'train': '2.1', 'val': '2.2', 'test': '2.3'}
_CLASSES = {'train': '2.4', 'val': '2.5'}
# Drawn in colours that nothing else has, which the page's then take the place of.
_INK = '#010203'
_PAINTS = {_INK: 'currentColor', **{f'#0a0b{index:02x}': f'var(--series-{index})' for index in range(_SERIES)}}
_COLOURS = [colour for colour in _PAINTS if colour != _INK]


class Picture(NamedTuple):
    """A figure of curves or bars."""

    number: str  # of the dissertation's figure
    title: str
    note: str
    svgs: list[str]  # side by side; none where there is nothing to draw
    legend: list[tuple[str, str, str]]  # a sign and its colour, a CSS value, and what has them


class Matrices(NamedTuple):
    """A confusion matrix as printed, percent of the row, and ours."""

    number: str
    caption: str
    dataset: str
    run_id: str | None  # whose ours is
    note: str
    printed: np.ndarray  # float64 [7, 7], percent
    counts: np.ndarray | None  # int64 [7, 7], ours, of all seeds together; None without any
    percent: np.ndarray | None
    seeds: int


def draw_all_curves(seeds: Mapping[str, Sequence[Seed]]) -> list[Picture]:
    """Figures 6.1 to 6.14 of curves: loss and accuracy of our runs against epochs."""
    return [
        _draw_curves(number, run_id, note, [seed for seed in seeds.get(run_id, []) if seed.folder])
        for number, (run_id, note) in _CURVES.items()
    ]


def lay_out_matrices(seeds: Mapping[str, Sequence[Seed]]) -> list[Matrices]:
    """Figures 6.2 to 6.15 of confusion matrices, beside ours over all seeds."""
    return [_matrices(figure, seeds) for figure in read_figures()]


def _matrices(figure: Figure, seeds: Mapping[str, Sequence[Seed]]) -> Matrices:
    run_id, note = figure.run_id, ''
    if run_id is None and figure.figure in _DECIDED:
        run_id, note = _DECIDED[figure.figure]
    elif figure.matches is None:
        note = 'The matrix gives no run of the tables.'
    elif figure.matches != run_id:
        note = f'The caption names {run_id}; the matrix is that of {figure.matches}, which ours is of as well.'
        run_id = figure.matches
    answers = answers_of(seeds.get(run_id, []), figure.dataset) if run_id else []
    counts = pooled_confusion(answers) if answers else None
    percent = None if counts is None else 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return Matrices(
        figure.figure, figure.caption, figure.dataset, run_id, note, figure.row_percent, counts, percent, len(answers)
    )


def _draw_curves(number: str, run_id: str, note: str, seeds: Sequence[Seed]) -> Picture:
    logs = []
    for seed in seeds:
        assert seed.folder is not None
        train = _read_numbers(seed.folder / TRAIN_LOG, ('step', 'epoch', 'loss', 'accuracy'))
        validation = _read_numbers(seed.folder / VALIDATION_LOG, ('step', 'accuracy', 'dataset'))
        if train is not None and len(train):
            logs.append((train, validation))
    if not logs:
        return Picture(number, run_id, note, [], [])
    names = {ONE_DATASET: 'validation'} | {
        split: f'validation, {dataset}' for dataset, split in datasets_of(run_id).items()
    }
    found = [name for _, validation in logs if validation is not None for name in validation['dataset'].unique()]
    datasets = list(dict.fromkeys(found))[: _SERIES - 1]
    steps = logs[0][0]

    def draw(name: str, figure: Any) -> None:
        axes = figure.subplots()
        for train, validation in logs:
            scale = _epochs_per_step(train)
            curve = _thin(train['step'].to_numpy() * scale, train[name].to_numpy())
            axes.plot(*curve, color=_COLOURS[0], linewidth=1)
            if validation is None or name not in validation:  # of a loss of validation no log tells
                continue
            for dataset, colour, (marker, _) in zip(datasets, _COLOURS[1:], _MARKERS[1:], strict=False):
                rows = validation[validation['dataset'] == dataset]
                axes.plot(rows['step'] * scale, rows[name], color=colour, marker=marker, markersize=2.5)
        axes.set(xlabel='epoch', ylabel=name)
        if name == 'accuracy':
            axes.set_ylim(0, 1)

    labels = ['training', *(names.get(dataset, f'validation, {dataset}') for dataset in datasets)]
    legend = [
        (sign, f'var(--series-{index})', label)
        for index, (label, (_, sign)) in enumerate(zip(labels, _MARKERS, strict=False))
    ]
    count = f'{len(logs)} seed' if len(logs) == 1 else f'{len(logs)} seeds, a line each'
    title = f'{run_id}, {count}; {int(steps["step"].max())} steps in {int(steps["epoch"].max())} epochs'
    svgs = [_to_svg(functools.partial(draw, name), (4.2, 2.8), f'{number}-{name}') for name in ('loss', 'accuracy')]
    return Picture(number, title, note, svgs, legend)


def _epochs_per_step(train: pd.DataFrame) -> float:
    """Of the first epoch, which is a whole one unless it is the only one."""
    return 1 / max(int((train['epoch'] == train['epoch'].iloc[0]).sum()), 1)


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of at most _POINTS runs of neighbours."""
    parts = min(len(x), _POINTS)
    edges = np.linspace(0, len(x), parts + 1).astype(int)
    widths = np.diff(edges)
    return np.add.reduceat(x, edges[:-1]) / widths, np.add.reduceat(y, edges[:-1]) / widths


def _read_numbers(path: Path, columns: Sequence[str]) -> pd.DataFrame | None:
    """The columns of a log, whole rows only; None where there is no such log or it is not one."""
    try:
        log = read_log(path)
        table = pd.DataFrame({name: log[name] for name in columns})
    except (OSError, ValueError, KeyError, csv.Error):
        return None
    for name in set(columns) - {'dataset'}:
        table[name] = pd.to_numeric(table[name], errors='coerce')
    return table.replace([np.inf, -np.inf], np.nan).dropna()


def draw_statistics(folders: Sequence[Path]) -> list[tuple[str, list[Picture]]]:
    """Figures 2.1 to 2.5 of prepared data, as far as it has such splits.

    Args:
      folders: of data, each with the folder `statistics` that `python -m fer.prepare.statistics` writes.

    Returns:
      For each folder its name and pictures.

    Raises:
      InputError: a folder has no statistics, or they are not what that command writes.
    """
    drawn: list[tuple[str, list[Picture]]] = []
    for folder in folders:
        statistics = folder / 'statistics'
        if not statistics.is_dir():
            raise InputError(
                f'--data={folder}: no folder statistics; expected what `python -m fer.prepare.statistics '
                f'--data={folder}` writes'
            )
        pictures = []
        for numbers, kind, read in ((_LENGTHS, 'lengths', _draw_lengths), (_CLASSES, 'classes', _draw_classes)):
            for split, number in numbers.items():
                path = statistics / f'{kind}_{split}.csv'
                if path.exists():
                    pictures.append(read(path, number, split, f'{len(drawn)}-{number}'))
        drawn.append((str(folder), pictures))
    return drawn


def _draw_lengths(path: Path, number: str, split: str, salt: str) -> Picture:
    table = _read_statistics(path, ('frames_from', 'frames_to', 'videos'))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        widths = table['frames_to'] - table['frames_from'] + 1
        axes.bar(table['frames_from'] - 0.5, table['videos'], width=0.9 * widths, align='edge', color=_COLOURS[0])
        axes.set(xlabel='frames with a face', ylabel='videos')

    title = f'{split}: lengths of {int(table["videos"].sum())} videos'
    return Picture(number, title, '', [_to_svg(draw, (6, 2.8), salt)], [])


def _draw_classes(path: Path, number: str, split: str, salt: str) -> Picture:
    table = _read_statistics(path, ('class', 'videos', 'with_frames'))
    table = table[table['class'].isin(EMOTIONS)]
    if table.empty:
        return Picture(number, f'{split}: no labels', '', [], [])

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        without = table['videos'] - table['with_frames']
        axes.bar(table['class'], table['with_frames'], color=_COLOURS[0])
        bars = axes.bar(table['class'], without, bottom=table['with_frames'], color=_COLOURS[1])
        axes.bar_label(bars, [str(count) for count in table['videos']], color=_INK, fontsize=9)
        axes.set(ylabel='videos')
        axes.margins(y=0.12)

    title = f'{split}: classes of {int(table["videos"].sum())} videos'
    legend = [(_BAR, 'var(--series-0)', 'with frames'), (_BAR, 'var(--series-1)', 'without')]
    return Picture(number, title, '', [_to_svg(draw, (6, 2.8), salt)], legend)


def _read_statistics(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    expected = f'expected what `python -m fer.prepare.statistics` writes, with columns {", ".join(columns)}'
    try:
        found = read_log(path)
        if lacking := [name for name in columns if name not in found]:
            raise ValueError(f'no column {lacking[0]}')
        table = pd.DataFrame({name: found[name] for name in columns})
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f'{path}: {error}; {expected}') from None
    for name in set(columns) - {'class'}:
        table[name] = pd.to_numeric(table[name], errors='coerce')
        if not pd.api.types.is_integer_dtype(table[name]):
            raise InputError(f'{path}: column {name} has no whole numbers; {expected}')
    return table


def _to_svg(draw: Callable[[Any], None], size: tuple[float, float], salt: str) -> str:
    """An <svg> element that is transparent, keeps its text as text, and is the same for the same picture.

    Args:
      draw: draws on the matplotlib Figure that it is given.
      size: width and height in inches, each of 72 units of the element.
      salt: of the ids within, which have to differ between the pictures of a page.
    """
    # Here, not above: a report without curves has no use for it, and it is the slowest of all imports.
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    settings: dict[Any, Any] = {
        **{'svg.fonttype': 'none', 'svg.hashsalt': salt, 'text.parse_math': False, 'font.size': 9},
        **{f'{name}.color': _INK for name in ('text', 'xtick', 'ytick', 'grid')},
        **{'axes.edgecolor': _INK, 'axes.labelcolor': _INK, 'axes.grid': True, 'grid.alpha': 0.15},
        **{'axes.spines.top': False, 'axes.spines.right': False, 'axes.axisbelow': True},
        'font.family': ['sans-serif'],
    }
    with matplotlib.rc_context(settings):
        figure = Canvas(figsize=size, layout='constrained')
        FigureCanvasSVG(figure)
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format='svg', transparent=True, metadata={'Date': None, 'Creator': None})
    text = file.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
    text = re.sub(r'\bid="(?:figure|axes|patch|text|line2d|xtick|ytick|matplotlib\.axis|PathCollection)_\d+"', '', text)
    # What would hold for the whole page, and a list of fonts instead of the page's own.
    text = re.sub(r'<defs>\s*<style.*?</style>\s*</defs>', '', text, flags=re.DOTALL)
    text = re.sub(r' font-family: [^;"]*;', '', text)
    for colour, paint in _PAINTS.items():
        text = text.replace(colour, paint)
    # The page says how large it is; only the view box counts.
    return re.sub(r'(<svg\b[^>]*?) width="[^"]*"| height="[\d.]+pt"', r'\1', text, count=2)
