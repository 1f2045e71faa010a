"""Saving the variables of a run, and going on from what was saved."""

from pathlib import Path

from fer.errors import InputError
from fer.nets.weights.files import BEST_STATE, LAST_STATE
from fer.tf1 import tf

PREFIX = 'model.ckpt'
BEST_PREFIX = 'best.ckpt'  # of the checkpoint with the best validation, kept by runs with early stopping
_STATES = {PREFIX: LAST_STATE, BEST_PREFIX: BEST_STATE}


def make_saver(folder: str, prefix: str, keep: int) -> tf.train.Saver:
    """Saves every variable of the graph, the optimisers' included; the last `keep` checkpoints of a prefix are kept."""
    saver = tf.train.Saver(max_to_keep=keep)
    state = tf.train.get_checkpoint_state(folder, _STATES[prefix])
    if state:  # a resumed run's earlier checkpoints count among them
        saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
    return saver


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
