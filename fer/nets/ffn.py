"""The feed-forward network on the functionals of a whole video's sound (dissertation 4.2, 6.4 table 1).

One layer of 1024 units was the dissertation's best. Each layer is dense, batch normalised where that is asked for, a
ReLU and dropout, in the order of Ioffe and Szegedy 2015 (normalised before the ReLU); the dissertation does not give
one.
"""

from collections.abc import Sequence

from fer.nets.layers import batch_norm as batch_norm_layer
from fer.nets.layers import dropout as dropout_layer
from fer.tf1 import slim, tf

EPSILON = 1e-3  # of batch normalisation; slim's


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
      features: float32 [B, D], one row a video, standardised; D fixed (openSMILE's emo_large has 6,552).
      num_classes: units of the last layer, logits; 0 builds none.
      is_training: whether dropout acts and batch normalisation takes the batch's statistics.
      hidden_units: of each hidden layer, at least one layer.
      dropout: rate after every hidden layer.
      batch_norm: whether hidden layers are normalised; their dense layers then have no biases, which it would undo.
      scope: of the variables, `hidden_1/weights`, `hidden_1/biases` or `hidden_1/BatchNorm/...`, and so on, and
        `logits/...`; they are reused where they exist.

    Returns:
      hidden: float32 [B, H], the last hidden layer after ReLU and before dropout.
      end_points: `hidden_1` ..., each before dropout; `logits` float32 [B, num_classes].

    Raises:
      ValueError: no hidden layer, or one without units.
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
                weights_initializer=slim.variance_scaling_initializer(),  # He's, for the ReLU, as `conv2d` has
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
            end_points['logits'] = slim.fully_connected(net, num_classes, activation_fn=None, scope='logits')
    return hidden, end_points
