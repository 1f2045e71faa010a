# SPDX-License-Identifier: Apache-2.0
"""Tests of recurrent networks against Keras' masked layers, TensorFlow's dynamic_rnn and the published equations."""

import numpy as np
import pytest
from nets import load, load_seeded, one_shot_session

from fer.data.windows import pad_index
from fer.nets.attention import attention_gate, attention_over_time
from fer.nets.cells import CELLS, masked_loop
from fer.nets.rnn import Recurrence, recurrent, sequence_classifier
from fer.tf1 import tf

LENGTHS = np.array([4, 1, 7, 3], np.int32)
STEPS, FEATURES, UNITS = 7, 5, 3
FRAMES = np.random.default_rng(0).normal(size=(LENGTHS.sum(), FEATURES)).astype(np.float32)
SHAPES = [  # cell, layers, bidirectional
    *((cell, layers, both) for cell, layers in (('gru', 1), ('gru', 2), ('lstm', 1)) for both in ('', 'layers')),
    *(pytest.param('lstm', 2, both, marks=pytest.mark.slow) for both in ('', 'layers')),
    ('rnn', 2, 'stacks'),
    pytest.param('gru', 2, 'stacks', marks=pytest.mark.slow),
]
KINDS = [  # every cell, and every kind of attention and of two directions
    *(Recurrence(cell, 2, UNITS, both, 'gate') for cell in CELLS for both in ('', 'layers')),
    *(Recurrence('gru', 2, UNITS, 'stacks', 'softmax'), Recurrence('gru', 1, UNITS, 'layers', 'wrapper', 3)),
]


def pad(packed, fill):
    """Pads [N, D] to [B, T, D]."""
    padded = np.full((len(LENGTHS), STEPS, packed.shape[1]), fill, packed.dtype)
    for row, window in zip(padded, np.split(packed, np.cumsum(LENGTHS)[:-1]), strict=True):
        row[: len(window)] = window
    return padded


def pack(padded):
    """Packs [B, T, D] to [N, D]."""
    return np.concatenate([row[:length] for row, length in zip(padded, LENGTHS, strict=True)])


def packed_inputs(dtype=tf.float32):
    """Returns placeholders of frames and lengths, the index, and the values to feed."""
    frames, lengths = tf.placeholder(dtype, [None, FEATURES]), tf.placeholder(tf.int32, [None])
    return frames, lengths, pad_index(lengths, STEPS), {frames: FRAMES, lengths: LENGTHS}


def weigh(outputs):
    """Returns a scalar whose gradient differs for every output."""
    factors = np.random.default_rng(9).normal(size=(LENGTHS.sum(), int(outputs.shape[1])))
    return tf.reduce_sum(outputs * tf.constant(factors, outputs.dtype))


def keras_layer(cell):
    """Returns Keras' layer of the published cell. By default, version 1 has a piecewise linear sigmoid instead."""
    if cell == 'rnn':
        return tf.keras.layers.SimpleRNN(UNITS, return_sequences=True)
    options = {'return_sequences': True, 'recurrent_activation': 'sigmoid'}
    if cell == 'gru':
        return tf.keras.layers.GRU(UNITS, reset_after=False, **options)
    return tf.keras.layers.LSTM(UNITS, **options)


def keras_network(cell, layers, both, net, mask):
    """Builds Keras' masked network. Returns its outputs, and {(layer, side): variables}."""
    variables = {}
    if both == 'stacks':  # Keras runs each direction as one layer of stacked cells
        cells = [keras_layer(cell).cell for _ in range(layers)]
        built = tf.keras.layers.Bidirectional(tf.keras.layers.RNN(cells, return_sequences=True))
        net = built(net, mask=mask)
        for side, stack in (('forward', built.forward_layer), ('backward', built.backward_layer)):
            each = len(stack.weights) // layers
            for layer in range(1, layers + 1):
                variables[layer, side] = stack.weights[(layer - 1) * each : layer * each]
        return net, variables
    for layer in range(1, layers + 1):
        forward = keras_layer(cell)
        built = tf.keras.layers.Bidirectional(forward) if both else forward
        net = built(net, mask=mask)
        variables[layer, 'forward'] = (built.forward_layer if both else built).weights
        if both:
            variables[layer, 'backward'] = built.backward_layer.weights
    return net, variables


