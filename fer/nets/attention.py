# SPDX-License-Identifier: Apache-2.0
"""Kinds of attention of a recurrent network (dissertation 2.4.5).

The dissertation adds attention in 6.3 and 6.4, and gives equations 2.10 to 2.12. They leave open which function
computes the scores and over what they are normalised, so there are three kinds:

- `gate`: a sigmoid for each unit of each frame, computed from the network's input. It is the equations' own example.
- `softmax`: one weight for each frame, computed from the network's input, and normalised over the window's real frames.
- `wrapper`: TensorFlow 1's tf.contrib.rnn.AttentionCellWrapper, the attention that the author's library had for a cell.
  Each step of a cell attends to the cell's own last outputs, with the scores of Bahdanau et al. (arXiv 1409.0473).
"""

from typing import NamedTuple

from fer.nets.cells import RecurrentCell, TensorList, run_masked
from fer.tf1 import slim, tf

ATTENTIONS = ('gate', 'softmax', 'wrapper')


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


def attention_over_time(
    inputs: tf.Tensor, outputs: tf.Tensor, lengths: tf.Tensor, pad_index: tf.Tensor, scope: str = 'attention'
) -> tf.Tensor:
    """Multiplies a network's outputs by one weight for each frame (dissertation, equations 2.10 to 2.12).

    The scores of equation 2.11 are one dense unit on the frame's input. A softmax over the real frames of the window
    makes weights of them. There are no biases, because a softmax ignores what is added to every score.

    Each frame keeps its output, because 5.2 classifies each frame. A weight is multiplied by the number of real frames,
    so that weights have mean 1, and equal scores change nothing. The mean of a window's outputs is then their weighted
    sum over time. With --classify=exact and --aggregate=mean, the window's logits are the classifier of that sum.

    Args:
      inputs: x, float32 [N, D], the real frames of B windows, one window after the other.
      outputs: z = f(x), float32 [N, U].
      lengths: int32 [B], real frames of each window, at least 1.
      pad_index: int32 [B, T], as `fer.data.windows.pad_index` makes it.
      scope: scope of the variable `weights` [D, 1].

    Returns:
      g = length * softmax(w x) * z, float32 [N, U].
    """
    scores = slim.fully_connected(inputs, 1, activation_fn=None, biases_initializer=None, scope=scope)  # [N, 1]
    real = tf.sequence_mask(lengths, tf.shape(pad_index)[1])  # [B, T]
    lowest = tf.constant(scores.dtype.min, scores.dtype)
    weights = tf.nn.softmax(tf.where_v2(real, tf.gather(scores[:, 0], pad_index), lowest))  # [B, T], 0 past the end
    weights *= tf.cast(lengths, weights.dtype)[:, tf.newaxis]
    return tf.boolean_mask(weights, real)[:, tf.newaxis] * outputs


class WrapperWeights(NamedTuple):
    """The variables of a wrapped cell of U units and S states on inputs of D features, its own not included."""

    inputs: tf.Tensor  # [D + U, D], the input's rows first
    input_biases: tf.Tensor  # [D]
    keys: tf.Tensor  # [U, U]
    query: tf.Tensor  # [S * U, U]
    query_biases: tf.Tensor  # [U]
    score: tf.Tensor  # [U]
    outputs: tf.Tensor  # [2 * U, U], the cell's output's rows first
    output_biases: tf.Tensor  # [U]


def make_wrapper_weights(features: int, units: int, states: int, dtype: tf.DType) -> WrapperWeights:
    """Makes the variables of a wrapped cell, below the scope `attention`.

    They start as AttentionCellWrapper's: Glorot's weights, biases of zero.

    Args:
      features: D, of the input.
      units: U, of the cell.
      states: S, of the cell.
      dtype: of the variables.
    """

    def make(name: str, shape: list[int]) -> tf.Tensor:
        initializer = slim.xavier_initializer() if name.endswith('weights') else tf.zeros_initializer()
        return slim.model_variable(name, shape, dtype, initializer)

    with tf.variable_scope('attention'):
        return WrapperWeights(
            inputs=make('inputs/weights', [features + units, features]),
            input_biases=make('inputs/biases', [features]),
            keys=make('keys/weights', [units, units]),
            query=make('query/weights', [states * units, units]),
            query_biases=make('query/biases', [units]),
            score=make('score/weights', [units]),
            outputs=make('outputs/weights', [2 * units, units]),
            output_biases=make('outputs/biases', [units]),
        )


