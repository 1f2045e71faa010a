# SPDX-License-Identifier: Apache-2.0
"""The figures of chapter 6: training curves of our runs, and confusion matrices beside the printed ones."""

import csv
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fer.dissertation.confusion import Figure, read_figures
from fer.report.pictures import Image, Picture, draw_image
from fer.report.seeds import SeedRun, datasets_of, pooled_confusion
from fer.report.tables import results_of
from fer.runs.logs import ONE_DATASET, read_log
from fer.runs.names import TRAIN_LOG, VALIDATION_LOG

# {figure of curves: (the run it shows, a note)}
_CURVES = {
    '6.1': ('6.1-t1-r3', ''),
    '6.3': ('6.1-t5-r3', ''),
    '6.5': ('6.2-t1-r13', ''),
    '6.7': ('6.3-t4-r1', ''),
    '6.9': ('6.4-t1-r5', ''),
    '6.11': ('6.4-t2-r6', 'Figure 6.12, captioned as the same run, has the numbers of 6.4-t2-r7 (erratum 2).'),
    # The caption names Option 1 and Run Four, but Run Four has another option, and the numbers belong to no run. The
    # text compares the matrix with that of SE-ResNet-50 in 6.3. So we show the better of the two early fusion runs of
    # SE-ResNet-50.
    '6.14': (
        '6.5e-t3-r2',
        'The caption, Option 1 and Run Four, fits no run (erratum 3). The text compares the figure with SE-ResNet-50. '
        "Ours is the better of that network's two runs.",
    ),
}
_DECIDED = {'6.15': _CURVES['6.14']}  # {figure of a matrix whose run we had to choose: (run, note)}
_POINTS = 150  # maximum number of points of a training curve
_MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X')  # of the validation curves, so that they differ not only in colour
_SIZE = (4.2, 2.8)  # inches


class Matrices(NamedTuple):
    """A printed confusion matrix and ours, in percent of the row."""

    number: str
    caption: str
    dataset: str
    run_id: str | None  # of ours
    note: str
    printed: np.ndarray  # float64 [7, 7], percent
    counts: np.ndarray | None  # int64 [7, 7], ours, of all seeds together. None without runs
    percent: np.ndarray | None
    seeds: int


class _Logs(NamedTuple):
    """The logs of one run folder."""

    train: pd.DataFrame
    validation: pd.DataFrame | None

    @property
    def epochs_per_step(self) -> float:
        """Returns 1 / steps of the first epoch. That epoch is complete unless it is the only one."""
        epochs = self.train['epoch']
        return 1 / max(int((epochs == epochs.iloc[0]).sum()), 1)


def draw_all_curves(seeds: Mapping[str, Sequence[SeedRun]]) -> list[Picture]:
    """Draws the curves of figures 6.1 to 6.14: loss and accuracy of our runs against epochs."""
    return [
        _draw_curves(number, run_id, note, [seed.folder for seed in seeds.get(run_id, []) if seed.folder])
        for number, (run_id, note) in _CURVES.items()
    ]


def draw_run_curves(name: str, folder: Path) -> list[Image]:
    """Draws loss and accuracy of one run against epochs, for a run of any name. Empty without a row of training.

    Args:
      name: the run, for readers who do not see the curves.
      folder: of the run.
    """
    logs = _read_logs(folder)
    return _draw_panels(name, [logs], {}) if logs else []


def lay_out_matrices(seeds: Mapping[str, Sequence[SeedRun]]) -> list[Matrices]:
    """Returns the confusion matrices of figures 6.2 to 6.15, with ours over all seeds."""
    return [_matrices(figure, seeds) for figure in read_figures()]


def _matrices(figure: Figure, seeds: Mapping[str, Sequence[SeedRun]]) -> Matrices:
    run_id, note = figure.run_id, ''
    if run_id is None and figure.figure in _DECIDED:
        run_id, note = _DECIDED[figure.figure]
    elif figure.matches is None:
        note = 'The matrix belongs to no run of the tables.'
    elif figure.matches != run_id:
        note = (
            f'The caption names {run_id}, but the matrix belongs to {figure.matches}. Ours is of {figure.matches} too.'
        )
        run_id = figure.matches
    results = results_of(seeds.get(run_id, []), figure.dataset) if run_id else []
    counts = pooled_confusion(results) if results else None
    percent = None if counts is None else 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return Matrices(
        figure.figure, figure.caption, figure.dataset, run_id, note, figure.row_percent, counts, percent, len(results)
    )