def sides_of(values, layers, both):
    """Returns {(layer, side): {name below it: value}}."""
    return {
        (layer, side): {
            name.removeprefix(f'rnn/layer_{layer}/{side}/'): value
            for name, value in values.items()
            if name.startswith(f'rnn/layer_{layer}/{side}/')
        }
        for layer in range(1, layers + 1)
        for side in (('forward', 'backward') if both else ('forward',))
    }


def as_keras(cell, values, layers, both):
    """Returns our weights, or their gradients, in Keras' order: kernel, recurrent kernel and biases of each direction.

    Our rows of the input are above those of the state. Our gates of a GRU are reset, update and, apart, the candidate
    (Keras: update, reset, candidate). Those of an LSTM are input, candidate, forget, output (Keras: input, forget,
    candidate, output).
    """
    ordered = []
    for (layer, _), weights in sides_of(values, layers, both).items():
        gates = np.vstack([value for name, value in sorted(weights.items(), reverse=True) if 'candidate' not in name])
        if cell == 'rnn':
            whole = gates
        elif cell == 'gru':
            reset, update = np.split(gates, 2, axis=1)
            whole = np.hstack([update, reset, np.vstack([weights['candidate/weights'], weights['candidate/biases']])])
        else:
            gate, candidate, forget, output = np.split(gates, 4, axis=1)
            whole = np.hstack([gate, forget, candidate, output])
        inputs = FEATURES if layer == 1 else UNITS * (1 + (both == 'layers'))
        ordered += [whole[:inputs], whole[inputs:-1], whole[-1]]
    return ordered


