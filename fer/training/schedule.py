# SPDX-License-Identifier: Apache-2.0
"""The phases and epochs of a run, and the learning rate of each step."""

import enum
import math

from fer.runs.config import TrainConfig
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


def learning_rate(config: TrainConfig, last_step: int, global_step: tf.Tensor) -> tf.Tensor:
    """Adds the learning rate of the current step to the default graph.

    With s steps taken, S in all and W of --warmup_steps:

      static  --learning_rate
      reduce  --learning_rate * decay_rate^floor(s / decay_steps) (dissertation 6.1)
      cosine  --learning_rate * (s + 1) / W while s < W, then --learning_rate * (1 + cos(pi (s - W) / (S - W))) / 2
              (Loshchilov and Hutter 2017, equation 5, without restarts)

    Args:
      config: of the run. Its --lr_schedule and the settings of that schedule are used.
      last_step: steps of all epochs, both phases together. --max_steps does not change it, so that the first steps of a
        run are those of a longer one.
      global_step: integer scalar, the number of steps taken.

    Returns:
      float32, scalar.
    """
    initial = config.learning_rate
    if config.lr_schedule == 'static':
        return tf.constant(initial, tf.float32)
    if config.lr_schedule == 'reduce':
        return tf.train.exponential_decay(initial, global_step, config.decay_steps, config.decay_rate, staircase=True)
    step, warmup = tf.cast(global_step, tf.float32), float(config.warmup_steps)
    share = (step - warmup) / max(last_step - warmup, 1.0)
    falling = (1.0 + tf.cos(math.pi * tf.clip_by_value(share, 0.0, 1.0))) / 2.0
    return initial * tf.where_v2(step < warmup, (step + 1.0) / max(warmup, 1.0), falling)
