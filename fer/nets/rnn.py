"""Recurrent networks over the frames of windows, and their classifier (dissertation 2.4.3 and 5.2, sizes in 6.3).

New weights start as those of tf.nn.rnn_cell's GRUCell and LSTMCell do: Glorot's over input and state together, biases
of 1 that keep a GRU's state and an LSTM's memory at first.

The loop is our own (fer/nets/cells.py) rather than tf.nn.dynamic_rnn, because the batch is packed. A cell's product
with its input, 97% of its work on 4096 features, does not depend on the state: here it is one product over the N real
frames before the loop, and what is padded is its result. dynamic_rnn pads the features, then multiplies a few rows at a
time, T times, and adds T gradients of the whole weight matrix (tests/benchmarks/rnn.py compares the two).
"""

from typing import NamedTuple

from fer.nets.cells import CELLS, Cell, masked_loop
from fer.nets.layers import dropout as dropout_layer
from fer.tf1 import slim, tf


class Direction(NamedTuple):
    """How frames enter the loop and come back."""

    rows: tf.Tensor  # int32 [T, B]: the packed frame of each step; past a window's end, any
    steps: tf.Tensor  # int32 [N, 2]: of each packed frame, its step and window


def _layer(net: tf.Tensor, lengths: tf.Tensor, direction: Direction, cell: Cell, units: int, scope: str) -> tf.Tensor:
    """One layer in one direction: packed frames, [N, D] to [N, units]."""
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

    Equation 2.11's simpler network is one dense layer under a sigmoid: variables `weights` [D, U], `biases` [U].

    Args:
      inputs: x, float32 [N, D].
      outputs: z = f(x), float32 [N, U].
      scope: of the variables.

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
    bidirectional: bool = False,
    attention: bool = False,
    scope: str = 'rnn',
) -> tf.Tensor:
    """A stack of recurrent layers over packed windows, with an output for each real frame.

    What is past a window's end changes no output and no gradient. In both directions, each layer
    takes the two directions' outputs of the layer before, and the backward one starts at the last real frame.

    Variables: `layer_1/forward/gates/weights` [D + U, gates * U] with the input's rows first, `.../biases`, and so on;
    `backward` beside `forward`. The attention's are beside `scope`, under `attention`.

    Args:
      inputs: float32 [N, D], the real frames of B windows, one window after the other.
      lengths: int32 [B], real frames of each window, at least 1.
      pad_index: int32 [B, T], as `fer.data.windows.pad_index` makes it.
      cell: a key of `CELLS`.
      layers: of the stack, at least 1.
      units: of each layer and direction.
      bidirectional: whether each layer has a backward direction.
      attention: whether `attention_gate` gates the stack's outputs by `inputs`.
      scope: of the layers' variables; variables are reused where they exist.

    Returns:
      float32 [N, U], U being `units`, or twice as many in both directions: forward ones first.

    Raises:
      ValueError: an unknown cell, or no layers or units.
    """
    if cell not in CELLS:
        raise ValueError(f'cell {cell}: expected one of {", ".join(CELLS)}')
    if layers < 1 or units < 1:
        raise ValueError(f'{layers} layers of {units} units: expected at least one of each')
    rows = pad_index[:, : tf.reduce_max(lengths)]  # no step is past the end of all windows
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
    cell: str = 'gru',
    layers: int = 2,
    units: int = 128,
    bidirectional: bool = False,
    attention: bool = False,
    dropout: float = 0.0,
    scope: str = 'temporal',
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """`recurrent`, then a dense layer that classifies each frame (dissertation 5.2).

    Args:
      inputs: as in `recurrent`, like `lengths`, `pad_index` and the five from `cell` on.
      lengths: int32 [B].
      pad_index: int32 [B, T].
      num_classes: units of the classifier; 0 builds none.
      is_training: whether dropout acts.
      cell: `gru` or `lstm`.
      layers: of the stack.
      units: of each layer and direction.
      bidirectional: whether there is a backward direction.
      attention: whether outputs are gated.
      dropout: rate between the outputs and the classifier.
      scope: of the variables, which are under `rnn`, `attention` and `logits`; they are reused where they exist.

    Returns:
      outputs: float32 [N, U], as in `recurrent`, before dropout.
      end_points: `rnn`, the outputs; `logits` float32 [N, num_classes], one row a real frame.
    """
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
        outputs = recurrent(inputs, lengths, pad_index, cell, layers, units, bidirectional, attention)
        end_points = {'rnn': outputs}
        if num_classes:
            # By the whole name, as several classifiers of one network would draw the same mask otherwise.
            net = dropout_layer(outputs, dropout, is_training, scope=f'{scope}/dropout')
            end_points['logits'] = slim.fully_connected(net, num_classes, activation_fn=None, scope='logits')
    return outputs, end_points