@pytest.mark.parametrize(('cell', 'layers', 'both'), SHAPES)
def test_outputs_and_gradients_equal_keras_masked_layers(cell, layers, both):
    """Keras gets padding with large values, and a mask."""
    with tf.Graph().as_default(), one_shot_session() as session:
        frames, lengths, index, feed = packed_inputs()
        outputs = recurrent(frames, lengths, index, Recurrence(cell, layers, UNITS, both))
        variables = {v.op.name: v for v in tf.trainable_variables('rnn/')}
        our_gradients = tf.gradients(weigh(outputs), [frames, *variables.values()])
        padded = tf.placeholder(tf.float32, [None, STEPS, FEATURES])
        mask = tf.sequence_mask(lengths, STEPS)
        net, keras_variables = keras_network(cell, layers, both, padded, mask)
        real = tf.boolean_mask(net, mask)
        sides = sides_of(dict.fromkeys(variables), layers, both)
        theirs = [variable for key in sides for variable in keras_variables[key]]
        their_gradients = tf.gradients(weigh(real), [padded, *theirs])

        values = load_seeded(session, 'rnn')
        assert variables.keys() == values.keys()
        copied = as_keras(cell, values, layers, both)
        if cell == 'lstm':
            for biases in copied[2::3]:
                biases[UNITS : 2 * UNITS] += 1  # the forget gate's, which our step adds
        session.run([variable.initializer for variable in theirs])
        load(session, dict(zip(theirs, copied, strict=True)))
        found, found_frames, *found_weights = session.run([outputs, *our_gradients], feed)
        keras_feed = {padded: pad(FRAMES, 50), lengths: LENGTHS}
        expected, expected_frames, *expected_weights = session.run([real, *their_gradients], keras_feed)

    assert found.shape == (15, UNITS * (1 + bool(both)))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found_frames, pack(expected_frames), atol=1e-5)
    found_weights = as_keras(cell, dict(zip(variables, found_weights, strict=True)), layers, both)
    for mine, other in zip(found_weights, expected_weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings('ignore:.*rnn_cell:UserWarning')  # deprecated, and the reference
@pytest.mark.parametrize('both', ['', 'layers'])
@pytest.mark.parametrize('cell', CELLS)
def test_fresh_weights_and_outputs_equal_tensorflows_cells(cell, both):
    """One layer on copied weights gives equal outputs. Fresh weights have equal ranges and biases."""
    kinds = {'gru': tf.nn.rnn_cell.GRUCell, 'lstm': tf.nn.rnn_cell.LSTMCell, 'rnn': tf.nn.rnn_cell.BasicRNNCell}
    with tf.Graph().as_default(), one_shot_session() as session:
        frames, lengths, index, feed = packed_inputs()
        outputs = recurrent(frames, lengths, index, Recurrence(cell, 1, UNITS, both))
        cells = [kinds[cell](UNITS) for _ in range(1 + bool(both))]
        run = tf.nn.bidirectional_dynamic_rnn if both else tf.nn.dynamic_rnn
        theirs, _ = run(*cells, tf.gather(frames, index), sequence_length=lengths, dtype=tf.float32, scope='theirs')
        theirs = tf.boolean_mask(tf.concat(theirs, 2) if both else theirs, tf.sequence_mask(lengths, STEPS))
        session.run(tf.global_variables_initializer())
        variables = tf.trainable_variables('rnn/'), tf.trainable_variables('theirs/')
        for mine, other in zip(*variables, strict=True):
            fresh, expected = session.run([mine, other])
            if 'biases' in mine.op.name:
                np.testing.assert_array_equal(fresh, expected)
            else:
                limit = np.sqrt(6 / sum(fresh.shape))
                assert 0.8 * limit < np.abs(fresh).max() <= limit
                assert 0.5 * limit < np.abs(expected).max() <= limit  # of other values in each run of this test
            load(session, {other: fresh})
        found, expected = session.run([outputs, theirs], feed)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def gru_of_the_paper(frames, weights, state=None):
    """Computes Cho et al.'s equations 5 to 8 for one sequence. An update gate z of 1 keeps the state."""
    state, states = np.zeros(UNITS) if state is None else state, []
    for frame in frames:
        both = np.concatenate([frame, state])
        r, z = np.split(sigmoid(both @ weights['gates/weights'] + weights['gates/biases']), 2)
        reset = np.concatenate([frame, r * state])
        state = z * state + (1 - z) * np.tanh(reset @ weights['candidate/weights'] + weights['candidate/biases'])
        states.append(state)
    return np.array(states)


def test_bidirectional_gru_equals_published_equations():
    """The second layer takes both directions of the first, and each backward pass starts at the last real frame."""
    with tf.Graph().as_default(), one_shot_session() as session:
        frames, lengths, index, feed = packed_inputs()
        outputs = recurrent(frames, lengths, index, Recurrence('gru', 2, UNITS, 'layers'))
        sides = sides_of(load_seeded(session, 'rnn'), 2, True)
        found = session.run(outputs, feed)
    expected = []
    for net in np.split(FRAMES, np.cumsum(LENGTHS)[:-1]):
        for layer in (1, 2):
            forward = gru_of_the_paper(net, sides[layer, 'forward'])
            backward = gru_of_the_paper(net[::-1], sides[layer, 'backward'])[::-1]
            net = np.hstack([forward, backward])
        expected.append(net)
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-6)


