# SPDX-License-Identifier: Apache-2.0
"""Tests of the feed-forward network against NumPy."""

import numpy as np
import pytest
from nets import load, load_seeded, one_shot_session

from fer.nets.ffn import EPSILON, ffn
from fer.nets.layers import BATCH_NORM_DECAY, batch_norm
from fer.tf1 import slim, tf

FEATURES = np.random.default_rng(0).normal(size=(5, 13)).astype(np.float32)


def build(hidden_units=(9, 4), **options):
    return ffn(tf.constant(FEATURES), num_classes=3, hidden_units=hidden_units, **options)


def in_numpy(values, normalise=lambda net, *_: net, layers=2):
    """Returns the pre-activations of each layer, the hidden layers, and the logits."""
    net, raw, hidden = FEATURES, [], []
    for layer in range(1, layers + 1):
        scope = f'ffn/hidden_{layer}'
        raw.append(net @ values[f'{scope}/weights'] + values.get(f'{scope}/biases', 0))
        net = np.maximum(normalise(raw[-1], scope), 0)
        hidden.append(net)
    return raw, hidden, net @ values['ffn/logits/weights'] + values['ffn/logits/biases']


def test_outputs_equal_numpy():
    with tf.Graph().as_default(), tf.Session() as session:
        features, end_points = build()
        values = load_seeded(session, 'ffn')
        found, layers = session.run([features, end_points])
    assert list(layers) == ['hidden_1', 'hidden_2', 'logits']
    assert {name: value.shape for name, value in values.items()} == {
        'ffn/hidden_1/weights': (13, 9),
        'ffn/hidden_1/biases': (9,),
        'ffn/hidden_2/weights': (9, 4),
        'ffn/hidden_2/biases': (4,),
        'ffn/logits/weights': (4, 3),
        'ffn/logits/biases': (3,),
    }
    _, hidden, logits = in_numpy(values)
    np.testing.assert_array_equal(found, layers['hidden_2'])
    for name, expected in (('hidden_1', hidden[0]), ('hidden_2', hidden[1]), ('logits', logits)):
        np.testing.assert_allclose(layers[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('mode', ['train', 'evaluation', 'frozen'])
def test_batch_norm_uses_batch_or_averages(mode):
    with tf.Graph().as_default(), tf.Session() as session, slim.arg_scope([batch_norm], frozen=mode == 'frozen'):
        _, end_points = build(is_training=mode != 'evaluation', dropout=0, batch_norm=True)
        values = load_seeded(session, 'ffn')
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        found, _ = session.run([end_points['logits'], updates])
        moved = {v.op.name: session.run(v) for v in tf.global_variables()}
    assert not any('hidden' in name and 'biases' in name for name in values)

    def normalise(net, scope):
        scope = f'{scope}/BatchNorm'
        mean, variance = values[f'{scope}/moving_mean'], values[f'{scope}/moving_variance']
        if mode == 'train':
            mean, variance = net.mean(0), net.var(0)
        return (net - mean) / np.sqrt(variance + EPSILON) * values[f'{scope}/gamma'] + values[f'{scope}/beta']

    raw, _, expected = in_numpy(values, normalise)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert len(updates) == (4 if mode == 'train' else 0)
    for layer, net in enumerate(raw, start=1):
        for kind, batch in (('moving_mean', net.mean(0)), ('moving_variance', net.var(0, ddof=1))):
            name = f'ffn/hidden_{layer}/BatchNorm/{kind}'
            step = (1 - BATCH_NORM_DECAY) * (batch - values[name]) if mode == 'train' else 0
            np.testing.assert_allclose(moved[name], values[name] + step, rtol=1e-5, atol=1e-6)


def test_dropout_acts_in_training_and_differs_between_layers():
    """Weights average their inputs, so a unit's gradient at rate 0.5 is 2 if it is kept and 0 if it is dropped."""
    with tf.Graph().as_default(), one_shot_session() as session:
        tf.train.get_or_create_global_step()
        ones = tf.ones([4, 13])
        _, trained = ffn(ones, num_classes=50, is_training=True, hidden_units=(50, 50))
        _, evaluated = ffn(ones, num_classes=50, hidden_units=(50, 50))
        masks = [
            tf.gradients(trained[above], trained[below])[0]
            for below, above in (('hidden_1', 'hidden_2'), ('hidden_2', 'logits'))
        ]
        session.run(tf.global_variables_initializer())
        load(session, {v: np.full(v.shape, 1 / v.shape[0]) for v in tf.global_variables() if 'weights' in v.name})
        first, second = session.run(masks)
        hidden, plain = session.run([trained['hidden_2'], evaluated['logits']])
    for mask in (first, second):
        np.testing.assert_allclose(np.unique(mask), [0, 2], atol=1e-5)
        assert 0.35 < (mask > 1).mean() < 0.65
    assert ((first > 1) != (second > 1)).any()
    np.testing.assert_allclose(hidden, np.repeat(first.mean(1, keepdims=True), 50, axis=1), rtol=1e-5)
    np.testing.assert_allclose(plain, 1, rtol=1e-5)


def test_towers_share_variables_and_rows_are_independent():
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, 13])
        tf.train.get_or_create_global_step()
        ffn(inputs, is_training=True, hidden_units=(6,), batch_norm=True)
        count = len(tf.global_variables())
        _, end_points = ffn(inputs, hidden_units=(6,), batch_norm=True)
        assert len(tf.global_variables()) == count
        load_seeded(session, 'ffn')
        together = session.run(end_points['logits'], {inputs: FEATURES})
        alone = [session.run(end_points['logits'], {inputs: FEATURES[row : row + 1]}) for row in range(5)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5, atol=1e-6)


def test_without_a_classifier_and_without_layers():
    with tf.Graph().as_default():
        hidden, end_points = ffn(tf.zeros([2, 13]), num_classes=0, hidden_units=(6,))
        assert list(end_points) == ['hidden_1']
        assert end_points['hidden_1'] is hidden
        assert [v.op.name for v in tf.global_variables()] == ['ffn/hidden_1/weights', 'ffn/hidden_1/biases']
        for units in ((), (4, 0)):
            with pytest.raises(ValueError, match='hidden_units'):
                ffn(tf.zeros([2, 13]), hidden_units=units)
