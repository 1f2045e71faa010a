# SPDX-License-Identifier: Apache-2.0
"""Checks of a task's files: the run is finished, its inputs exist, and an existing run has the same settings."""

import os
from pathlib import Path

from fer.experiment.configs import TRAIN
from fer.experiment.tasks import Task
from fer.files import read_object
from fer.runs.names import FINISHED_FILE, FLAGS_FILE, STATUS_FOLDER, TRAIN_LOG

# Settings that may differ without making it another run: folders, and the seed, which is part of the task's name.
_PLACES = (
    *('run_dir', 'output', 'data_root', 'train_manifest', 'val_manifest', 'init_from', 'audio_run_dir', 'seed'),
    *('frame_cache', 'feature_cache'),  # caches give the same values, and a run's flags have their absolute paths
)
_MAX_STEPS = 'max_steps'  # may differ too, because a run resumes if this number grows


def is_done(task: Task) -> bool:
    """Returns whether the run has ended and its last checkpoint has been evaluated on every split."""
    checkpoint = None
    if task.config.program == TRAIN:
        checkpoint = _read(task.folder / FINISHED_FILE).get('checkpoint')
        until = task.settings.get(_MAX_STEPS, '0')
        if checkpoint is None or not _same_value(_read_flags(task).get(_MAX_STEPS, until), until):
            return False
    return all(
        (task.folder / f'results_{split}.txt').exists()
        and (metrics := _read(task.folder / f'metrics_{split}.json'))
        and metrics.get('checkpoint') == checkpoint
        for split in task.splits
    )


def missing_inputs(task: Task) -> list[str]:
    """Returns the inputs that do not exist. A TensorFlow checkpoint is given by the common prefix of its files."""
    return [path for path in task.inputs if not os.path.exists(path) and not os.path.exists(f'{path}.index')]


def other_settings(task: Task) -> list[str]:
    """Returns `--width=0.05 (1.0)` for each setting in which the existing run differs from the task (in brackets)."""
    run = _read_flags(task)
    return [
        f'--{name}={run[name]} ({value})'
        for name, value in task.settings.items()
        if name in run and name not in (*_PLACES, _MAX_STEPS) and not _same_value(run[name], value)
    ]


def last_step(task: Task) -> str:
    """Returns `step 1200`, the last step in the training log."""
    try:
        last = (task.folder / TRAIN_LOG).read_text(encoding='utf-8').splitlines()[-1].split(',')[0]
    except (OSError, IndexError, UnicodeDecodeError):
        return 'no step yet'
    return f'step {last}' if last.isdecimal() else 'no step yet'


def log_path(runs: str, task: Task) -> Path:
    """Returns the file that receives the output of a task's commands."""
    return Path(runs) / STATUS_FOLDER / f'{task.name}.log'


def _read(path: Path) -> dict:
    try:
        return read_object(path)
    except (OSError, ValueError):
        return {}


def _read_flags(task: Task) -> dict[str, str]:
    try:
        lines = (task.folder / FLAGS_FILE).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return dict(line.removeprefix('--').partition('=')[::2] for line in lines)


def _same_value(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one.lower() == other.lower()