@pytest.mark.parametrize('cell', CELLS)
def test_nan_past_the_end_changes_nothing(cell):
    rng = np.random.default_rng(1)
    parts = CELLS[cell].weights
    inputs = [rng.normal(size=(STEPS, 4, part.gates * UNITS)).astype(np.float32) for part in parts]
    past = np.arange(STEPS)[:, np.newaxis] >= LENGTHS  # [T, B]
    factors = rng.normal(size=(STEPS, 4, UNITS)).astype(np.float32)
    with tf.Graph().as_default(), one_shot_session() as session:
        fed = [tf.placeholder(tf.float32, net.shape) for net in inputs]
        weights = [tf.constant(rng.normal(size=(UNITS, part.gates * UNITS)), tf.float32) for part in parts]
        outputs = masked_loop(CELLS[cell], fed, tf.constant(LENGTHS), weights)
        fetches = [outputs, tf.gradients(tf.reduce_sum(outputs * factors), [*fed, *weights])]
        results = []
        for fill in (0.0, 1e30, np.inf, np.nan):
            filled = [np.where(past[:, :, np.newaxis], np.float32(fill), net) for net in inputs]
            results.append(session.run(fetches, dict(zip(fed, filled, strict=True))))
    clean, gradients = results[0]
    assert np.isfinite(clean).all()
    assert all(np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-3 for gradient in gradients)
    for gradient in gradients[: len(parts)]:
        assert (gradient[past] == 0).all()
    assert (clean[past] == 0).all()
    assert (clean[~past] != 0).all()
    for outputs, others in results[1:]:
        np.testing.assert_array_equal(outputs, clean)
        for gradient, other in zip(gradients, others, strict=True):
            np.testing.assert_array_equal(other, gradient)


@pytest.mark.parametrize('rnn', [KINDS[1], *KINDS[-2:]])
def test_frames_past_the_end_may_be_any(rnn):
    """The other windows are padded with a frame of NaN, which changes its own window only."""
    with tf.Graph().as_default(), one_shot_session() as session:
        frames, lengths, index, feed = packed_inputs()
        elsewhere = tf.placeholder(tf.int32, [None, STEPS])
        expected, _ = sequence_classifier(frames, lengths, index, rnn=rnn)
        outputs, _ = sequence_classifier(frames, lengths, elsewhere, rnn=rnn)
        bad = LENGTHS[0]  # the only frame of the second window
        others = np.arange(len(FRAMES)) != bad
        gradient = tf.gradients(tf.boolean_mask(outputs, others), frames)[0]
        load_seeded(session, 'temporal')
        rows = session.run(index, feed)
        rows[np.arange(STEPS) >= LENGTHS[:, np.newaxis]] = bad
        spoiled = FRAMES.copy()
        spoiled[bad] = np.nan
        expected = session.run(expected, feed)
        found, gradient = session.run([outputs, gradient], {**feed, frames: spoiled, elsewhere: rows})
    np.testing.assert_array_equal(found[others], expected[others])
    assert np.isnan(found[bad]).all()
    assert np.isfinite(gradient[others]).all()
    assert (gradient[others] != 0).any(axis=1).all()


@pytest.mark.parametrize('rnn', KINDS)
def test_batch_of_one_equals_batch_of_many(rnn):
    with tf.Graph().as_default(), one_shot_session() as session:
        frames, lengths, index, feed = packed_inputs()
        outputs, end_points = sequence_classifier(frames, lengths, index, 7, rnn=rnn)
        load_seeded(session, 'temporal')
        together = session.run([outputs, end_points['logits']], feed)
        alone = [
            session.run([outputs, end_points['logits']], {frames: window, lengths: [len(window)]})
            for window in np.split(FRAMES, np.cumsum(LENGTHS)[:-1])
        ]
    assert [found.shape for found in together] == [(15, UNITS * (1 + bool(rnn.bidirectional))), (15, 7)]
    for whole, parts in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-6)


def test_later_frames_matter_backwards_only():
    """In one direction an output depends on no later frame, in both directions on every frame of its window."""
    window = np.repeat(np.arange(4), LENGTHS)
    same = window[:, np.newaxis] == window
    for both in ('', 'stacks'):
        with tf.Graph().as_default(), one_shot_session() as session:
            frames, lengths, index, feed = packed_inputs()
            outputs = recurrent(frames, lengths, index, Recurrence(units=UNITS, bidirectional=both))
            row = tf.placeholder(tf.int32, [])
            (gradient,) = tf.gradients(outputs[row], frames)
            load_seeded(session, 'rnn')
            rows = [session.run(gradient, {**feed, row: number}) for number in range(15)]
            depends = np.abs(rows).max(axis=2) > 0
        np.testing.assert_array_equal(depends, same if both else same & np.tri(15, dtype=bool))


