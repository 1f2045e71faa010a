"""The cells of recurrent networks, and the loop that runs one over packed windows.

GRU: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014, with the reset gate before the
recurrent product; LSTM: Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000. Dissertation 2.4.3.
They compute what tf.nn.rnn_cell's GRUCell and LSTMCell do, on weights of the same layout.

A cell's product with its input does not depend on the state, and is made before the loop (fer/nets/rnn.py). What is
left in the loop are products so small that the number of operations is what costs, so its gradient is our own: all
that does not depend on the step after is computed of all steps at once, before a loop back through time that has fewer
operations than the one that TensorFlow derives, and the gradients of the recurrent weights are one product after it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fer.tf1 import tf

TensorList = Sequence[tf.Tensor]


class Weights(NamedTuple):
    """One matrix of a cell and its biases, for some of its gates."""

    scope: str
    gates: int  # how many
    bias: float  # the biases' first value


class Cell(NamedTuple):
    """One kind of cell.

    `step(inputs, states, weights)` takes the products with the input, biases included, a float32 [B, gates * U] for
    each of `weights`; the states, [B, U] each; and the recurrent weights, [U, gates * U] each. It returns the new
    states, of which the first is the output.

    `linearise(inputs, before, after, weights)` takes the same of all R = T * B steps and windows at once, the states
    before and after each step, [R, U] each. It returns `factors`, [R, U] each, which hold all that `step_back` needs to
    know of a step; and `operands`, [R, U] each, what each of the recurrent weights was multiplied by.

    `step_back(factors, gradients, weights)` takes the factors of one step, [B, U] each, and the gradients of its new
    states; it returns those of its inputs and those of the states before, as `step` takes them.
    """

    weights: tuple[Weights, ...]
    states: int
    step: Callable[[TensorList, TensorList, TensorList], TensorList]
    linearise: Callable[[TensorList, TensorList, TensorList, TensorList], tuple[TensorList, TensorList]]
    step_back: Callable[[TensorList, TensorList, TensorList], tuple[TensorList, TensorList]]


def gru_step(inputs: TensorList, states: TensorList, weights: TensorList) -> TensorList:
    """`Cell.step`; `gates` are reset and update, and an update gate of 1 keeps the state."""
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
    """`Cell.linearise`; factors are the gates, and derivatives by what gates and candidate are before their functions.

    The update gate's and the candidate's are of the new state, the reset gate's is of reset * state.
    """
    (state,) = before
    reset, update, candidate = _gru_gates(inputs, state, weights)
    by_reset = state * reset * (1 - reset)
    by_update = (state - candidate) * update * (1 - update)
    by_candidate = (1 - update) * (1 - candidate**2)
    return (reset, update, by_reset, by_update, by_candidate), (state, reset * state)


def gru_step_back(factors: TensorList, gradients: TensorList, weights: TensorList) -> tuple[TensorList, TensorList]:
    """`Cell.step_back`."""
    reset, update, by_reset, by_update, by_candidate = factors
    (gradient,) = gradients
    candidate = gradient * by_candidate
    reset_state = tf.matmul(candidate, weights[1], transpose_b=True)
    gates = tf.concat([reset_state * by_reset, gradient * by_update], axis=1)
    before = gradient * update + reset_state * reset + tf.matmul(gates, weights[0], transpose_b=True)
    return (gates, candidate), (before,)


def lstm_step(inputs: TensorList, states: TensorList, weights: TensorList) -> TensorList:
    """`Cell.step`; `gates` are input, candidate, forget and output, and the forget gate's bias has 1 added.

    Added here rather than to the variable, as LSTMCell does, so that decay of weights never pulls it to zero.
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
    """`Cell.linearise`; factors are the forget gate, the output's derivative by the memory, and one for each gate."""
    state, memory = before
    gate, candidate, forget, output = _lstm_gates(inputs, state, weights)
    seen = tf.tanh(after[1])
    by_memory = output * (1 - seen**2)
    by_gate = candidate * gate * (1 - gate)
    by_candidate = gate * (1 - candidate**2)
    by_forget = memory * forget * (1 - forget)
    by_output = seen * output * (1 - output)
    return (forget, by_memory, by_gate, by_candidate, by_forget, by_output), (state,)


