# SPDX-License-Identifier: Apache-2.0
"""Plots of confusion matrices and training curves, as PNG. They do not use pyplot's global state."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fer.emotions import EMOTIONS
from fer.files import atomic_write

_COLOURS = [f'tab:{name}' for name in ('orange', 'green', 'red', 'purple', 'brown', 'pink', 'olive', 'cyan')]


def draw_confusion(path: str | Path, confusion: Sequence[Sequence[int]], title: str, items: str = 'videos') -> None:
    """Plots a confusion matrix as in the dissertation: rows are the truth, cells are percent of the row.

    Args:
      path: PNG to write.
      confusion: counts [7, 7], rows = truth.
      title: the heading.
      items: what is counted, in the plural.
    """
    counts = np.asarray(confusion)
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6, 5.2), layout='constrained')
    axes = figure.subplots()
    axes.imshow(percent, cmap='Blues', vmin=0, vmax=100)
    for row, column in np.ndindex(*percent.shape):
        colour = 'white' if percent[row, column] > 60 else 'black'
        axes.text(column, row, f'{percent[row, column]:.1f}', ha='center', va='center', color=colour, fontsize=9)
    names = [f'{name} ({total})' for name, total in zip(EMOTIONS, counts.sum(axis=1), strict=True)]
    axes.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=45, ha='right')
    axes.set_yticks(range(len(EMOTIONS)), names)
    axes.set(xlabel='predicted', ylabel=f'true ({items})', title=title)
    _save(figure, path)


def draw_curves(
    path: str | Path, train: dict[str, np.ndarray], validation: dict[str, dict[str, np.ndarray]], title: str
) -> None:
    """Plots loss and accuracy against the training step.

    Args:
      path: PNG to write.
      train: `step`, `loss` and `accuracy` (in [0, 1]) of each step, plotted with a running mean. May be empty arrays.
      validation: `step` and `accuracy` (in [0, 1]) after each epoch, by the label of the dataset.
      title: the heading.
    """
    figure = Figure(figsize=(9, 3.6), layout='constrained')
    figure.suptitle(title)
    for axes, name in zip(figure.subplots(1, 2), ('loss', 'accuracy'), strict=True):
        values = train[name]
        if not len(values):
            continue
        width = max(1, len(values) // 30)
        smooth = np.convolve(values, np.ones(width) / width, mode='valid')
        axes.plot(train['step'], values, color='tab:blue', alpha=0.25, linewidth=0.8)
        axes.plot(train['step'][width - 1 :], smooth, color='tab:blue', label=f'training, mean of {width} steps')
        for (label, curve), colour in zip(validation.items(), _COLOURS, strict=False):
            if name in curve:
                axes.plot(curve['step'], curve[name], color=colour, marker='o', label=label)
        axes.set(xlabel='step', ylabel=name)
        axes.legend(fontsize=8)
    _save(figure, path)


def _save(figure: Figure, path: str | Path) -> None:
    FigureCanvasAgg(figure)
    with atomic_write(path, 'wb') as file:
        figure.savefig(file, format='png', dpi=100)
