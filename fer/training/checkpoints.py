"""Saving the variables of a run, and going on from what was saved."""

import re
from pathlib import Path

from fer.errors import InputError
from fer.nets.weights.files import BEST_PREFIX, BEST_STATE, LAST_PREFIX, LAST_STATE, whole_checkpoints
from fer.tf1 import tf

_STATES = {LAST_PREFIX: LAST_STATE, BEST_PREFIX: BEST_STATE}


def make_saver(keep: int) -> tf.train.Saver:
    """Saves every variable of the graph, the optimisers' included; the last `keep` checkpoints are kept."""
    # The state file then has names alone, so that a copied run folder never speaks of the one that it was copied from.
    return tf.train.Saver(max_to_keep=keep, save_relative_paths=True)


def take_over(saver: tf.train.Saver, folder: Path, prefix: str) -> None:
    """Has the saver of a resumed run count the earlier sessions' checkpoints among its own, for what is kept.

    What else is called so is removed. TensorFlow writes the data, the index and the state file, and then deletes what
    is no longer kept: a session that was killed on this way has left files that no checkpoint needs.
    """
    kept = [Path(path).name for path in whole_checkpoints(folder, _STATES[prefix])]
    # By name: state files of older runs have the path at which the run was made, where there may still be a run.
    saver.recover_last_checkpoints([str(folder / name) for name in kept])
    part = re.compile(
        rf'(?P<checkpoint>{re.escape(prefix)}-\d+)\.(index|data-\d+-of-\d+)(?P<half>\.tempstate\d+)?'
        rf'|{_STATES[prefix]}\.tmp[0-9a-f]+'
    )
    for path in folder.iterdir():
        match = part.fullmatch(path.name)
        if match and (match['half'] or match['checkpoint'] not in kept):
            path.unlink()


def save(saver: tf.train.Saver, session: tf.Session, folder: Path, prefix: str, step: int) -> None:
    saver.save(session, str(folder / prefix), step, latest_filename=_STATES[prefix], write_meta_graph=False)


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
