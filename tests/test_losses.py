# SPDX-License-Identifier: Apache-2.0
"""The losses against plain NumPy versions of their papers, and their gradients against finite differences."""

import numpy as np
import pytest
from conftest import choices
from nets import one_shot_session
from sklearn.utils.class_weight import compute_class_weight

from fer.data.windows import pad_index
from fer.runs.config import TrainConfig
from fer.tf1 import tf
from fer.training import losses
from fer.training.aggregation import window_logits
from fer.training.losses import Predictions, total_loss

CLASSES, DEPTH = 5, 3
LABELS = np.array([3, 0, 3, 1, 3, 0, 3, 4], np.int32)  # classes 1 and 4 have one item, 2 has none


def sample(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def evaluate(function, *arrays):
    """Returns the value of `function` of the arrays, given as float64 or int32 constants."""
    with tf.Graph().as_default(), one_shot_session() as session:
        return session.run(function(*map(tf.constant, arrays)))


def check_gradients(function, *arrays, step=1e-5):
    """Compares the gradients of a sum of `function` with central differences, for every element of every array.

    The sum is weighted by fixed random numbers, so that an element of the result cannot stand in for another.
    """
    with tf.Graph().as_default(), one_shot_session() as session:
        inputs = [tf.placeholder(tf.float64, array.shape) for array in arrays]
        values = function(*inputs)
        value = tf.reduce_sum(values * tf.constant(1 + np.abs(sample(*values.shape.as_list(), seed=11))))
        gradients = [tf.convert_to_tensor(gradient) for gradient in tf.gradients(value, inputs)]
        gradients = session.run(gradients, dict(zip(inputs, arrays, strict=True)))
        for i, gradient in enumerate(gradients):
            expected = np.zeros_like(arrays[i])
            for place in np.ndindex(arrays[i].shape):
                sides = []
                for sign in (1, -1):
                    moved = [array.copy() for array in arrays]
                    moved[i][place] += sign * step
                    sides.append(session.run(value, dict(zip(inputs, moved, strict=True))))
                expected[place] = (sides[0] - sides[1]) / (2 * step)
            assert np.abs(expected).max() > 0.01  # no error can hide below the tolerance
            np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8 * max(1, np.abs(expected).max()))


def naive_focal(logits, labels, gamma):
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    p = p[np.arange(len(labels)), labels]
    return -((1 - p) ** gamma) * np.log(p)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_focal_equals_the_papers(gamma):
    logits = 3 * sample(8, CLASSES)
    found = evaluate(lambda x: losses.focal(x, LABELS, gamma), logits)
    np.testing.assert_allclose(found, naive_focal(logits, LABELS, gamma), rtol=1e-10)
    check_gradients(lambda x: losses.focal(x, LABELS, gamma), logits)


def test_smoothed_cross_entropy_equals_keras():
    logits = 3 * sample(8, CLASSES)
    one_hot = np.eye(CLASSES)[LABELS]
    found, expected = evaluate(
        lambda x: (
            losses.cross_entropy(x, LABELS, 0.2),
            tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2, reduction='none')(
                one_hot, x
            ),
        ),
        logits,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_focal_with_gamma_0_is_cross_entropy():
    logits = (20 * sample(8, CLASSES)).astype(np.float32)
    focal, plain = evaluate(lambda x: (losses.focal(x, LABELS, 0.0), losses.cross_entropy(x, LABELS)), logits)
    np.testing.assert_array_equal(focal, plain)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_focal_is_finite_for_confident_items(gamma):
    logits = np.array([[200, -200, 0, 0, 0], [-200, 200, 0, 0, 0], [90, 90, 90, 90, 90]], np.float32)

    def with_gradient(x):
        loss = losses.focal(x, np.zeros(3, np.int32), gamma)
        return loss, tf.gradients(loss, x)[0]

    loss, gradient = evaluate(with_gradient, logits)
    np.testing.assert_allclose(loss, [0, 400, 0.8**gamma * np.log(5)], rtol=1e-5)  # 90 in float32
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[1], [-1, 1, 0, 0, 0], atol=1e-6)  # of log(p), with p near 0


