# SPDX-License-Identifier: Apache-2.0
"""Recurrent networks over the frames of windows, and their classifier (dissertation 2.4.3 and 5.2, sizes in 6.3).

Fresh weights start like those of tf.nn.rnn_cell's cells: Glorot's over input and state together. The initial bias of 1
makes a GRU keep its state and an LSTM its memory.

The batch is packed, so the loop is fer/nets/cells.py rather than tf.nn.dynamic_rnn. A cell's product with its input is
97% of its work on 4096 features and does not depend on the state. Here it is one product over the N real frames before
the loop, and the result of the product is padded. dynamic_rnn pads the features instead. It then multiplies a few rows
in each of T steps, and adds T gradients of the whole weight matrix. `python -m tests.benchmarks.rnn` compares the two.
"""

from typing import NamedTuple

from fer.nets.attention import (
    ATTENTIONS,
    attention_gate,
    attention_over_time,
    make_wrapper_weights,
    wrapped_loop,
)
from fer.nets.cells import CELLS, masked_loop
from fer.nets.layers import classifier
from fer.nets.layers import dropout as dropout_layer
from fer.tf1 import slim, tf

BIDIRECTIONALS = ('layers', 'stacks')


class Recurrence(NamedTuple):
    """Sizes and kind of a recurrent network."""

    cell: str = 'gru'  # a key of `CELLS`
    layers: int = 2
    units: int = 128  # of each layer and direction
    # '' for one direction. `layers`: each layer takes the outputs of both directions of the layer below. `stacks`: two
    # stacks side by side, joined at the top.
    bidirectional: str = ''
    attention: str = ''  # one of `ATTENTIONS`, or '' for none
    attention_length: int = 40  # the last outputs that `wrapper` attends to


class Direction(NamedTuple):
    """The order in which frames enter the loop, and the way back."""

    rows: tf.Tensor  # int32 [T, B]: the packed frame of each step, any frame past a window's end
    steps: tf.Tensor  # int32 [N, 2]: the step and the window of each packed frame


def _layer(net: tf.Tensor, lengths: tf.Tensor, direction: Direction, rnn: Recurrence, scope: str) -> tf.Tensor:
    """Builds one layer in one direction over packed frames: [N, D] to [N, units]."""
    cell, features = CELLS[rnn.cell], int(net.shape[1])
    products, recurrent_weights, feedback = [], [], []
    with tf.variable_scope(scope):
        wrapper = None
        if rnn.attention == 'wrapper':
            wrapper = make_wrapper_weights(features, rnn.units, cell.states, net.dtype)
            net = tf.matmul(net, wrapper.inputs[:features]) + wrapper.input_biases  # [N, D]
        for part in cell.weights:
            with tf.variable_scope(part.scope):
                shape = [features + rnn.units, part.gates * rnn.units]
                weights = slim.model_variable('weights', shape, net.dtype, slim.xavier_initializer())
                biases = slim.model_variable('biases', shape[1:], net.dtype, tf.constant_initializer(part.bias))
                product = tf.matmul(net, weights[:features]) + biases  # [N, gates * units]
                products.append(tf.gather(product, direction.rows))  # [T, B, gates * units]
                recurrent_weights.append(weights[features:])
                if wrapper:
                    feedback.append(tf.matmul(wrapper.inputs[features:], weights[:features]))
        if wrapper:
            length = rnn.attention_length
            outputs = wrapped_loop(cell, products, lengths, recurrent_weights, feedback, wrapper, length)
        else:
            outputs = masked_loop(cell, products, lengths, recurrent_weights)
        return tf.gather_nd(outputs, direction.steps)


