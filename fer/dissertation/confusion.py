# SPDX-License-Identifier: Apache-2.0
"""The confusion matrices in the figures of chapter 6."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

_FILE = Path(__file__).with_name('confusion.json')


class Figure(NamedTuple):
    """A confusion matrix: rows are true classes, columns predicted classes, in the order of `fer.emotions`."""

    figure: str
    caption: str
    run_id: str | None  # the run that the caption and the text name, None if no such run exists
    matches: str | None  # the run with the accuracy and F1 of the matrix, None if no run has them
    dataset: str  # FER2013, RAF-DB, AffectNet or AFEW
    row_percent: np.ndarray  # float64 [7, 7], percent of the row, as printed to one decimal
    # int64 [7, 7], the number of videos behind the percentages, 383 in all. It is not printed but computed. For figures
    # 6.12 and 6.15, whose class sizes are not the validation set's (erratum 4), other counts fit the percentages too.
    # None for stills, because the percentages do not determine their counts.
    counts: np.ndarray | None


def read_figures() -> list[Figure]:
    """Returns the 11 figures in order."""
    with open(_FILE, encoding='utf-8') as file:
        return [Figure(**{name: _value(name, value) for name, value in row.items()}) for row in json.load(file)]


def _value(name: str, value):
    return np.array(value) if name in ('row_percent', 'counts') and value is not None else value