def test_class_weights_equal_scikit_learns():
    labels = np.repeat(np.arange(7), [63, 64, 40, 46, 63, 61, 46])
    weights = losses.class_weights(np.bincount(labels), 'balanced')
    theirs = compute_class_weight('balanced', classes=np.arange(7), y=labels)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights / weights[0], theirs / theirs[0], rtol=1e-6)
    roots = losses.class_weights(np.bincount(labels), 'sqrt')
    np.testing.assert_allclose(roots / roots[0], np.sqrt(theirs / theirs[0]), rtol=1e-6)


@pytest.mark.parametrize('kind', choices('class_weights'))
@pytest.mark.parametrize('counts', [[5, 1, 30], [5, 0, 30], [0, 0, 4], [0, 0, 0]])
def test_class_weights_average_to_one_over_the_items(kind, counts):
    weights = losses.class_weights(np.array(counts), kind)
    assert (weights[np.equal(counts, 0)] == 1).all()
    if sum(counts):
        assert np.average(weights, weights=counts) == pytest.approx(1, rel=1e-6)
    present = [weight for weight, count in zip(weights, counts, strict=True) if count]
    if len(present) > 1:
        rarest = {'none': 1, 'balanced': 30 / 5, 'sqrt': np.sqrt(30 / 5)}[kind]
        assert present[0] / present[-1] == pytest.approx(rarest, rel=1e-6)


def naive_island(features, labels, centres, pair_weight):
    near = sum(np.sum((x - centres[y]) ** 2) / 2 for x, y in zip(features, labels, strict=True))
    pairs = 0
    for j, c in enumerate(centres):
        for k, other in enumerate(centres):
            if j != k:
                pairs += c @ other / (np.linalg.norm(c) * np.linalg.norm(other)) + 1
    return near / len(features) + pair_weight * pairs


def naive_step(features, labels, centres, pair_weight, rate):
    steps = np.zeros_like(centres)
    for j, c in enumerate(centres):
        mine = features[labels == j]
        steps[j] = sum((c - x for x in mine), np.zeros(DEPTH)) / (1 + len(mine))
        for k, other in enumerate(centres):
            if j != k:
                own, length = np.linalg.norm(c), np.linalg.norm(other)
                turn = other / (length * own) - (other @ c) / (length * own**3) * c
                steps[j] += pair_weight / (len(centres) - 1) * turn
    return rate * steps


def test_island_equals_the_papers():
    features, centres = sample(8, DEPTH), sample(CLASSES, DEPTH, seed=1)
    found = evaluate(lambda x, c: losses.island(x, LABELS, c, 0.3), features, centres)
    np.testing.assert_allclose(found, naive_island(features, LABELS, centres, 0.3), rtol=1e-12)
    check_gradients(lambda x, c: losses.island(x, LABELS, c, 0.3), features, centres)


def test_island_does_not_depend_on_the_batch_size():
    features, centres = sample(8, DEPTH), sample(CLASSES, DEPTH, seed=1)
    once = evaluate(lambda x, c: losses.island(x, LABELS, c, 0.3), features, centres)
    twice = evaluate(lambda x, c: losses.island(x, np.tile(LABELS, 2), c, 0.3), np.tile(features, (2, 1)), centres)
    np.testing.assert_allclose(twice, once, rtol=1e-12)


def test_centres_move_as_in_the_paper():
    features = sample(8, DEPTH).astype(np.float32)
    with tf.Graph().as_default(), one_shot_session() as session:
        variable = losses.island_centres(CLASSES, DEPTH)
        assert variable.op.name == 'island/centres'
        assert tf.trainable_variables() == []
        assert losses.island_centres(CLASSES, DEPTH) is variable  # shared by the towers
        update = losses.update_centres(variable, tf.constant(features), tf.constant(LABELS), 0.3, rate=0.25)
        session.run(tf.global_variables_initializer())
        before = session.run(variable)
        session.run(update)
        after = session.run(variable)
    expected = before - naive_step(features, LABELS, before, 0.3, 0.25)
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-6)
    assert (np.abs(after - before).max(axis=1) > 1e-3).all()  # the pairs move the absent class too


