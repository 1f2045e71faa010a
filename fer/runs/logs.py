"""The logs of a run folder: what they are called, their columns, and reading them."""

import csv
from pathlib import Path

TRAIN_COLUMNS = ('step', 'epoch', 'phase', 'loss', 'accuracy', 'learning_rate', 'frames_per_second')
VALIDATION_COLUMNS = ('step', 'epoch', 'phase', 'correct', 'total', 'accuracy', 'f1', 'dataset')
ONE_DATASET = '-'  # what a run that has one validation manifest calls its dataset


def read_log(path: Path) -> dict[str, list[str]]:
    """The columns of a log as they are written, whole rows only: the last may be half there while the run goes on."""
    with open(path, encoding='utf-8', newline='') as file:
        header, *rows = csv.reader(file)
    whole = [row for row in rows if len(row) == len(header)]
    return {name: [row[column] for row in whole] for column, name in enumerate(header)}
