# SPDX-License-Identifier: Apache-2.0
"""Saves the variables of a run in checkpoints, and restores them.

A checkpoint is two files: `<prefix>-<step>.data-00000-of-00001`, then `<prefix>-<step>.index`. It counts once a state
file (`checkpoint`, `best_checkpoint`) names it.
"""

import re
from pathlib import Path

from fer.errors import InputError
from fer.files import atomic_write, naming, sync, sync_folder
from fer.runs.checkpoints import whole_checkpoints
from fer.runs.names import BEST_PREFIX, BEST_STATE, LAST_PREFIX, LAST_STATE
from fer.tf1 import tf
from fer.training.disk_errors import tensorflow_writes

_STATES = {LAST_PREFIX: LAST_STATE, BEST_PREFIX: BEST_STATE}
_KEPT = {LAST_PREFIX: 2, BEST_PREFIX: 1}  # number of checkpoints


def save(saver: tf.train.Saver, session: tf.Session, folder: Path, prefix: str, step: int) -> None:
    """Saves the variables of `saver` as `<prefix>-<step>`, then removes the oldest checkpoints of the prefix.

    A complete checkpoint is on the disk at every moment. The new files are written first, then the state file that
    names them, and only then are older ones removed. TensorFlow keeps this order, but after a power cut a file may have
    a name and no content, and on a full disk TensorFlow leaves unfinished files. This function prevents that.

    Raises:
      OSError: the disk is full. The folder is as it was.
    """
    name = f'{prefix}-{step}'
    older = [Path(path).name for path in whole_checkpoints(folder, _STATES[prefix])]
    if name in older:  # a resumed run saves the step that it was stopped at again
        if not (folder / _STATES[prefix]).exists():  # it was killed before this file
            _write_state(folder, prefix, older)
        return
    kept = [*older, name][-_KEPT[prefix] :]
    try:
        with tensorflow_writes(folder / name):
            saver.save(session, str(folder / name), write_meta_graph=False, write_state=False)
        for path in folder.glob(f'{name}.*'):
            with naming(path), open(path, 'rb') as file:
                sync(file)
        sync_folder(folder)
        _write_state(folder, prefix, kept)
    except BaseException:
        _remove_all_but(folder, prefix, older)
        raise
    _remove_all_but(folder, prefix, kept)


def _write_state(folder: Path, prefix: str, names: list[str]) -> None:
    """Writes the state file that names the checkpoints of a prefix, the newest of which is last."""
    with atomic_write(folder / _STATES[prefix]) as text:
        text.write(f'model_checkpoint_path: "{names[-1]}"\n')
        text.writelines(f'all_model_checkpoint_paths: "{name}"\n' for name in names)


def remove_leftovers(folder: Path) -> None:
    """Removes the checkpoint files that sessions left in a run folder when they were killed while saving."""
    for prefix, state_file in _STATES.items():
        _remove_all_but(folder, prefix, [Path(path).name for path in whole_checkpoints(folder, state_file)])


def _remove_all_but(folder: Path, prefix: str, names: list[str]) -> None:
    """Removes the checkpoints of a prefix that are not in `names`, and unfinished files."""
    part = re.compile(rf'(?P<checkpoint>{re.escape(prefix)}-\d+)\.(index|data-\d+-of-\d+)(?P<half>\.tempstate\d+)?')
    for path in folder.iterdir():
        match = part.fullmatch(path.name)
        if match and (match['half'] or match['checkpoint'] not in names):
            path.unlink(missing_ok=True)


def restore_model(session: tf.Session, checkpoint: str, variables: list[tf.Variable]) -> None:
    """Restores all `variables` from a checkpoint.

    Raises:
      InputError: the checkpoint is damaged, or a variable is missing or has another shape there.
    """
    try:
        tf.train.Saver(variables).restore(session, checkpoint)
    except (tf.errors.OpError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f'{checkpoint}: cannot be restored into this network: {reason}') from None
