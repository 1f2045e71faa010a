# SPDX-License-Identifier: Apache-2.0
"""Figures of a split's lengths and classes (dissertation 2.2.2)."""

from typing import TYPE_CHECKING

import pandas as pd

from fer.prepare.statistics.counting import BIN

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_lengths(table: pd.DataFrame, median: float, name: str) -> 'Figure':
    """Plots the table of `count_lengths` as bars (figures 2.1 to 2.3)."""
    figure = _figure()
    axes = figure.subplots()
    axes.bar(table['frames_from'] - 0.5, table['videos'], width=BIN, align='edge', edgecolor='white', linewidth=0.5)
    axes.axvline(median, color='tab:orange', label=f'median, {median:g}')
    axes.set(xlabel=f'frames kept, bins of {BIN}', ylabel='videos')
    axes.set_title(f'{name}: lengths of {table["videos"].sum()} videos', parse_math=False)
    figure.legend(fontsize=8, loc='outside upper right')
    return figure


def plot_classes(table: pd.DataFrame, name: str, items: str) -> 'Figure':
    """Plots the labelled rows of `count_classes` as bars: items with frames, and above them items without.

    These are figures 2.4 and 2.5.

    Args:
      table: of `count_classes`.
      name: of the split.
      items: what is counted, in the plural.
    """
    figure = _figure()
    axes = figure.subplots()
    without = table['videos'] - table['with_frames']
    axes.bar(table['class'], table['with_frames'], label='with frames')
    bars = axes.bar(table['class'], without, bottom=table['with_frames'], color='tab:gray', label='without')
    axes.bar_label(bars, [str(count) for count in table['videos']], fontsize=8)
    axes.set(ylabel=items)
    axes.set_title(f'{name}: classes of {table["videos"].sum()} {items}', parse_math=False)
    figure.legend(fontsize=8, loc='outside upper right')
    return figure


def _figure() -> 'Figure':
    # Imported here, because it takes a third of a second, and --help imports this module.
    from matplotlib.figure import Figure

    return Figure(figsize=(7, 3.6), layout='constrained')
