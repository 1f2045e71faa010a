# SPDX-License-Identifier: Apache-2.0
"""Schemes of initial weights, the values of --initialiser. Restored layers do not depend on them.

The builders of networks take the initial weights of convolutions and classifiers from here. `initialiser_scope` around
any builder chooses the scheme. Without it, layers start as in runs from before there were schemes.

A scheme changes convolutions that batch normalisation follows, residual branches, and every classifier. Other layers
start alike in all schemes: VGG-Face's, whose centred weights its file explains, hidden dense layers, SE blocks and
recurrent cells.
"""

import math
from typing import Any, NamedTuple

from fer.tf1 import slim, tf


class Scheme(NamedTuple):
    """The initial weights of new layers."""

    # He et al., "Delving Deep into Rectifiers", ICCV 2015. FAN_IN keeps the variance of the signal (equation 10),
    # FAN_OUT that of the gradients (equation 14).
    convolution: str
    # True: weights and biases of a classifier are uniform within 1 / sqrt(fan-in), as torch.nn.Linear's. Their variance
    # is a sixth of that of Xavier's weights, where a classifier has far more inputs than classes. False: the weights
    # that the network names, and biases of zero.
    small_classifier: bool
    # True: gamma of the last batch normalisation of each residual branch starts at zero, so that each unit starts as
    # its shortcut (Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1).
    zero_branches: bool = False


SCHEMES = {
    'fan_out': Scheme('FAN_OUT', small_classifier=True),
    'zero_gamma': Scheme('FAN_OUT', small_classifier=True, zero_branches=True),
    'fan_in': Scheme('FAN_IN', small_classifier=False),
}
_BEFORE = 'fan_in'  # the scheme of all runs before there were others


def initialiser_scope(scheme: str):
    """Returns a context manager. Builders within it start new layers by a scheme, a key of `SCHEMES`."""
    return slim.arg_scope([convolution_initializer, last_gamma_initializer, classifier_initializers], scheme=scheme)


@slim.add_arg_scope
def convolution_initializer(scheme: str = _BEFORE):
    """Returns the initialiser of the weights of a convolution: normal, and truncated at two deviations."""
    return slim.variance_scaling_initializer(mode=SCHEMES[scheme].convolution)


@slim.add_arg_scope
def last_gamma_initializer(scheme: str = _BEFORE):
    """Returns the initialiser of gamma in the last batch normalisation of a residual branch, None for ones."""
    return tf.zeros_initializer() if SCHEMES[scheme].zero_branches else None


@slim.add_arg_scope
def classifier_initializers(fan_in: int, weights: Any = None, scheme: str = _BEFORE) -> dict[str, Any]:
    """Returns the initialisers of a classifier, as arguments of `slim.fully_connected`.

    Args:
      fan_in: inputs of the classifier.
      weights: initialiser of the weights in a scheme whose classifiers are not small, None for Xavier's.
      scheme: a key of `SCHEMES`.
    """
    if SCHEMES[scheme].small_classifier:
        bound = 1 / math.sqrt(fan_in)
        uniform = tf.random_uniform_initializer(-bound, bound)
        return {'weights_initializer': uniform, 'biases_initializer': uniform}
    return {
        'weights_initializer': weights or slim.xavier_initializer(),
        'biases_initializer': tf.zeros_initializer(),
    }
