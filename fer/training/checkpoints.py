"""Saving the variables of a run, and going on from what was saved.

A checkpoint is two files, `<prefix>-<step>.data-00000-of-00001` and, written after it, `<prefix>-<step>.index`; it
counts once a state file (`checkpoint`, `best_checkpoint`) names it.
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
_KEPT = {LAST_PREFIX: 2, BEST_PREFIX: 1}  # checkpoints of each


def save(saver: tf.train.Saver, session: tf.Session, folder: Path, prefix: str, step: int) -> None:
    """Saves what `saver` is of as `<prefix>-<step>`, and then takes away the oldest of the prefix.

    There is a whole checkpoint at every moment, on the disk itself: its files, then the state file that names it, and
    only then do older ones go. TensorFlow does as much but for the disk, where a power cut could leave a name without
    content, and but for a full one, where it leaves what it has written.

    Raises:
      OSError: the disk does not take it; the folder is as it was.
    """
    name = f'{prefix}-{step}'
    older = [Path(path).name for path in whole_checkpoints(folder, _STATES[prefix])]
    if name in older:  # a resumed run passes the step that it was stopped at again
        return
    kept = [*older, name][-_KEPT[prefix] :]
    try:
        with tensorflow_writes(folder / name):
            saver.save(session, str(folder / name), write_meta_graph=False, write_state=False)
        for path in folder.glob(f'{name}.*'):
            with naming(path), open(path, 'rb') as file:
                sync(file)
        sync_folder(folder)
        with atomic_write(folder / _STATES[prefix]) as text:
            text.write(f'model_checkpoint_path: "{name}"\n')
            text.writelines(f'all_model_checkpoint_paths: "{path}"\n' for path in kept)
    except BaseException:
        _remove_all_but(folder, prefix, older)
        raise
    _remove_all_but(folder, prefix, kept)


def remove_leftovers(folder: Path) -> None:
    """Takes away the files of a run folder that sessions which were killed while saving have left."""
    for prefix, state_file in _STATES.items():
        _remove_all_but(folder, prefix, [Path(path).name for path in whole_checkpoints(folder, state_file)])


def _remove_all_but(folder: Path, prefix: str, names: list[str]) -> None:
    """Takes away the checkpoints of a prefix that are none of `names`, and what is left of those not finished."""
    part = re.compile(rf'(?P<checkpoint>{re.escape(prefix)}-\d+)\.(index|data-\d+-of-\d+)(?P<half>\.tempstate\d+)?')
    for path in folder.iterdir():
        match = part.fullmatch(path.name)
        if match and (match['half'] or match['checkpoint'] not in names):
            path.unlink(missing_ok=True)


def restore_model(session: tf.Session, checkpoint: str, variables: list[tf.Variable]) -> None:
    """Restores all `variables`, every one of which the checkpoint must have.

    Raises:
      InputError: the checkpoint is damaged, or lacks one of them, or has it in another shape.
    """
    try:
        tf.train.Saver(variables).restore(session, checkpoint)
    except (tf.errors.OpError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f'{checkpoint}: cannot be restored into this network: {reason}') from None
