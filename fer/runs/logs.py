# SPDX-License-Identifier: Apache-2.0
"""The columns of the logs in a run folder, and a reader for them."""

import csv
from pathlib import Path

TRAIN_COLUMNS = ('step', 'epoch', 'phase', 'loss', 'accuracy', 'learning_rate', 'frames_per_second')
VALIDATION_COLUMNS = ('step', 'epoch', 'phase', 'correct', 'total', 'accuracy', 'f1', 'dataset')
ONE_DATASET = '-'  # the dataset of a run with one validation manifest


def read_log(path: Path) -> dict[str, list[str]]:
    """Returns the columns of a log as text. Leaves out an incomplete last row, which a running training may have."""
    with open(path, encoding='utf-8', newline='') as file:
        header, *rows = csv.reader(file)
    whole = [row for row in rows if len(row) == len(header)]
    return {name: [row[column] for row in whole] for column, name in enumerate(header)}
