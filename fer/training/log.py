# SPDX-License-Identifier: Apache-2.0
"""The logs that a run writes while it trains: train_log.csv, val_log.csv, TensorBoard scalars, and curves.png."""

import contextlib
import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from fer.errors import InputError
from fer.files import atomic_write, naming, sync
from fer.results.plots import draw_curves
from fer.runs.config import TrainConfig
from fer.runs.logs import ONE_DATASET, TRAIN_COLUMNS, VALIDATION_COLUMNS, read_log
from fer.runs.names import CURVES_FILE, TRAIN_LOG, VALIDATION_LOG
from fer.tf1 import tf
from fer.training import hparams
from fer.training.events import EventFile
from fer.training.schedule import Phase


class StepRecord(NamedTuple):
    """One training step, as it is logged."""

    step: int  # from 1
    epoch: int  # from 1
    phase: Phase
    loss: float
    accuracy: float  # share of the batch's windows classified correctly
    rate: float  # learning rate
    frames_per_second: float
    gradient_norm: float  # before clipping


class RunLog:
    """The open logs of a run folder, as a context manager.

    A resumed run first removes the rows that an interrupted session logged after `last_step`, and the scores of an
    incomplete validation. Rows are appended. If a session is killed or the disk is full, the rows up to its last
    checkpoint are complete, because `flush` runs before each checkpoint.

    Args:
      folder: of the run. It exists.
      last_step: 0, or the step of the checkpoint that the run resumes from.
      config: the run's settings, for TensorBoard's HParams tab.
    """

    def __init__(self, folder: Path, last_step: int, config: TrainConfig):
        self._files: dict[Path, IO] = {}
        self._writers = {}
        self._folder = folder
        self._scores: dict[int, list[float]] = {}  # of each step, the validation accuracy of each dataset
        for name, columns in ((TRAIN_LOG, TRAIN_COLUMNS), (VALIDATION_LOG, VALIDATION_COLUMNS)):
            datasets = len(config.val_manifest) if name == VALIDATION_LOG else 1
            try:
                rows = _trim(folder / name, columns, last_step, datasets)
                _check_numbers(rows, columns)
                if name == VALIDATION_LOG:
                    for row in rows:
                        self._scores.setdefault(int(row['step']), []).append(float(row['accuracy']))
            except (ValueError, KeyError, TypeError, csv.Error) as error:
                raise InputError(f'{folder / name}: {error}; expected the log of the run') from None
            file = open(folder / name, 'a', encoding='utf-8', newline='')  # noqa: SIM115 - closed in __exit__
            self._files[folder / name] = file
            self._writers[name] = csv.writer(file, lineterminator='\n')
        self._board = EventFile(folder)
        hparams.write_start(self._board, config)

    def __enter__(self) -> 'RunLog':
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_) -> None:
        if error_type is None:
            hparams.write_end(self._board)
            self.flush()
        for close in (self._board.close, *(file.close for file in self._files.values())):
            with contextlib.suppress(OSError):  # from a full disk, which another error already reports
                close()

    def log_step(self, record: StepRecord) -> None:
        """Logs one training step."""
        step, epoch, phase, loss, accuracy, rate, frames_per_second, gradient_norm = record
        row = (step, epoch, phase, f'{loss:.9g}', f'{accuracy:.4f}', f'{rate:.6g}', f'{frames_per_second:.1f}')
        self._write(TRAIN_LOG, row)
        values = {'loss': loss, 'accuracy': accuracy, 'learning_rate': rate, 'frames_per_second': frames_per_second}
        self._add_scalars('train', {**values, 'gradient_norm': gradient_norm}, step)

    def log_validation(self, step: int, epoch: int, phase: Phase, dataset: str, metrics: dict) -> None:
        """Logs the scores of one dataset after an epoch, from `fer.results.metrics.score_results`."""
        figures = (metrics['correct'], metrics['total'], metrics['accuracy'], metrics['f1'])
        self._write(VALIDATION_LOG, (step, epoch, phase, *figures, dataset))
        self._scores.setdefault(step, []).append(metrics['accuracy'])
        tag = 'validation' if dataset == ONE_DATASET else f'validation/{dataset}'
        self._add_scalars(tag, {name: metrics[name] for name in ('accuracy', 'f1')}, step)

    def has_validated(self, step: int) -> bool:
        """Returns whether this session or an earlier one of the run has scored the validation data at this step."""
        return step in self._scores

    def best_step(self) -> int | None:
        """Returns the step with the highest mean accuracy over validation datasets, the first one if steps tie."""
        means = {step: sum(scores) / len(scores) for step, scores in self._scores.items()}
        return max(means, key=lambda step: (means[step], -step)) if means else None

    def validations_after(self, step: int) -> int:
        """Returns how many later steps have validation scores."""
        return sum(1 for validated in self._scores if validated > step)

    def flush(self) -> None:
        """Writes all rows to the disk itself."""
        for path, file in self._files.items():
            with naming(path):
                sync(file)
        self._board.flush()

    def _write(self, name: str, row: Sequence[object]) -> None:
        with naming(self._folder / name):  # a row reaches the disk when the buffer is full
            self._writers[name].writerow(row)

    def _add_scalars(self, side: str, values: dict[str, float], step: int) -> None:
        scalars = [tf.Summary.Value(tag=f'{side}/{name}', simple_value=value) for name, value in values.items()]
        self._board.add_summary(tf.Summary(value=scalars), step)


def _trim(path: Path, columns: tuple[str, ...], last_step: int, datasets: int) -> list[dict[str, str]]:
    """Starts a log with its header, or cuts an older one back to complete steps up to `last_step`.

    Args:
      path: of the log.
      columns: its header.
      last_step: the last step to keep.
      datasets: rows of each step.

    Returns:
      The rows kept.
    """
    rows = []
    if path.exists():
        with open(path, encoding='utf-8', newline='') as file:
            whole = [line for line in file if line.endswith('\n')]  # a killed session may have cut the last one
        rows = [
            row
            for row in csv.DictReader(whole)
            if None not in row.values() and row['step'].isdecimal() and int(row['step']) <= last_step
        ]
        last = [row for row in rows if row['step'] == rows[-1]['step']]
        if len(last) < datasets:
            rows = rows[: len(rows) - len(last)]
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, columns, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _check_numbers(rows: list[dict[str, str]], columns: tuple[str, ...]) -> None:
    """Raises ValueError for a row that curves cannot be plotted from, which would fail when the run has finished."""
    for row in rows:
        for name in columns:
            if name != 'dataset' and not math.isfinite(float(row[name])):
                raise ValueError(f'step {row["step"]} has the {name} {row[name]}')


def draw_log(folder: Path, title: str) -> None:
    """Writes curves.png from the logs of a run folder."""
    train, validation = read_log(folder / TRAIN_LOG), read_log(folder / VALIDATION_LOG)
    numbers = {name: np.array(column, np.float64) for name, column in train.items()}
    curves: dict[str, dict[str, np.ndarray]] = {}
    for dataset in dict.fromkeys(validation['dataset']):
        rows = [row for row, name in enumerate(validation['dataset']) if name == dataset]
        label = 'validation' if dataset == ONE_DATASET else f'validation {dataset}'
        curves[label] = {
            name: np.array([float(validation[name][row]) for row in rows]) for name in ('step', 'accuracy')
        }
    draw_curves(folder / CURVES_FILE, numbers, curves, title)
