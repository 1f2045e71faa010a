"""Finds the checkpoints of a run folder that are whole."""

import glob
import os
from pathlib import Path

from fer.errors import InputError
from fer.runs.names import BEST_PREFIX, BEST_STATE, LAST_PREFIX, LAST_STATE
from fer.tf1 import tf

# In a run folder, which checkpoint is the last and which was the best in validation; and what they are called.
_PREFIXES = {LAST_STATE: LAST_PREFIX, BEST_STATE: BEST_PREFIX}


def whole_checkpoints(folder: str | Path, state_file: str = LAST_STATE) -> list[str]:
    """The checkpoints of a run folder, the newest last; also where the folder was copied elsewhere.

    They are those that the state file names. Where there is none of them, they are all that the folder has whole: the
    state file is written last, and a run may be killed before it.
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
    """Whether a checkpoint has all its files; TensorFlow gives the index its name last and takes it away first."""
    path = os.path.join(folder, name)
    if os.path.isfile(path):  # TensorFlow's first format, which public weights may have
        return True
    # os.path, not Path, for which a name longer than any file's is an error.
    return os.path.exists(f'{path}.index') and any(Path(folder).glob(f'{glob.escape(name)}.data-*'))


def latest_checkpoint(folder: str | Path, state_file: str = LAST_STATE) -> str | None:
    """The newest of `whole_checkpoints`, None when there is none."""
    found = whole_checkpoints(folder, state_file)
    return found[-1] if found else None


def _read_state(folder: str | Path, state_file: str):
    """The CheckpointState that a state file holds; None without one, or where TensorFlow cannot parse it."""
    try:
        return tf.train.get_checkpoint_state(str(folder), state_file)
    except ValueError as error:  # not UTF-8, or names no checkpoint
        raise InputError(f'{Path(folder) / state_file}: {error}; expected what TensorFlow writes') from None


def answering_checkpoint(folder: str | Path) -> str | None:
    """The checkpoint that speaks for a run: the best in validation where the run kept it, else the last."""
    return latest_checkpoint(folder, BEST_STATE) or latest_checkpoint(folder)
