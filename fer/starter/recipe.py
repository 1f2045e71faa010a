# SPDX-License-Identifier: Apache-2.0
"""The recipe of a run, for its card: command, code, machine, seconds. Folders of the machine are left out."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from fer.errors import InputError
from fer.files import read_object
from fer.prepare_flags import PrepareFlags, read_run_prepare_flags
from fer.runs.config import TrainConfig
from fer.runs.names import BEST_PREFIX, ENVIRONMENT_FILE, FINISHED_FILE, PREPARE_FLAGS_FILE, STARTER_PREFIX
from fer.settings import format_values, settings_of
from fer.tf1 import tf

_OWN_PATHS = ('source', 'output')  # flags of preparation that name folders of one machine
_ENVIRONMENT = ('platform', 'cpus', 'python', 'onednn', 'packages')


def shorten_paths(config: TrainConfig) -> TrainConfig:
    """Returns settings whose paths have their last two parts only, without caches and the folder of the run."""
    changes: dict[str, Any] = {}
    for name, one in settings_of(TrainConfig).items():
        value = getattr(config, name)
        if one.is_path and value:
            changes[name] = tuple(map(_shorten, value)) if one.is_tuple else _shorten(value)
    emptied = dict.fromkeys(('run_dir', 'data_root', 'frame_cache', 'feature_cache'), '')
    return dataclasses.replace(config, **changes | emptied)


def _shorten(path: str) -> str:
    return path if path.startswith(STARTER_PREFIX) else '/'.join(Path(path).parts[-2:])


def shorten_prepare_flags(flags: PrepareFlags) -> PrepareFlags:
    """Returns the flags of preparation without folders of the machine."""
    return {
        _shorten(path): {name: text for name, text in one.items() if name not in _OWN_PATHS}
        for path, one in flags.items()
    }


def prepared_with(run: Path, dataset: str) -> list[dict[str, str]]:
    """Returns the different flags of preparation that the manifests of a dataset have."""
    every = shorten_prepare_flags(read_run_prepare_flags(run / PREPARE_FLAGS_FILE)).values()
    found = [dict(flags) for flags in every if flags.get('dataset') == dataset]
    return [flags for index, flags in enumerate(found) if flags not in found[:index]]


def describe_recipe(run: Path, config: TrainConfig) -> dict[str, Any]:
    """Returns the command of a run, its code, its machine and its time."""
    try:
        environment, finished = read_object(run / ENVIRONMENT_FILE), read_object(run / FINISHED_FILE)
        checkpoint, step, reason = (finished[name] for name in ('checkpoint', 'step', 'reason'))
        machine = {name: environment[name] for name in _ENVIRONMENT}
        machine['platform'] = re.sub(r'^(\w+)-.*?-(x86_64|aarch64)', r'\1-\2', machine['platform'])  # no kernel
        code = {name: environment[name] for name in ('commit', 'uncommitted_changes', 'started')}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f'{run}: {type(error).__name__}: {error}; expected the files of a finished run') from None
    texts, defaults = format_values(config), {name: one.default for name, one in settings_of(TrainConfig).items()}
    named = [name for name in texts if name in ('model', 'stage') or getattr(config, name) != defaults[name]]
    given = [f'--{name}={texts[name]}' for name in named]
    sessions = [_session_seconds(path) for path in sorted(run.glob('events.out.tfevents.*'))]
    return {
        **code,
        'command': ' '.join(['python train.py', *given]),
        'flags': texts,
        'step': step,
        'ended': reason,
        'answers_with': 'the best epoch in validation' if checkpoint.startswith(BEST_PREFIX) else 'the last epoch',
        'seconds': round(sum(sessions)),
        'sessions': len(sessions),
        'machine': machine,
    }


def _session_seconds(path: Path) -> float:
    """Returns the seconds between the first and the last event of a session of training."""
    times = [event.wall_time for event in tf.train.summary_iterator(str(path))]
    return max(times) - min(times) if times else 0.0