def lstm_step_back(factors: TensorList, gradients: TensorList, weights: TensorList) -> tuple[TensorList, TensorList]:
    """`Cell.step_back`."""
    forget, by_memory, *by_gates, by_output = factors
    output, memory = gradients
    memory += output * by_memory
    gates = tf.concat([*(memory * factor for factor in by_gates), output * by_output], axis=1)
    return (gates,), (tf.matmul(gates, weights[0], transpose_b=True), memory * forget)


CELLS = {
    'gru': Cell(
        (Weights('gates', 2, bias=1), Weights('candidate', 1, bias=0)), 1, gru_step, gru_linearise, gru_step_back
    ),
    'lstm': Cell((Weights('gates', 4, bias=0),), 2, lstm_step, lstm_linearise, lstm_step_back),
}


def masked_loop(cell: Cell, inputs: TensorList, lengths: tf.Tensor, weights: TensorList) -> tf.Tensor:
    """Runs a cell from zero states over padded sequences.

    Whatever stands past a sequence's end, NaN included, changes neither outputs before it nor any gradient.

    Args:
      cell: a value of `CELLS`.
      inputs: products with the input, as in `Cell.step`, float32 [T, B, gates * U] each.
      lengths: int32 [B], at most T.
      weights: recurrent weights, as in `Cell.step`.

    Returns:
      float32 [T, B, U], zeros past a sequence's end.
    """
    real = tf.transpose(tf.sequence_mask(lengths, tf.shape(inputs[0])[0]))[:, :, tf.newaxis]  # [T, B, 1]
    zero = tf.zeros([], inputs[0].dtype)

    def compute(*tensors):
        inputs, weights = tensors[: len(cell.weights)], tensors[len(cell.weights) :]
        states = _forward(cell, inputs, weights)
        return states[0], lambda gradient: _backward(cell, inputs, states, weights, gradient)

    run = tf.custom_gradient(compute)
    # Past its end a sequence goes on, with inputs of zeros, in rows that nothing looks at: holding its state would be
    # work in every step. Zeros before anything is computed, because a gradient of zero through NaN would be NaN.
    return tf.where_v2(real, run(*(tf.where_v2(real, net, zero) for net in inputs), *weights), zero)


def _forward(cell: Cell, inputs: TensorList, weights: TensorList) -> TensorList:
    """The states after each step, [T, B, U] each."""
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
    cell: Cell, inputs: TensorList, states: TensorList, weights: TensorList, gradient: tf.Tensor
) -> TensorList:
    """The gradients of inputs and weights, from that of the first of the states, [T, B, U]."""
    steps, batch = tf.unstack(tf.shape(gradient)[:2])
    units, dtype = int(weights[0].shape[0]), gradient.dtype
    before = [tf.concat([tf.zeros_like(state[:1]), state[:-1]], axis=0) for state in states]

    def rows(nets: TensorList) -> TensorList:
        return [tf.reshape(net, [steps * batch, net.shape[2]]) for net in nets]

    factors, operands = cell.linearise(rows(inputs), rows(before), rows(states), weights)
    # One array and one operation that takes it apart, rather than one operation of reading for each.
    together = tf.reshape(tf.concat(factors, axis=1), [steps, batch, len(factors) * units])
    factor_array = tf.TensorArray(dtype, steps).unstack(together)
    gradient_array = tf.TensorArray(dtype, steps).unstack(gradient)

    def body(step, later, found):
        now = (later[0] + gradient_array.read(step), *later[1:])
        of_inputs, earlier = cell.step_back(tf.split(factor_array.read(step), len(factors), axis=1), now, weights)
        return step - 1, earlier, tuple(array.write(step, new) for array, new in zip(found, of_inputs, strict=True))

    none = (tf.zeros([batch, units], dtype),) * cell.states
    found = tuple(tf.TensorArray(dtype, steps) for _ in inputs)
    *_, found = tf.while_loop(lambda step, *_: step >= 0, body, (steps - 1, none, found))
    of_inputs = [array.stack() for array in found]
    of_weights = [
        tf.matmul(operand, net, transpose_a=True) for operand, net in zip(operands, rows(of_inputs), strict=True)
    ]
    return [*of_inputs, *of_weights]