def test_pairs_move_centres_by_their_gradient():
    centres = sample(CLASSES, DEPTH)
    features, labels = np.zeros((0, DEPTH)), np.zeros(0, np.int32)
    step = evaluate(lambda x, y, c: losses.centre_step(x, y, c, 1.0, 1.0), features, labels, centres)
    gradient = evaluate(lambda c: tf.gradients(losses.centre_pairs(c), c)[0], centres)
    np.testing.assert_allclose(step, gradient / (2 * (CLASSES - 1)), rtol=1e-10)


def test_first_centres_depend_only_on_the_seed():
    def start(seed, operations):
        with tf.Graph().as_default(), one_shot_session() as session:
            tf.set_random_seed(seed)
            for _ in range(operations):
                tf.random.normal([2])
            variable = losses.island_centres(CLASSES, 200)
            session.run(tf.global_variables_initializer())
            return session.run(variable)

    first = start(1, 0)
    np.testing.assert_array_equal(start(1, 4), first)
    assert np.abs(start(2, 0) - first).max() > 0.01
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=0.25)


@pytest.mark.parametrize('zero', [0.0, 1e-30])
def test_centre_without_direction_is_finite(zero):
    features, centres = sample(8, DEPTH).astype(np.float32), sample(CLASSES, DEPTH, seed=1).astype(np.float32)
    centres[3] = zero

    def everything(x, c):
        loss = losses.island(x, LABELS, c, 0.3)
        return loss, *tf.gradients(loss, [x, c]), losses.centre_step(x, LABELS, c, 0.3)

    loss, of_features, of_centres, step = evaluate(everything, features, centres)
    others = np.delete(centres, 3, axis=0)
    distances = np.mean(np.sum((features - centres[LABELS]) ** 2, axis=1)) / 2
    # Each of its eight ordered pairs has cosine 0, so it counts as 1.
    pairs = naive_island(others[:1], [0], others, 1.0) + 2 * len(others)
    assert loss == pytest.approx(distances + 0.3 * pairs, rel=1e-5)
    assert np.isfinite(of_features).all()
    np.testing.assert_allclose(of_centres[3], -features[LABELS == 3].sum(axis=0) / 8, rtol=1e-5)
    np.testing.assert_allclose(step[3], -0.5 * features[LABELS == 3].sum(axis=0) / 5, rtol=1e-5)
    assert np.isfinite(step).all()


def naive_locality(features, labels, neighbours):
    distances = []
    for i, x in enumerate(features):
        others = [j for j in range(len(features)) if j != i and labels[j] == labels[i]]
        nearest = sorted(others, key=lambda j: np.sum((x - features[j]) ** 2))[:neighbours]  # stable: ties by index
        distances.append(np.sum((x - np.mean(features[nearest], axis=0)) ** 2) / 2 if nearest else 0.0)
    return distances


@pytest.mark.parametrize('neighbours', [1, 2, 3, 20])  # an item of class 3 has three others
def test_locality_equals_the_papers(neighbours):
    features = sample(8, DEPTH)
    found = evaluate(lambda x: losses.locality_preserving(x, LABELS, neighbours), features)
    np.testing.assert_allclose(found, naive_locality(features, LABELS, neighbours), rtol=1e-10)
    np.testing.assert_array_equal(found[[3, 7]], 0)  # the only item of their class
    assert (np.delete(found, [3, 7]) > 0.01).all()
    check_gradients(lambda x: losses.locality_preserving(x, LABELS, neighbours), features)