def _draw_curves(number: str, run_id: str, note: str, folders: Sequence[Path]) -> Picture:
    logs = [found for folder in folders if (found := _read_logs(folder))]
    if not logs:
        return Picture(number, run_id, note, [])
    steps = logs[0].train
    count = f'{len(logs)} seed' if len(logs) == 1 else f'{len(logs)} seeds, a line each'
    title = f'{run_id}, {count}; {int(steps["step"].max())} steps in {int(steps["epoch"].max())} epochs'
    names = {split: f'validation, {dataset}' for dataset, split in datasets_of(run_id).items()}
    return Picture(number, title, note, _draw_panels(run_id, logs, names))


def _draw_panels(run: str, logs: Sequence[_Logs], names: Mapping[str, str]) -> list[Image]:
    """Draws loss and accuracy of a run's seeds side by side.

    Args:
      run: the run, for the alternative text.
      logs: one per seed, at least one.
      names: {dataset in the log: label of its curve}, where it is not `validation, <dataset>`.
    """
    labels = _validation_labels(names, logs)
    return [
        draw_image(
            functools.partial(_draw_panel, name, logs, labels),
            _SIZE,
            f'Curves of {run}: {name} against the epoch, for {", ".join(["training", *validated])}',
        )
        for name, validated in (('loss', ()), ('accuracy', labels.values()))
    ]


def _read_logs(folder: Path) -> _Logs | None:
    """Returns the logs of a run folder, None without a row of training."""
    train = read_numbers(folder / TRAIN_LOG, ('step', 'epoch', 'loss', 'accuracy'))
    validation = read_numbers(folder / VALIDATION_LOG, ('step', 'accuracy', 'dataset'))
    return _Logs(train, validation) if train is not None and len(train) else None


def _validation_labels(names: Mapping[str, str], logs: Sequence[_Logs]) -> dict[str, str]:
    """Returns {dataset in the log: label of its curve}, at most as many as there are markers."""
    names = {ONE_DATASET: 'validation', **names}
    found = [name for one in logs if one.validation is not None for name in one.validation['dataset'].unique()]
    datasets = list(dict.fromkeys(found))[: len(_MARKERS)]
    return {dataset: names.get(dataset, f'validation, {dataset}') for dataset in datasets}


def _draw_panel(name: str, logs: Sequence[_Logs], labels: Mapping[str, str], axes: Any) -> None:
    """Draws loss or accuracy of all seeds against epochs.

    Args:
      name: `loss` or `accuracy`, a column of the logs.
      logs: one per seed.
      labels: label of each validation dataset.
      axes: matplotlib's Axes.
    """
    for one in logs:
        train, validation = one
        scale = one.epochs_per_step
        x, y = _thin(train['step'].to_numpy() * scale, train[name].to_numpy())
        axes.plot(x, y, color='C0', linewidth=1, label='training')
        if validation is None or name not in validation:  # no log has a validation loss
            continue
        for position, (dataset, marker) in enumerate(zip(labels, _MARKERS, strict=False)):
            rows = validation[validation['dataset'] == dataset]
            style = {'color': f'C{position + 1}', 'marker': marker, 'markersize': 2.5, 'label': labels[dataset]}
            axes.plot(rows['step'] * scale, rows[name], **style)
    axes.set(xlabel='epoch', ylabel=name)
    if name == 'accuracy':
        axes.set_ylim(0, 1)
    handles, names = axes.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))  # not once per seed
    axes.legend(once.values(), once.keys())


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most _POINTS points, each the mean of neighbouring points."""
    parts = min(len(x), _POINTS)
    edges = np.linspace(0, len(x), parts + 1).astype(int)
    widths = np.diff(edges)
    return np.add.reduceat(x, edges[:-1]) / widths, np.add.reduceat(y, edges[:-1]) / widths


def read_numbers(path: Path, columns: Sequence[str]) -> pd.DataFrame | None:
    """Returns columns of a log, complete rows only, or None if the file is missing or is not a log."""
    try:
        log = read_log(path)
        table = pd.DataFrame({name: log[name] for name in columns})
    except (OSError, ValueError, KeyError, csv.Error):
        return None
    for name in set(columns) - {'dataset'}:
        table[name] = pd.to_numeric(table[name], errors='coerce')
    return table.replace([np.inf, -np.inf], np.nan).dropna()
