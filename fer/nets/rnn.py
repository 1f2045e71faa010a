"""Recurrent networks over the frames of windows, and their classifier.

GRU: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014, with the reset gate before the
recurrent product; LSTM: Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000. Dissertation 2.4.3
and 5.2, sizes in 6.3. The cells compute what tf.nn.rnn_cell's GRUCell and LSTMCell do, on weights of the same layout
and with the same start: Glorot's weights over input and state together, biases of 1 that keep a GRU's state and an
LSTM's memory at first.

The loop is our own rather than tf.nn.dynamic_rnn, because the batch is packed. A cell's product with its input, 97% of
its work on 4096 features, does not depend on the state: here it is one product over the N real frames before the
loop, and what is padded is its result. dynamic_rnn pads the features, then multiplies a few rows at a time, T times,
and adds T gradients of the whole weight matrix. What is left in the loop are products so small that the number of
operations is what costs, so its gradient is our own as well: all that does not depend on the step after is computed of
all steps at once, before a loop back through time that has fewer operations than the one that TensorFlow derives, and
the gradients of the recurrent weights are one product after it. tests/benchmarks/rnn.py compares it with dynamic_rnn.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fer.nets.layers import dropout as dropout_layer
from fer.tf1 import slim, tf

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


class Direction(NamedTuple):
    """How frames enter the loop and come back."""

    rows: tf.Tensor  # int32 [T, B]: the packed frame of each step; past a window's end, any
    steps: tf.Tensor  # int32 [N, 2]: of each packed frame, its step and window


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
