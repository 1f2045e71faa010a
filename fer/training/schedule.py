"""When the epochs and phases of a run begin, and the learning rate of each step."""

from fer.tf1 import tf


def phase_of_epoch(epoch: int, epochs: tuple[int, ...]) -> int:
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
