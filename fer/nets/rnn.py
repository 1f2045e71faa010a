# SPDX-License-Identifier: Apache-2.0
"""Recurrent networks over the frames of windows, and their classifier (dissertation 2.4.3 and 5.2, sizes in 6.3).

Fresh weights start like those of tf.nn.rnn_cell's GRUCell and LSTMCell: Glorot's over input and state together. The
initial bias of 1 makes a GRU keep its state and an LSTM its memory.

The batch is packed, so the loop is fer/nets/cells.py rather than tf.nn.dynamic_rnn. A cell's product with its input is
97% of its work on 4096 features and does not depend on the state. Here it is one product over the N real frames before
the loop, and the result of the product is padded. dynamic_rnn pads the features instead. It then multiplies a few rows
in each of T steps, and adds T gradients of the whole weight matrix. `python -m tests.benchmarks.rnn` compares the two.
"""

from typing import Any, NamedTuple

from fer.nets.cells import CELLS, RecurrentCell, masked_loop
from fer.nets.layers import dropout as dropout_layer
from fer.tf1 import slim, tf


class Direction(NamedTuple):
    """The order in which frames enter the loop, and the way back."""

    rows: tf.Tensor  # int32 [T, B]: the packed frame of each step, any frame past a window's end
    steps: tf.Tensor  # int32 [N, 2]: the step and the window of each packed frame


def _layer(
    net: tf.Tensor, lengths: tf.Tensor, direction: Direction, cell: RecurrentCell, units: int, scope: str
) -> tf.Tensor:
    """Builds one layer in one direction over packed frames: [N, D] to [N, units]."""
    features = int(net.shape[1])
    products, recurrent_weights = [], []
    with tf.variable_scope(scope):
        for part in cell.weights:
            with tf.variable_scope(part.scope):
                shape = [features + units, part.gates * units]
                weights = slim.model_variable('weights', shape, net.dtype, slim.xavier_initializer())
                biases = slim.model_variable('biases', shape[1:], net.dtype, tf.constant_initializer(part.bias))
                product = tf.matmul(net, weights[:features]) + biases  # [N, gates * units]
                products.append(tf.gather(product, direction.rows))  # [T, B, gates * units]
                recurrent_weights.append(weights[features:])
        outputs = masked_loop(cell, products, lengths, recurrent_weights)
        return tf.gather_nd(outputs, direction.steps)


def attention_gate(inputs: tf.Tensor, outputs: tf.Tensor, scope: str = 'attention') -> tf.Tensor:
    """Multiplies a network's outputs by gates computed from its inputs (dissertation, equations 2.10 to 2.12).

    The gates of equation 2.11 are one dense layer under a sigmoid, with variables `weights` [D, U] and `biases` [U].

    Args:
      inputs: x, float32 [N, D].
      outputs: z = f(x), float32 [N, U].
      scope: scope of the variables.

    Returns:
      g = sigmoid(W x + b) * z, float32 [N, U].
    """
    gates = slim.fully_connected(inputs, int(outputs.shape[1]), activation_fn=tf.nn.sigmoid, scope=scope)
    return gates * outputs


def recurrent(
    inputs: tf.Tensor,
    lengths: tf.Tensor,
    pad_index: tf.Tensor,
    cell: str = 'gru',
    layers: int = 2,
    units: int = 128,
    *,
    bidirectional: bool = False,
    attention: bool = False,
    scope: str = 'rnn',
) -> tf.Tensor:
    """Builds a stack of recurrent layers over packed windows, with an output for each real frame.

    Positions past a window's end change no output and no gradient. With `bidirectional`, each layer takes the outputs
    of both directions of the layer before. The backward direction starts at the last real frame.

    Variables: `layer_1/forward/gates/weights` [D + U, gates * U] with the input's rows first, `.../biases`, and so on.
    `backward` is beside `forward`, and `attention` is beside `scope`.

    Args:
      inputs: float32 [N, D], the real frames of B windows, one window after the other.
      lengths: int32 [B], real frames of each window, at least 1.
      pad_index: int32 [B, T], as `fer.data.windows.pad_index` makes it.
      cell: a key of `CELLS`: `gru` or `lstm`.
      layers: number of layers, at least 1.
      units: units of each layer and direction, at least 1.
      bidirectional: True adds a backward direction to each layer.
      attention: True multiplies the stack's outputs by an `attention_gate` of `inputs`.
      scope: scope of the layers' variables, which are reused if they exist.

    Returns:
      float32 [N, U]. U is `units`, or 2 * `units` with `bidirectional`: first the forward direction's.

    Raises:
      ValueError: the cell is unknown, or there are no layers or no units.
    """
    if cell not in CELLS:
        raise ValueError(f'cell {cell}: expected one of {", ".join(CELLS)}')
    if layers < 1 or units < 1:
        raise ValueError(f'{layers} layers of {units} units: expected at least one of each')
    rows = pad_index[:, : tf.reduce_max(lengths)]  # the loop ends with the longest window
    window, step = tf.unstack(tf.where(tf.sequence_mask(lengths, dtype=tf.bool)), axis=1)  # [N] each
    last = tf.gather(tf.cast(lengths, tf.int64), window) - 1
    directions = {'forward': Direction(tf.transpose(rows), tf.stack([step, window], axis=1))}
    if bidirectional:
        reversed_rows = tf.reverse_sequence(rows, lengths, seq_axis=1)
        directions['backward'] = Direction(tf.transpose(reversed_rows), tf.stack([last - step, window], axis=1))
    net = inputs
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
        for layer in range(1, layers + 1):
            with tf.variable_scope(f'layer_{layer}'):
                sides = [_layer(net, lengths, where, CELLS[cell], units, side) for side, where in directions.items()]
                net = tf.concat(sides, axis=1)
    return attention_gate(inputs, net) if attention else net


def sequence_classifier(
    inputs: tf.Tensor,
    lengths: tf.Tensor,
    pad_index: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    *,
    dropout: float = 0.0,
    scope: str = 'temporal',
    **rnn: Any,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds `recurrent` and a dense layer that classifies each frame (dissertation 5.2).

    Args:
      inputs: float32 [N, D], the real frames of B windows, one window after the other.
      lengths: int32 [B], real frames of each window, at least 1.
      pad_index: int32 [B, T], as `fer.data.windows.pad_index` makes it.
      num_classes: units of the classifier, 0 for no classifier.
      is_training: True turns dropout on.
      dropout: share of the outputs dropped before the classifier, in [0, 1).
      scope: scope of the variables, which are below `rnn`, `attention` and `logits` and are reused if they exist.
      **rnn: `cell`, `layers`, `units`, `bidirectional` and `attention` of `recurrent`.

    Returns:
      outputs: float32 [N, U], the outputs of `recurrent`, before dropout.
      end_points: `rnn`, the outputs, and `logits`, float32 [N, num_classes], one row per real frame.
    """
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
        outputs = recurrent(inputs, lengths, pad_index, **rnn)
        end_points = {'rnn': outputs}
        if num_classes:
            # The name has the whole scope, because several classifiers of one network would share a mask otherwise.
            net = dropout_layer(outputs, dropout, is_training, scope=f'{scope}/dropout')
            end_points['logits'] = slim.fully_connected(net, num_classes, activation_fn=None, scope='logits')
    return outputs, end_points
