# SPDX-License-Identifier: Apache-2.0
"""Cells of recurrent networks, and the loop that runs a cell over packed windows.

The cells compute what tf.nn.rnn_cell's BasicRNNCell, GRUCell and LSTMCell compute, on weights of the same layout
(dissertation 2.4.3).

- Plain cell: equation 2.8, with the bias of BasicRNNCell, which the equation leaves out.
- GRU: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014. The reset gate comes before
  the recurrent product.
- LSTM: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.

The product with the input does not depend on the state, so fer/nets/rnn.py computes it before the loop. The products
that remain in the loop are small, and its time depends on the number of operations. The loop's gradient is therefore
written by hand:

1. Everything that does not depend on the next step is computed for all steps at once.
2. A loop back in time follows, with fewer operations than the one that TensorFlow derives.
3. One product gives the gradients of the recurrent weights.

Phase one of the temporal stage, with cached features, is 1.4 times as fast as with TensorFlow's own gradients. That is
the median of 25 epochs of each on two CPU cores: 1.43 (1.11 to 1.70) with TensorFlow 2.15 and 1.39 (1.12 to 1.87) with
TensorFlow 2.21. `python -m tests.benchmarks.rnn` repeats the comparison.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fer.tf1 import tf

TensorList = Sequence[tf.Tensor]


class CellWeights(NamedTuple):
    """One matrix of a cell and its biases, for some of its gates."""

    scope: str
    gates: int  # number of gates
    bias: float  # initial value of the biases


class RecurrentCell(NamedTuple):
    """One kind of cell: its weights, its step, and the two parts of its gradient.

    U is the number of units, B the number of windows, T the number of steps and R = T * B.

    `step(inputs, states, weights)` returns the new states. The first of them is the output.
      inputs: products with the input, biases included, one for each of `weights`: float32 [B, gates * U] each.
      states: float32 [B, U] each.
      weights: recurrent weights, float32 [U, gates * U] each.

    `linearise(inputs, before, after, weights)` returns `factors` and `operands` of all steps at once.
      inputs: as for `step`, but float32 [R, gates * U] each.
      before: states before each step, float32 [R, U] each.
      after: states after each step, float32 [R, U] each.
      weights: recurrent weights, float32 [U, gates * U] each.
      factors: everything that `step_back` needs of a step, float32 [R, U] each.
      operands: the left operand of each product with a recurrent weight, float32 [R, U] each.

    `step_back(factors, gradients, weights)` returns the gradients of a step's inputs and of the states before it.
      factors: those of one step, float32 [B, U] each.
      gradients: gradients of the states after the step, float32 [B, U] each.
      weights: recurrent weights, float32 [U, gates * U] each.
    """

    weights: tuple[CellWeights, ...]
    states: int
    step: Callable[[TensorList, TensorList, TensorList], TensorList]
    linearise: Callable[[TensorList, TensorList, TensorList, TensorList], tuple[TensorList, TensorList]]
    step_back: Callable[[TensorList, TensorList, TensorList], tuple[TensorList, TensorList]]


def plain_step(inputs: TensorList, states: TensorList, weights: TensorList) -> TensorList:
    """Computes `RecurrentCell.step`."""
    return (tf.tanh(inputs[0] + tf.matmul(states[0], weights[0])),)


def plain_linearise(
    inputs: TensorList, before: TensorList, after: TensorList, weights: TensorList
) -> tuple[TensorList, TensorList]:
    """Computes `RecurrentCell.linearise`. The factor is the derivative by the value before the tanh."""
    return (1 - after[0] ** 2,), before


def plain_step_back(factors: TensorList, gradients: TensorList, weights: TensorList) -> tuple[TensorList, TensorList]:
    """Computes `RecurrentCell.step_back`."""
    hidden = gradients[0] * factors[0]
    return (hidden,), (tf.matmul(hidden, weights[0], transpose_b=True),)


def gru_step(inputs: TensorList, states: TensorList, weights: TensorList) -> TensorList:
    """Computes `RecurrentCell.step`. The gates are reset and update, and an update gate of 1 keeps the state."""
    (state,) = states
    _, update, candidate = _gru_gates(inputs, state, weights)
    return (update * state + (1 - update) * candidate,)


def _gru_gates(inputs: TensorList, state: tf.Tensor, weights: TensorList) -> TensorList:
    reset, update = tf.split(tf.sigmoid(inputs[0] + tf.matmul(state, weights[0])), 2, axis=1)
    candidate = tf.tanh(inputs[1] + tf.matmul(reset * state, weights[1]))
    return reset, update, candidate


def gru_linearise(
    inputs: TensorList, before: TensorList, after: TensorList, weights: TensorList
) -> tuple[TensorList, TensorList]:
    """Computes `RecurrentCell.linearise`.

    The factors are the two gates and three derivatives, each by a value before its sigmoid or tanh: of reset * state by
    the reset gate, of the new state by the update gate, and of the new state by the candidate.
    """
    (state,) = before
    reset, update, candidate = _gru_gates(inputs, state, weights)
    by_reset = state * reset * (1 - reset)
    by_update = (state - candidate) * update * (1 - update)
    by_candidate = (1 - update) * (1 - candidate**2)
    return (reset, update, by_reset, by_update, by_candidate), (state, reset * state)


def gru_step_back(factors: TensorList, gradients: TensorList, weights: TensorList) -> tuple[TensorList, TensorList]:
    """Computes `RecurrentCell.step_back`."""
    reset, update, by_reset, by_update, by_candidate = factors
    (gradient,) = gradients
    candidate = gradient * by_candidate
    reset_state = tf.matmul(candidate, weights[1], transpose_b=True)
    gates = tf.concat([reset_state * by_reset, gradient * by_update], axis=1)
    before = gradient * update + reset_state * reset + tf.matmul(gates, weights[0], transpose_b=True)
    return (gates, candidate), (before,)


def lstm_step(inputs: TensorList, states: TensorList, weights: TensorList) -> TensorList:
    """Computes `RecurrentCell.step`. The gates are input, candidate, forget and output.

    The step adds 1 to the bias of the forget gate, as LSTMCell does. The variable starts at 0, so weight decay does not
    pull the sum to zero.
    """
    state, memory = states
    gate, candidate, forget, output = _lstm_gates(inputs, state, weights)
    memory = forget * memory + gate * candidate
    return output * tf.tanh(memory), memory


def _lstm_gates(inputs: TensorList, state: tf.Tensor, weights: TensorList) -> TensorList:
    gate, candidate, forget, output = tf.split(inputs[0] + tf.matmul(state, weights[0]), 4, axis=1)
    return tf.sigmoid(gate), tf.tanh(candidate), tf.sigmoid(forget + 1), tf.sigmoid(output)


def lstm_linearise(
    inputs: TensorList, before: TensorList, after: TensorList, weights: TensorList
) -> tuple[TensorList, TensorList]:
    """Computes `RecurrentCell.linearise`.

    The factors are the forget gate, the output's derivative by the memory, and one derivative for each gate.
    """
    state, memory = before
    gate, candidate, forget, output = _lstm_gates(inputs, state, weights)
    squashed = tf.tanh(after[1])
    by_memory = output * (1 - squashed**2)
    by_gate = candidate * gate * (1 - gate)
    by_candidate = gate * (1 - candidate**2)
    by_forget = memory * forget * (1 - forget)
    by_output = squashed * output * (1 - output)
    return (forget, by_memory, by_gate, by_candidate, by_forget, by_output), (state,)


def lstm_step_back(factors: TensorList, gradients: TensorList, weights: TensorList) -> tuple[TensorList, TensorList]:
    """Computes `RecurrentCell.step_back`."""
    forget, by_memory, *by_gates, by_output = factors
    output, memory = gradients
    memory += output * by_memory
    gates = tf.concat([*(memory * factor for factor in by_gates), output * by_output], axis=1)
    return (gates,), (tf.matmul(gates, weights[0], transpose_b=True), memory * forget)


CELLS = {
    'gru': RecurrentCell(
        weights=(CellWeights('gates', 2, bias=1), CellWeights('candidate', 1, bias=0)),
        states=1,
        step=gru_step,
        linearise=gru_linearise,
        step_back=gru_step_back,
    ),
    'lstm': RecurrentCell(
        weights=(CellWeights('gates', 4, bias=0),),
        states=2,
        step=lstm_step,
        linearise=lstm_linearise,
        step_back=lstm_step_back,
    ),
    'rnn': RecurrentCell(
        weights=(CellWeights('hidden', 1, bias=0),),
        states=1,
        step=plain_step,
        linearise=plain_linearise,
        step_back=plain_step_back,
    ),
}


def masked_loop(cell: RecurrentCell, inputs: TensorList, lengths: tf.Tensor, weights: TensorList) -> tf.Tensor:
    """Runs a cell from zero states over padded sequences.

    Values past a sequence's end, NaN included, change no output before the end and no gradient.

    Args:
      cell: a value of `CELLS`.
      inputs: products with the input, biases included, one for each of the cell's weights: float32 [T, B, gates * U].
      lengths: int32 [B], at most T.
      weights: recurrent weights, float32 [U, gates * U] each.

    Returns:
      float32 [T, B, U], zeros past a sequence's end.
    """

    def compute(*tensors):
        inputs, weights = tensors[: len(cell.weights)], tensors[len(cell.weights) :]
        states = _forward(cell, inputs, weights)
        return states[0], lambda gradient: _backward(cell, inputs, states, weights, gradient)

    run = tf.custom_gradient(compute)
    return run_masked(lambda inputs: run(*inputs, *weights), inputs, lengths)


def run_masked(run: Callable[[TensorList], tf.Tensor], inputs: TensorList, lengths: tf.Tensor) -> tf.Tensor:
    """Runs a loop over padded sequences, so that values past a sequence's end change nothing.

    The loop continues past a sequence's end, in rows that are never read. Holding the state would cost time in every
    step. Inputs past the end become zeros before the loop, because a gradient of zero through NaN would be NaN.

    Args:
      run: adds the loop to the default graph, from inputs to outputs float32 [T, B, U].
      inputs: float32 [T, B, D] each.
      lengths: int32 [B], at most T.

    Returns:
      float32 [T, B, U], zeros past a sequence's end.
    """
    real = tf.transpose(tf.sequence_mask(lengths, tf.shape(inputs[0])[0]))[:, :, tf.newaxis]  # [T, B, 1]
    zero = tf.zeros([], inputs[0].dtype)
    return tf.where_v2(real, run([tf.where_v2(real, net, zero) for net in inputs]), zero)


def _forward(cell: RecurrentCell, inputs: TensorList, weights: TensorList) -> TensorList:
    """Returns the states after each step, [T, B, U] each."""
    steps, batch = tf.unstack(tf.shape(inputs[0])[:2])
    units, dtype = int(weights[0].shape[0]), inputs[0].dtype
    arrays = [tf.TensorArray(dtype, steps).unstack(net) for net in inputs]

    def body(step, states, outputs):
        states = cell.step([array.read(step) for array in arrays], states, weights)
        return step + 1, states, tuple(array.write(step, new) for array, new in zip(outputs, states, strict=True))

    start = (tf.zeros([batch, units], dtype),) * cell.states
    outputs = tuple(tf.TensorArray(dtype, steps) for _ in start)
    *_, outputs = tf.while_loop(lambda step, *_: step < steps, body, (tf.constant(0), start, outputs))
    return [array.stack() for array in outputs]


def _backward(
    cell: RecurrentCell, inputs: TensorList, states: TensorList, weights: TensorList, gradient: tf.Tensor
) -> TensorList:
    """Returns the gradients of inputs and weights, from the gradient of the first state, [T, B, U]."""
    steps, batch = tf.unstack(tf.shape(gradient)[:2])
    units, dtype = int(weights[0].shape[0]), gradient.dtype
    before = [tf.concat([tf.zeros_like(state[:1]), state[:-1]], axis=0) for state in states]

    def rows(nets: TensorList) -> TensorList:
        return [tf.reshape(net, [steps * batch, net.shape[2]]) for net in nets]

    factors, operands = cell.linearise(rows(inputs), rows(before), rows(states), weights)
    # One array that each step reads and splits needs fewer operations than one array per factor.
    together = tf.reshape(tf.concat(factors, axis=1), [steps, batch, len(factors) * units])
    factor_array = tf.TensorArray(dtype, steps).unstack(together)
    gradient_array = tf.TensorArray(dtype, steps).unstack(gradient)

    def body(step, later, arrays):
        now = (later[0] + gradient_array.read(step), *later[1:])
        of_inputs, earlier = cell.step_back(tf.split(factor_array.read(step), len(factors), axis=1), now, weights)
        return step - 1, earlier, tuple(array.write(step, new) for array, new in zip(arrays, of_inputs, strict=True))

    start = (tf.zeros([batch, units], dtype),) * cell.states
    arrays = tuple(tf.TensorArray(dtype, steps) for _ in inputs)
    *_, arrays = tf.while_loop(lambda step, *_: step >= 0, body, (steps - 1, start, arrays))
    of_inputs = [array.stack() for array in arrays]
    of_weights = [
        tf.matmul(operand, net, transpose_a=True) for operand, net in zip(operands, rows(of_inputs), strict=True)
    ]
    return [*of_inputs, *of_weights]