def test_locality_prefers_earlier_of_equally_near_items():
    labels = np.array([1, 1, 1, 1, 1, 0, 0, 0], np.int32)
    # Item 0 has four others at distance 1, and two items of class 0 are one point.
    points = [[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0], [3, 3], [3, 3], [5, 3]]
    features = np.array(points, np.float64)
    for neighbours in (1, 2, 3):
        found = evaluate(lambda x, k=neighbours: losses.locality_preserving(x, labels, k), features)
        np.testing.assert_array_equal(found, naive_locality(features, labels, neighbours))


def test_locality_is_exact_far_from_the_origin():
    features = (1000 + sample(40, DEPTH)).astype(np.float32)
    labels = np.arange(40, dtype=np.int32) % 2
    found = evaluate(lambda x: losses.locality_preserving(x, labels, 3), features)
    np.testing.assert_allclose(found, naive_locality(features.astype(np.float64), labels, 3), rtol=1e-3)


@pytest.mark.parametrize('labels', [[2], [2, 2, 2], [0, 1, 2, 3, 4]], ids=['one item', 'one class', 'all alone'])
@pytest.mark.parametrize('one_point', [False, True], ids=['apart', 'one point'])
def test_degenerate_batches_are_finite(labels, one_point):
    features = sample(len(labels), DEPTH).astype(np.float32)
    if one_point:
        features[:] = features[0]
    labels = np.array(labels, np.int32)

    def everything(x, c):
        values = [losses.island(x, labels, c, 0.3), losses.locality_preserving(x, labels, 2)]
        gradients = [tf.convert_to_tensor(tf.gradients(value, x)[0]) for value in values]
        return values, gradients, losses.centre_step(x, labels, c, 0.3)

    centres = sample(CLASSES, DEPTH, seed=1).astype(np.float32)
    (island, near), gradients, step = evaluate(everything, features, centres)
    np.testing.assert_allclose(island, naive_island(features, labels, centres, 0.3), rtol=1e-5)
    np.testing.assert_allclose(near, naive_locality(features, labels, 2), rtol=1e-5, atol=1e-12)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    np.testing.assert_allclose(step, naive_step(features, labels, centres, 0.3, 0.5), rtol=1e-4, atol=1e-6)


def test_l2_sums_kernels_only():
    with tf.Graph().as_default(), one_shot_session() as session:
        names = [
            'conv/weights',
            'conv/biases',
            'norm/gamma',
            'norm/beta',
            'sep/depthwise_weights',
            'gru/kernel',
            'bias',
        ]
        variables = [tf.get_variable(f'net/{name}', [2, 3]) for name in names]
        session.run(tf.global_variables_initializer())
        found, values = session.run([losses.l2(variables), variables])
        assert session.run(losses.l2(variables[1:4])) == 0
    assert [v.op.name for v in losses.kernels(variables)] == [
        'net/conv/weights',
        'net/sep/depthwise_weights',
        'net/gru/kernel',
    ]
    np.testing.assert_allclose(found, sum(np.sum(values[i] ** 2) for i in (0, 4, 5)) / 2, rtol=1e-6)


