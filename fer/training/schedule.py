# SPDX-License-Identifier: Apache-2.0
"""The phases and epochs of a run, and the learning rate of each step."""

import enum

from fer.tf1 import tf


class Phase(enum.IntEnum):
    """A phase of training. Its number is in train_log.csv, in printed lines and in names of variables."""

    NEW_LAYERS = 1  # trains the layers that are not restored (dissertation 6.2)
    ALL = 2  # trains every layer, and is the only phase if --train_epochs is one number

    __str__ = int.__repr__  # the number alone, also in Python 3.10


def phases_of(epochs: tuple[int, ...]) -> tuple[Phase, ...]:
    """Returns the phases of a run, in order, from --train_epochs. A phase of 0 epochs is not one of them."""
    phases = (Phase.NEW_LAYERS, Phase.ALL)[-len(epochs) :]
    return tuple(phase for phase, number in zip(phases, epochs, strict=True) if number)


def phase_of_epoch(epoch: int, epochs: tuple[int, ...]) -> Phase:
    """Returns the phase of an epoch, counted from 0, given --train_epochs."""
    return phases_of(epochs)[0] if epoch < epochs[0] else Phase.ALL


def learning_rate(
    initial: float, schedule: str, decay_rate: float, decay_steps: int, global_step: tf.Tensor
) -> tf.Tensor:
    """Adds the learning rate of the current step to the default graph.

    Args:
      initial: the rate of the first step.
      schedule: `static` keeps it. `reduce` multiplies it by `decay_rate` every `decay_steps` steps, as a staircase
        (dissertation 6.1).
      decay_rate: a factor in (0, 1].
      decay_steps: at least 1. Steps count over the whole run, both phases together.
      global_step: integer scalar, the number of steps taken.

    Returns:
      float32, scalar.
    """
    if schedule == 'static':
        return tf.constant(initial, tf.float32)
    return tf.train.exponential_decay(initial, global_step, decay_steps, decay_rate, staircase=True)