def recurrent(
    inputs: tf.Tensor,
    lengths: tf.Tensor,
    pad_index: tf.Tensor,
    rnn: Recurrence = Recurrence(),  # noqa: B008 (immutable)
    scope: str = 'rnn',
) -> tf.Tensor:
    """Builds a stack of recurrent layers over packed windows, with an output for each real frame.

    Positions past a window's end change no output and no gradient. A backward direction starts at the last real frame.

    Variables: `layer_1/forward/gates/weights` [D + U, gates * U] with the input's rows first, `.../biases`, and so on.
    `backward` is beside `forward`. The `attention` of a gate or of weights over time is beside `scope`, that of a
    wrapped cell is beside its gates.

    Args:
      inputs: float32 [N, D], the real frames of B windows, one window after the other.
      lengths: int32 [B], real frames of each window, at least 1.
      pad_index: int32 [B, T], as `fer.data.windows.pad_index` makes it.
      rnn: sizes and kind of the network.
      scope: scope of the layers' variables, which are reused if they exist.

    Returns:
      float32 [N, U]. U is the units, or twice as many with two directions: first the forward direction's.

    Raises:
      ValueError: the cell or a kind is unknown, or there are no layers, no units or no outputs to attend to.
    """
    _check_recurrence(rnn)
    rows = pad_index[:, : tf.reduce_max(lengths)]  # the loop ends with the longest window
    window, step = tf.unstack(tf.where(tf.sequence_mask(lengths, dtype=tf.bool)), axis=1)  # [N] each
    last = tf.gather(tf.cast(lengths, tf.int64), window) - 1
    directions = {'forward': Direction(tf.transpose(rows), tf.stack([step, window], axis=1))}
    if rnn.bidirectional:
        reversed_rows = tf.reverse_sequence(rows, lengths, seq_axis=1)
        directions['backward'] = Direction(tf.transpose(reversed_rows), tf.stack([last - step, window], axis=1))
    net, below = inputs, dict.fromkeys(directions, inputs)
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
        for layer in range(1, rnn.layers + 1):
            with tf.variable_scope(f'layer_{layer}'):
                sides = {side: _layer(below[side], lengths, where, rnn, side) for side, where in directions.items()}
                net = tf.concat(list(sides.values()), axis=1)
                below = sides if rnn.bidirectional == 'stacks' else dict.fromkeys(directions, net)
    if rnn.attention == 'gate':
        return attention_gate(inputs, net)
    return attention_over_time(inputs, net, lengths, rows) if rnn.attention == 'softmax' else net


def _check_recurrence(rnn: Recurrence) -> None:
    for name, known in (('cell', tuple(CELLS)), ('bidirectional', BIDIRECTIONALS), ('attention', ATTENTIONS)):
        value = getattr(rnn, name)
        if value not in known and (value or name == 'cell'):
            raise ValueError(f'{name} {value}: expected one of {", ".join(known)}')
    if min(rnn.layers, rnn.units, rnn.attention_length) < 1:
        raise ValueError(f'{rnn}: expected at least one layer, one unit and one output to attend to')


def sequence_classifier(
    inputs: tf.Tensor,
    lengths: tf.Tensor,
    pad_index: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    rnn: Recurrence = Recurrence(),  # noqa: B008 (immutable)
    dropout: float = 0.0,
    scope: str = 'temporal',
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds `recurrent` and a dense layer that classifies each frame (dissertation 5.2).

    Args:
      inputs: float32 [N, D], the real frames of B windows, one window after the other.
      lengths: int32 [B], real frames of each window, at least 1.
      pad_index: int32 [B, T], as `fer.data.windows.pad_index` makes it.
      num_classes: units of the classifier, 0 for no classifier.
      is_training: True turns dropout on.
      rnn: sizes and kind of the recurrent network.
      dropout: share of the outputs dropped before the classifier, in [0, 1).
      scope: scope of the variables, which are below `rnn`, `attention` and `logits` and are reused if they exist.

    Returns:
      outputs: float32 [N, U], the outputs of `recurrent`, before dropout.
      end_points: `rnn`, the outputs, and `logits`, float32 [N, num_classes], one row per real frame.
    """
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
        outputs = recurrent(inputs, lengths, pad_index, rnn)
        end_points = {'rnn': outputs}
        if num_classes:
            # The name has the whole scope, because several classifiers of one network would share a mask otherwise.
            net = dropout_layer(outputs, dropout, is_training, scope=f'{scope}/dropout')
            end_points['logits'] = classifier(net, num_classes)
    return outputs, end_points
