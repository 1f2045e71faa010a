"""The confusion matrices that chapter 6 prints as figures."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

_FILE = Path(__file__).with_name('confusion.json')


class Figure(NamedTuple):
    """A confusion matrix; rows are true classes, columns predicted ones, both in the order of `fer.emotions`."""

    figure: str
    caption: str
    run_id: str | None  # the run that the caption and the text name; None where there is no such run
    matches: str | None  # the run whose accuracy and F1 the matrix gives; None where it gives no run's
    dataset: str  # FER2013, RAF-DB, AffectNet or AFEW
    row_percent: np.ndarray  # float64 [7, 7], percent of the row, as printed to one decimal
    # int64 [7, 7], the videos that the percentages stand for, 383 in all: not printed but worked out. Of 6.12 and 6.15,
    # whose classes are not the validation set's (erratum 4), other counts have the same percentages. None for stills,
    # whose numbers the percentages do not settle.
    counts: np.ndarray | None


def read_figures() -> list[Figure]:
    """The 11 figures in their order."""
    with open(_FILE, encoding='utf-8') as file:
        return [Figure(**{name: _value(name, value) for name, value in row.items()}) for row in json.load(file)]


def _value(name: str, value):
    return np.array(value) if name in ('row_percent', 'counts') and value is not None else value
