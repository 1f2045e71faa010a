# SPDX-License-Identifier: Apache-2.0
"""The feed-forward network on the functionals of a whole video's audio (dissertation 4.2, 6.4 table 1).

One layer of 1024 units was the dissertation's best. Each layer is a dense layer, optional batch normalisation, a ReLU
and dropout. The order is that of Ioffe and Szegedy 2015, because the dissertation does not give one.
"""

from collections.abc import Sequence

from fer.nets.layers import batch_norm as batch_norm_layer
from fer.nets.layers import classifier
from fer.nets.layers import dropout as dropout_layer
from fer.tf1 import slim, tf

EPSILON = 1e-3  # added to the variance by batch normalisation, as in slim


def ffn(
    features: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    hidden_units: Sequence[int] = (1024,),
    dropout: float = 0.5,
    batch_norm: bool = False,
    scope: str = 'ffn',
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds the network.

    Args:
      features: float32 [B, D], one standardised row per video. D is fixed (6,552 with openSMILE's emo_large).
      num_classes: units of the last layer, logits. 0 builds no classifier.
      is_training: True turns dropout on and normalises by the batch's statistics.
      hidden_units: units of each hidden layer, at least one layer of at least 1 unit.
      dropout: share of units dropped after each hidden layer, in [0, 1).
      batch_norm: True normalises hidden layers. Their dense layers then have no biases, which it would cancel.
      scope: scope of the variables, which are reused if they exist: `hidden_1/weights`, `hidden_1/biases` or
        `hidden_1/BatchNorm/...`, and so on, and `logits/...`.

    Returns:
      hidden: float32 [B, H], the last hidden layer after ReLU and before dropout.
      end_points: `hidden_1` and so on, each before dropout, and `logits`, float32 [B, num_classes].

    Raises:
      ValueError: there is no hidden layer, or one has no units.
    """
    if not hidden_units or min(hidden_units) < 1:
        raise ValueError(f'hidden_units {list(hidden_units)}: expected at least one layer, each of at least 1 unit')
    end_points = {}
    net = features
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
        for number, units in enumerate(hidden_units, start=1):
            name = f'hidden_{number}'
            hidden = slim.fully_connected(
                net,
                units,
                activation_fn=None,
                weights_initializer=slim.variance_scaling_initializer(),  # He's, for the ReLU
                biases_initializer=None if batch_norm else tf.zeros_initializer(),
                scope=name,
            )
            if batch_norm:
                with tf.variable_scope(name):
                    maps = hidden[:, tf.newaxis, tf.newaxis, :]  # [B, 1, 1, H]
                    hidden = slim.flatten(batch_norm_layer(maps, is_training=is_training, epsilon=EPSILON))
            hidden = tf.nn.relu(hidden)
            end_points[name] = hidden
            net = dropout_layer(hidden, dropout, is_training, scope=f'{scope}/dropout_{number}')
        if num_classes:
            end_points['logits'] = classifier(net, num_classes)
    return hidden, end_points
