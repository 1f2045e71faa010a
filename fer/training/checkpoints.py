"""Saving and restoring variables, with a report of where each one came from."""

from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.tf1 import tf

PREFIX = 'model.ckpt'


class Restored(NamedTuple):
    """What happened to one variable at the start of a run."""

    name: str
    shape: tuple[int, ...]
    source: str  # the checkpoint it came from, '' when fresh
    why: str  # why it is fresh, '' when restored


def make_saver(run_dir: str) -> tf.train.Saver:
    """Saves every variable of the graph, the optimisers' included; the last two of the run's checkpoints are kept."""
    saver = tf.train.Saver(max_to_keep=2)
    state = tf.train.get_checkpoint_state(run_dir)
    if state:  # a resumed run's earlier checkpoints count among the two
        saver.recover_last_checkpoints(state.all_model_checkpoint_paths)
    return saver


def save(saver: tf.train.Saver, session: tf.Session, run_dir: Path, step: int) -> None:
    saver.save(session, str(run_dir / PREFIX), global_step=step, write_meta_graph=False)


def latest(run_dir: str | Path) -> str | None:
    """The newest checkpoint of a run folder, None when it has none; also where the folder was copied elsewhere."""
    state = tf.train.get_checkpoint_state(str(run_dir))
    if state is None:
        return None
    path = Path(run_dir) / Path(state.model_checkpoint_path).name
    return str(path) if tf.train.checkpoint_exists(str(path)) else None


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


def initialise(session: tf.Session, init_from: str, phase_one: tuple[str, ...]) -> list[Restored]:
    """Gives every model variable its first value and says where it came from.

    Args:
      session: of the graph whose variables are initialised.
      init_from: a run folder or a TensorFlow checkpoint whose variable names are this project's; '' for none.
      phase_one: scopes that may differ in shape (a classifier for other classes, fc6 at another image size) and are
        then fresh; elsewhere another shape is an error.

    Raises:
      InputError: no checkpoint there, or it lacks a variable outside `phase_one`, or has it in another shape.
    """
    session.run(tf.global_variables_initializer())
    variables = tf.get_collection(tf.GraphKeys.MODEL_VARIABLES) or tf.trainable_variables()
    if not init_from:
        return [Restored(v.op.name, tuple(v.shape.as_list()), '', 'no --init_from') for v in variables]
    checkpoint = latest(init_from) if Path(init_from).is_dir() else init_from
    if not checkpoint or not tf.train.checkpoint_exists(checkpoint):
        raise InputError(f'--init_from={init_from}: no checkpoint; expected a run folder or a TensorFlow checkpoint')
    try:
        shapes = dict(tf.train.list_variables(checkpoint))
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f'{checkpoint}: not a readable checkpoint: {str(error).splitlines()[0]}') from None
    report, found = [], []
    for variable in variables:
        name, shape = variable.op.name, tuple(variable.shape.as_list())
        theirs = tuple(shapes[name]) if name in shapes else None
        if theirs == shape:
            found.append(variable)
            report.append(Restored(name, shape, checkpoint, ''))
            continue
        why = 'not in the checkpoint' if theirs is None else f'its shape there is {list(theirs)}'
        if not name.startswith(tuple(f'{scope}/' for scope in phase_one)):
            raise InputError(f'{checkpoint}: {name} {list(shape)}: {why}; expected every variable of the network')
        report.append(Restored(name, shape, '', why))
    if not found:
        raise InputError(f"{checkpoint}: none of the network's {len(variables)} variables are in it")
    restore_model(session, checkpoint, found)
    return report
