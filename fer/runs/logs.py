# SPDX-License-Identifier: Apache-2.0
"""The columns of the logs in a run folder, and a reader for them."""

import csv
from pathlib import Path

TRAIN_COLUMNS = ('step', 'epoch', 'phase', 'loss', 'accuracy', 'learning_rate', 'frames_per_second')
VALIDATION_COLUMNS = ('step', 'epoch', 'phase', 'correct', 'total', 'accuracy', 'f1', 'dataset')
ONE_DATASET = '-'  # the dataset of a run with one validation manifest
_TAIL = 4096  # bytes, more than a row has


def read_log(path: Path) -> dict[str, list[str]]:
    """Returns the columns of a log as text. Leaves out an incomplete last row, which a running training may have."""
    with open(path, encoding='utf-8', newline='') as file:
        header, *rows = csv.reader(file)
    whole = [row for row in rows if len(row) == len(header)]
    return {name: [row[column] for row in whole] for column, name in enumerate(header)}


def read_last_row(path: Path) -> dict[str, str]:
    """Returns the last complete row of a log as text, by column. Empty without a row. It reads the log's end only."""
    with open(path, 'rb') as file:
        header = file.readline()
        begin = max(file.seek(0, 2) - _TAIL, len(header))
        file.seek(begin)
        rows = file.read().decode(errors='replace').split('\n')
    first = 1 if begin > len(header) else 0  # the first row is cut off
    names = header.decode(errors='replace').strip().split(',')
    whole = [row for row in (row.strip('\r').split(',') for row in rows[first:-1]) if len(row) == len(names)]
    return dict(zip(names, whole[-1], strict=True)) if whole else {}