def test_attention_gates_the_stacks_output():
    """The formula is equations 2.10 to 2.12."""
    with tf.Graph().as_default(), one_shot_session() as session:
        frames, lengths, index, feed = packed_inputs()
        rnn = Recurrence(units=UNITS, bidirectional='layers')
        gated, _ = sequence_classifier(frames, lengths, index, rnn=rnn._replace(attention='gate'))
        plain, _ = sequence_classifier(frames, lengths, index, rnn=rnn)
        values = load_seeded(session, 'temporal')
        g, z = session.run([gated, plain], feed)
    a = sigmoid(FRAMES @ values['temporal/attention/weights'] + values['temporal/attention/biases'])
    assert a.shape == (15, 2 * UNITS)
    np.testing.assert_allclose(g, a * z, atol=1e-6)


def test_weights_over_time_have_mean_one():
    """The mean of a window's outputs is the sum of its frames' outputs, weighted by a softmax over its real frames."""
    with tf.Graph().as_default(), one_shot_session() as session:
        frames, lengths, index, feed = packed_inputs()
        rnn = Recurrence(units=UNITS)
        weighted, _ = sequence_classifier(frames, lengths, index, rnn=rnn._replace(attention='softmax'))
        plain, _ = sequence_classifier(frames, lengths, index, rnn=rnn)
        values = load_seeded(session, 'temporal')
        g, z = session.run([weighted, plain], feed)
    assert [name for name in values if 'attention' in name] == ['temporal/attention/weights']
    ends = np.cumsum(LENGTHS)[:-1]
    for inputs, found, outputs in zip(np.split(FRAMES, ends), np.split(g, ends), np.split(z, ends), strict=True):
        scores = np.exp(inputs @ values['temporal/attention/weights'])
        weights = scores / scores.sum()  # [T, 1]
        np.testing.assert_allclose(found, len(inputs) * weights * outputs, atol=1e-6)
        np.testing.assert_allclose(found.mean(axis=0), (weights * outputs).sum(axis=0), atol=1e-6)


def step_of(cell, frame, states, weights):
    """Returns the new states of one step of TensorFlow's cell of that name, the output first."""
    gates = {name: np.concatenate([frame, states[0]]) @ weights[f'{name}/weights'] + weights[f'{name}/biases']
             for name in ('hidden', 'gates') if f'{name}/weights' in weights}  # fmt: skip
    if cell == 'rnn':
        return [np.tanh(gates['hidden'])]
    if cell == 'gru':
        return [gru_of_the_paper(frame[np.newaxis], weights, states[0])[0]]
    gate, candidate, forget, output = np.split(gates['gates'], 4)
    memory = sigmoid(forget + 1) * states[1] + sigmoid(gate) * np.tanh(candidate)
    return [sigmoid(output) * np.tanh(memory), memory]


def attention_cell_wrapper(cell, frames, weights, length):
    """Computes TensorFlow 1's AttentionCellWrapper around a cell for one sequence, in its own order of operations."""

    def linear(name, *parts):
        return np.concatenate(parts) @ weights[f'attention/{name}/weights'] + weights[f'attention/{name}/biases']

    states = [np.zeros(UNITS)] * (2 if cell == 'lstm' else 1)
    context, last, outputs = np.zeros(UNITS), [np.zeros(UNITS)] * length, []
    for frame in frames:
        states = step_of(cell, linear('inputs', frame, context), states, weights)
        query = linear('query', *states[::-1])  # an LSTMStateTuple is (c, h)
        features = np.tanh(np.array(last) @ weights['attention/keys/weights'] + query)
        scores = np.exp(features @ weights['attention/score/weights'])
        context = scores / scores.sum() @ np.array(last)
        outputs.append(linear('outputs', states[0], context))
        last = [*last[1:], outputs[-1]]
    return np.array(outputs)