def wrapped_loop(
    cell: RecurrentCell,
    inputs: TensorList,
    lengths: tf.Tensor,
    weights: TensorList,
    feedback: TensorList,
    wrapper: WrapperWeights,
    attention_length: int,
) -> tf.Tensor:
    """Runs a cell that attends to its own last outputs, as AttentionCellWrapper does, over padded sequences.

    A step computes, from the context c of the step before and the last outputs o_1 to o_L, which start at zero:

      x' = W_inputs [x, c] + b       the cell's input. It is linear, so the loop only adds its part of c
      s = cell(x', s)                the cell's new states
      q = W_query s + b              the query. An LSTM's states are its memory, then its output
      e_i = v . tanh(W_keys o_i + q) the scores, of outputs before the first step too, as in TensorFlow
      c = sum_i softmax(e)_i o_i     the new context
      o = W_outputs [h, c] + b       the output, from the cell's own output h. The oldest of the last outputs leaves

    Values past a sequence's end, NaN included, change no output before the end and no gradient.

    Args:
      cell: a value of `fer.nets.cells.CELLS`.
      inputs: the cell's products with W_inputs x + b, biases included, one for each of its weights: float32
        [T, B, gates * U].
      lengths: int32 [B], at most T.
      weights: recurrent weights of the cell, float32 [U, gates * U] each.
      feedback: the context's rows of W_inputs, multiplied by the cell's weights, float32 [U, gates * U] each.
      wrapper: the other variables.
      attention_length: L, the number of last outputs.

    Returns:
      float32 [T, B, U], zeros past a sequence's end.
    """
    units, dtype = int(weights[0].shape[0]), inputs[0].dtype

    def run(inputs: TensorList) -> tf.Tensor:
        steps, batch = tf.unstack(tf.shape(inputs[0])[:2])
        arrays = [tf.TensorArray(dtype, steps).unstack(net) for net in inputs]

        def body(step, states, context, memory, keys, written):
            products = [
                array.read(step) + tf.matmul(context, back) for array, back in zip(arrays, feedback, strict=True)
            ]
            states = tuple(cell.step(products, states, weights))
            context = _attend(states, memory, keys, wrapper)
            output = tf.matmul(tf.concat([states[0], context], axis=1), wrapper.outputs) + wrapper.output_biases
            # Each output's key is computed once, not in each of the L steps that read it. The order of the last outputs
            # does not matter, so the newest takes the place of the oldest.
            oldest = tf.equal(tf.range(attention_length), step % attention_length)[:, tf.newaxis]  # [L, 1]
            memory = tf.where_v2(oldest, output[:, tf.newaxis], memory)
            keys = tf.where_v2(oldest, tf.matmul(output, wrapper.keys)[:, tf.newaxis], keys)
            return step + 1, states, context, memory, keys, written.write(step, output)

        none = tf.zeros([batch, units], dtype)
        last = tf.zeros([batch, attention_length, units], dtype)
        start = (tf.constant(0), (none,) * cell.states, none, last, last, tf.TensorArray(dtype, steps))
        *_, written = tf.while_loop(lambda step, *_: step < steps, body, start)
        return written.stack()

    return run_masked(run, inputs, lengths)


def _attend(states: TensorList, memory: tf.Tensor, keys: tf.Tensor, wrapper: WrapperWeights) -> tf.Tensor:
    """Returns the new context, float32 [B, U], from states [B, U] and the last outputs and their keys, [B, L, U]."""
    query = tf.matmul(tf.concat(states[::-1], axis=1), wrapper.query) + wrapper.query_biases  # [B, U]
    hidden = tf.tanh(keys + query[:, tf.newaxis])  # [B, L, U]
    scores = tf.matmul(tf.reshape(hidden, [-1, hidden.shape[2]]), wrapper.score[:, tf.newaxis])  # [B * L, 1]
    weights = tf.nn.softmax(tf.reshape(scores, [-1, hidden.shape[1]]))  # [B, L]
    return tf.reduce_sum(weights[:, :, tf.newaxis] * memory, axis=1)