LENGTHS = np.array([3, 1, 4], np.int32)
WINDOW_LABELS = np.array([3, 0, 3], np.int32)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('loss', choices('loss'))
@pytest.mark.parametrize('classify', choices('classify'))
def test_total_equals_the_sum_of_its_terms(classify, loss, dtype):
    frame_logits, logits, frames = (sample(*shape, seed=4).astype(dtype) for shape in ((8, 5), (3, 5), (8, DEPTH)))
    weights = losses.class_weights(np.array([4, 1, 0, 9, 2]), 'balanced')
    terms = {
        'island_weight': 0.2,
        'island_pair_weight': 0.3,
        'locality_weight': 0.4,
        'locality_neighbours': 2,
        'l2': 0.5,
    }
    config = TrainConfig(classify=classify, loss=loss, focal_gamma=1.5, class_weights='balanced', **terms)
    with tf.Graph().as_default(), one_shot_session() as session:
        kernel = tf.get_variable('net/weights', [2, 3])
        predictions = Predictions(*map(tf.constant, (frame_logits, logits, WINDOW_LABELS, LENGTHS, frames)))
        found = total_loss(config, predictions, weights, [kernel])
        session.run(tf.global_variables_initializer())
        centres = losses.island_centres(CLASSES, DEPTH)
        kernel, before = session.run([kernel, centres])
        total, per_item, _ = session.run([found.total, found.per_item, found.updates])
        after = session.run(centres)
    assert total.dtype == per_item.dtype == dtype
    firsts = np.cumsum(LENGTHS) - LENGTHS
    if classify == 'frame':
        scores, targets, items = frame_logits, np.repeat(WINDOW_LABELS, LENGTHS), frames
    else:
        scores, targets = logits, WINDOW_LABELS
        items = np.array([x.mean(axis=0) for x in np.split(frames, firsts[1:])])
    each = weights[targets] * naive_focal(scores, targets, 1.5 if loss == 'focal' else 0.0)
    expected = (
        each.mean()
        + 0.2 * naive_island(items, targets, before, 0.3)
        + 0.4 * np.mean(naive_locality(items, targets, 2))
        + 0.5 * np.sum(kernel**2) / 2
    )
    assert total == pytest.approx(expected, rel=1e-5)
    each = each + 0.2 * np.sum((items - before[targets]) ** 2, axis=1) / 2
    if classify == 'frame':
        each = np.array([x.mean() for x in np.split(each, firsts[1:])])
    np.testing.assert_allclose(per_item, each, rtol=1e-5)
    np.testing.assert_allclose(after, before - naive_step(items, targets, before, 0.3, 0.5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('classify', choices('classify'))
def test_only_the_damaged_window_is_not_finite(classify):
    lost = np.where(np.arange(8)[:, np.newaxis] == 5, np.nan, sample(8, 5))  # a frame of the last window
    config = TrainConfig(classify=classify, island_weight=0.2, locality_weight=0.4, locality_neighbours=2)
    with tf.Graph().as_default(), one_shot_session() as session:
        frame_logits, lengths = tf.constant(lost), tf.constant(LENGTHS)
        logits = window_logits(frame_logits, lengths, pad_index(lengths, 4), classify, 'mean')
        predictions = Predictions(frame_logits, logits, tf.constant(WINDOW_LABELS), lengths, embeddings=frame_logits)
        found = total_loss(config, predictions)
        session.run(tf.global_variables_initializer())
        total, per_item = session.run([found.total, found.per_item])
    assert np.isnan(total)
    np.testing.assert_array_equal(np.isfinite(per_item), [True, True, False])


def test_terms_without_weight_add_no_variables():
    with tf.Graph().as_default():
        predictions = Predictions(*map(tf.constant, (sample(8, 5), sample(3, 5), WINDOW_LABELS, LENGTHS)))
        found = total_loss(TrainConfig(), predictions)
        assert found.updates == []
        assert tf.global_variables() == []
        with pytest.raises(ValueError, match='need embeddings'):
            total_loss(TrainConfig(locality_weight=1.0), predictions)


@pytest.mark.parametrize('classify', ['exact', 'padded'])
def test_median_gradients(classify):
    lengths = np.array([3, 1, 4, 2], np.int32)  # odd and even counts, and padded to 5, which is odd, with equal values
    index = evaluate(lambda x: pad_index(x, 5), lengths)
    frames = sample(lengths.sum(), 3)
    check_gradients(lambda x: window_logits(x, tf.constant(lengths), tf.constant(index), classify, 'median'), frames)


def test_median_gradients_with_even_padding():
    lengths = np.array([3, 5, 6], np.int32)
    index = evaluate(lambda x: pad_index(x, 6), lengths)
    frames = sample(lengths.sum(), 3)
    check_gradients(lambda x: window_logits(x, tf.constant(lengths), tf.constant(index), 'padded', 'median'), frames)