@pytest.mark.parametrize(('cell', 'both'), [('gru', 'layers'), ('lstm', ''), ('rnn', 'stacks')])
def test_wrapped_cells_equal_tensorflows_definition(cell, both):
    """Each cell of two layers attends to its own last three outputs."""
    with tf.Graph().as_default(), one_shot_session() as session:
        frames, lengths, index, feed = packed_inputs()
        outputs = recurrent(frames, lengths, index, Recurrence(cell, 2, UNITS, both, 'wrapper', 3))
        sides = sides_of(load_seeded(session, 'rnn'), 2, both)
        found = session.run(outputs, feed)
    expected = []
    for window in np.split(FRAMES, np.cumsum(LENGTHS)[:-1]):
        below = {'forward': window, 'backward': window}
        for layer in (1, 2):
            forward = attention_cell_wrapper(cell, below['forward'], sides[layer, 'forward'], 3)
            if both:
                backward = attention_cell_wrapper(cell, below['backward'][::-1], sides[layer, 'backward'], 3)[::-1]
            net = np.hstack([forward, backward]) if both else forward
            below = (
                {'forward': forward, 'backward': backward} if both == 'stacks' else {'forward': net, 'backward': net}
            )
        expected.append(net)
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-5, atol=1e-5)


def test_fresh_wrapper_starts_as_tensorflows():
    """Glorot's ranges for every matrix and for the vector of scores, and biases of zero."""
    with tf.Graph().as_default(), one_shot_session() as session:
        frames, lengths, index, _ = packed_inputs()
        recurrent(frames, lengths, index, Recurrence('lstm', 1, 30, '', 'wrapper'))
        session.run(tf.global_variables_initializer())
        values = session.run({v.op.name: v for v in tf.trainable_variables('rnn/layer_1/forward/attention')})
    shapes = {name.removeprefix('rnn/layer_1/forward/attention/'): value.shape for name, value in values.items()}
    assert shapes == {
        'inputs/weights': (FEATURES + 30, FEATURES),
        'inputs/biases': (FEATURES,),
        'keys/weights': (30, 30),
        'query/weights': (60, 30),
        'query/biases': (30,),
        'score/weights': (30,),
        'outputs/weights': (60, 30),
        'outputs/biases': (30,),
    }
    for name, value in values.items():
        limit = np.sqrt(6 / (sum(value.shape) * (3 - value.ndim))) if name.endswith('weights') else 0
        assert 0.8 * limit <= np.abs(value).max() <= limit, name


@pytest.mark.parametrize('windows', [LENGTHS, [1] * LENGTHS.sum()], ids=['of many frames', 'of one frame'])
@pytest.mark.parametrize('part', ['gate', 'softmax', *CELLS, 'wrapper'])
def test_gradients_equal_finite_differences(part, windows):
    """In float64: of attention alone, and of bidirectional networks with attention, for inputs and every variable."""
    with tf.Graph().as_default(), one_shot_session() as session:
        frames, lengths, index, feed = packed_inputs(tf.float64)
        feed[lengths] = windows
        if part == 'gate':
            outputs = attention_gate(frames, frames[:, 1:4] ** 2)
        elif part == 'softmax':
            outputs = attention_over_time(frames, frames[:, 1:4] ** 2, lengths, index)
        elif part == 'wrapper':
            outputs = recurrent(frames, lengths, index, Recurrence('lstm', 1, 2, '', 'wrapper', 3))
        else:
            outputs = recurrent(frames, lengths, index, Recurrence(part, 2, 2, 'layers', 'gate'))
        assert outputs.dtype == tf.float64
        loss = weigh(outputs)
        variables = tf.trainable_variables()
        points = [frames, *variables]
        gradients = [tf.convert_to_tensor(g) for g in tf.gradients(loss, points)]
        rng = np.random.default_rng(2)
        values = [FRAMES.astype(np.float64), *(rng.normal(0, 0.5, v.shape) for v in variables)]
        load(session, dict(zip(variables, values[1:], strict=True)))
        found = session.run(gradients, feed)
        for which, (value, gradient) in enumerate(zip(values, found, strict=True)):
            direction, size = rng.normal(size=value.shape), 1e-5
            sides = []
            for sign in (1, -1):
                moved = value + sign * size * direction
                if which:
                    load(session, {points[which]: moved})
                sides.append(session.run(loss, feed if which else {**feed, frames: moved}))
            if which:
                load(session, {points[which]: value})
            assert (sides[0] - sides[1]) / (2 * size) == pytest.approx((gradient * direction).sum(), rel=1e-6, abs=1e-9)
    expected = {'gate': 3, 'softmax': 2, 'gru': 1 + 2 * 2 * 4 + 2, 'wrapper': 1 + 2 + 8}
    assert len(found) == expected.get(part, 1 + 2 * 2 * 2 + 2)


