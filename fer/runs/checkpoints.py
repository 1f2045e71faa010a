# SPDX-License-Identifier: Apache-2.0
"""Finds the complete checkpoints of a run folder."""

import glob
import os
from pathlib import Path

from fer.errors import InputError
from fer.runs.names import BEST_PREFIX, BEST_STATE, LAST_PREFIX, LAST_STATE
from fer.tf1 import tf

# The prefix of the checkpoints that each state file names.
_PREFIXES = {LAST_STATE: LAST_PREFIX, BEST_STATE: BEST_PREFIX}


def whole_checkpoints(folder: str | Path, state_file: str = LAST_STATE) -> list[str]:
    """Returns the complete checkpoints of a run folder, the newest last. The folder may have been moved.

    Takes those that the state file names. If none of these is complete, takes all complete checkpoints of the folder,
    because a run may be killed before it writes the state file.
    """
    state = _read_state(folder, state_file)
    named = []
    if state:
        newest = state.model_checkpoint_path
        named = [*(path for path in state.all_model_checkpoint_paths if path != newest), newest]
    found = [name for name in (Path(path).name for path in named) if _is_whole(folder, name)]
    if not found:
        names = (path.stem for path in Path(folder).glob(f'{_PREFIXES[state_file]}-*.index'))
        steps = {name: name.rpartition('-')[2] for name in names if _is_whole(folder, name)}
        found = sorted((name for name in steps if steps[name].isdecimal()), key=lambda name: int(steps[name]))
    return [str(Path(folder) / name) for name in found]


def _is_whole(folder: str | Path, name: str) -> bool:
    """Returns whether a checkpoint has all its files. TensorFlow writes the index last, and removes it first."""
    path = os.path.join(folder, name)
    if os.path.isfile(path):  # TensorFlow's first format, which some public weights have
        return True
    # os.path, because Path raises an error for a name that is too long for a file.
    return os.path.exists(f'{path}.index') and any(Path(folder).glob(f'{glob.escape(name)}.data-*'))


def latest_checkpoint(folder: str | Path, state_file: str = LAST_STATE) -> str | None:
    """Returns the newest of `whole_checkpoints`, None without any."""
    found = whole_checkpoints(folder, state_file)
    return found[-1] if found else None


def _read_state(folder: str | Path, state_file: str):
    """Returns the CheckpointState of a state file, None if it is missing or TensorFlow cannot parse it."""
    try:
        return tf.train.get_checkpoint_state(str(folder), state_file)
    except ValueError as error:  # the file is not UTF-8, or names no checkpoint
        path = Path(folder) / state_file
        raise InputError(f'{path}: {error}; delete the file to use the newest checkpoint') from None


def best_or_last_checkpoint(folder: str | Path) -> str | None:
    """Returns the checkpoint that evaluation and --init_from use: the best if it was kept, otherwise the last."""
    return latest_checkpoint(folder, BEST_STATE) or latest_checkpoint(folder)
