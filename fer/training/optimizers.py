# SPDX-License-Identifier: Apache-2.0
"""The optimisers of a run, TensorFlow 1's own (dissertation 2.4.6), and the variables that each of them trains."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fer.runs.config import TrainConfig
from fer.tf1 import tf
from fer.training.schedule import Phase


class ParameterGroup(NamedTuple):
    """Variables, and the optimiser that keeps their moments and counts their steps."""

    optimizer: tf.train.Optimizer
    variables: list[tf.Variable]


def make_optimizer(config: TrainConfig, rate: tf.Tensor) -> tf.train.Optimizer:
    """Returns the optimiser of --optimizer, with the constants that TensorFlow 1 has by default.

    With gradient g, learning rate r, and variables x that start as m = v = 0 and s = 1:

      adam      m = 0.9 m + 0.1 g, v = 0.999 v + 0.001 g^2, x -= r sqrt(1 - 0.999^t) / (1 - 0.9^t) m / (sqrt(v) + 1e-8)
      sgd       x -= r g
      momentum  m = --momentum m + g, x -= r m
      rmsprop   s = 0.9 s + 0.1 g^2, x -= r g / sqrt(s + 1e-10)

    Adam is Kingma and Ba's faster form, in front of their section 2.1. Its epsilon is not that of equation 2.16.

    Args:
      config: of the run.
      rate: float32 scalar, the learning rate.
    """
    if config.optimizer == 'sgd':
        return tf.train.GradientDescentOptimizer(rate)
    if config.optimizer == 'momentum':
        return tf.train.MomentumOptimizer(rate, config.momentum)
    if config.optimizer == 'rmsprop':
        return tf.train.RMSPropOptimizer(rate)
    return tf.train.AdamOptimizer(rate)


def parameter_groups(
    config: TrainConfig, rate: tf.Tensor, trained: Mapping[Phase, Sequence[tf.Variable]]
) -> dict[Phase, list[ParameterGroup]]:
    """Returns the groups that each phase trains. The last group of a phase is its own.

    Without --keep_optimizer, a phase has a single group of all its variables. With it, phase two also has the group of
    phase one, whose moments and count of steps continue. Its other variables are a group with a count of their own. In
    a shared count their first steps would have moments near zero without Adam's correction of them, and would be three
    times too long.

    Args:
      config: of the run.
      rate: float32 scalar, the learning rate.
      trained: the variables that each phase trains, in the order of phases.
    """
    groups: dict[Phase, list[ParameterGroup]] = {}
    kept: list[ParameterGroup] = []
    for phase, variables in trained.items():
        known = {variable.ref() for group in kept for variable in group.variables}
        new = [variable for variable in variables if variable.ref() not in known]
        groups[phase] = [*kept, ParameterGroup(make_optimizer(config, rate), new)]
        if config.keep_optimizer:
            kept = groups[phase]
    return groups


def apply_gradients(
    groups: Sequence[ParameterGroup], pairs: Sequence[tuple[tf.Tensor, tf.Variable]], global_step: tf.Variable
) -> tf.Operation:
    """Adds a step of each group's optimiser, then of the count of steps.

    Args:
      groups: of the phase.
      pairs: a gradient and its variable, each of one of the groups.
      global_step: counts the steps.
    """
    gradients = {variable.ref(): gradient for gradient, variable in pairs}
    parts = [(group, [v for v in group.variables if v.ref() in gradients]) for group in groups]
    parts = [(group, variables) for group, variables in parts if variables]
    done: list[tf.Operation] = []
    for group, variables in parts:
        is_last = group is parts[-1][0]
        with tf.control_dependencies(done):
            step = [(gradients[variable.ref()], variable) for variable in variables]
            done = [group.optimizer.apply_gradients(step, global_step if is_last else None)]
    return done[0]