def test_towers_share_variables_of_stable_names():
    with tf.Graph().as_default():
        tf.train.get_or_create_global_step()
        frames, lengths, index, _ = packed_inputs()
        for is_training in (True, False):
            _, end_points = sequence_classifier(
                frames, lengths, index, 7, is_training, Recurrence(units=UNITS, attention='gate'), dropout=0.5
            )
        names = {v.op.name: v.shape.as_list() for v in tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)}
        assert list(end_points) == ['rnn', 'logits']
        assert [v.op.name for v in tf.trainable_variables()] == list(names)
    assert names == {
        'temporal/rnn/layer_1/forward/gates/weights': [FEATURES + UNITS, 2 * UNITS],
        'temporal/rnn/layer_1/forward/gates/biases': [2 * UNITS],
        'temporal/rnn/layer_1/forward/candidate/weights': [FEATURES + UNITS, UNITS],
        'temporal/rnn/layer_1/forward/candidate/biases': [UNITS],
        'temporal/rnn/layer_2/forward/gates/weights': [2 * UNITS, 2 * UNITS],
        'temporal/rnn/layer_2/forward/gates/biases': [2 * UNITS],
        'temporal/rnn/layer_2/forward/candidate/weights': [2 * UNITS, UNITS],
        'temporal/rnn/layer_2/forward/candidate/biases': [UNITS],
        'temporal/attention/weights': [FEATURES, UNITS],
        'temporal/attention/biases': [UNITS],
        'temporal/logits/weights': [UNITS, 7],
        'temporal/logits/biases': [7],
    }


def test_no_classes_build_no_classifier():
    with tf.Graph().as_default():
        frames, lengths, index, _ = packed_inputs()
        outputs, end_points = sequence_classifier(frames, lengths, index, 0, scope='audio_gru')
        assert end_points == {'rnn': outputs}
        assert outputs.shape.as_list() == [None, 128]
        assert all(v.name.startswith('audio_gru/rnn/') for v in tf.global_variables())


def test_start_and_dropout_follow_seed_and_scope():
    """Dropout changes the classifier's input only."""

    def logits(seed, scope, is_training=True):
        with tf.Graph().as_default(), one_shot_session() as session:
            tf.set_random_seed(seed)
            tf.train.get_or_create_global_step()
            frames, lengths, index, feed = packed_inputs()
            outputs, end_points = sequence_classifier(
                frames, lengths, index, 7, is_training, Recurrence(units=40), 0.5, scope
            )
            session.run(tf.global_variables_initializer())
            return session.run([outputs, end_points['logits']], feed)

    states, first = logits(1, 'temporal')
    again = logits(1, 'temporal')
    np.testing.assert_array_equal(again[0], states)
    np.testing.assert_array_equal(again[1], first)
    for other, same in (
        (logits(2, 'temporal'), False),
        (logits(1, 'fusion'), True),
        (logits(1, 'temporal', False), True),
    ):
        assert (other[1] != first).any()
        assert (other[0] == states).all() == same


def test_bad_sizes_are_refused():
    with tf.Graph().as_default():
        frames, lengths, index, _ = packed_inputs()
        for bad in (
            *({'cell': 'elman'}, {'cell': ''}, {'layers': 0}, {'units': 0}, {'attention_length': 0}),
            *({'bidirectional': 'both'}, {'attention': 'hard'}),
        ):
            with pytest.raises(ValueError, match='expected'):
                recurrent(frames, lengths, index, Recurrence(**bad))
