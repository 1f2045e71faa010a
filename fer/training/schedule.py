"""When the epochs and phases of a run begin, and the learning rate of each step."""

from fer.errors import InputError
from fer.tf1 import tf

LR_SCHEDULES = ('static', 'reduce')


def parse_epochs(text: str) -> list[int]:
    """`'30'` is one phase of 30 epochs, `'5,25'` two: new layers only, then everything (dissertation 6.2).

    Raises:
      InputError: not one or two whole numbers above 0.
    """
    parts = text.split(',')
    if len(parts) > 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f'--train_epochs={text}: expected 30, or two phases as 5,25')
    return [int(part) for part in parts]


def phase_of_epoch(epoch: int, epochs: list[int]) -> int:
    """1 for training the new layers only, 2 for training everything; a single phase is phase 2."""
    return 1 if len(epochs) == 2 and epoch < epochs[0] else 2


def learning_rate(
    initial: float, schedule: str, decay_rate: float, decay_steps: int, global_step: tf.Tensor
) -> tf.Tensor:
    """`static`, or `reduce`: a staircase, times `decay_rate` every `decay_steps` steps (dissertation 6.1).

    Steps are counted over the whole run, phases together.

    Returns:
      float32, scalar.
    """
    if schedule == 'static':
        return tf.constant(initial, tf.float32)
    return tf.train.exponential_decay(initial, global_step, decay_steps, decay_rate, staircase=True)
