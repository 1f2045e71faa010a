# SPDX-License-Identifier: Apache-2.0
"""Tests of VGG-Face against Keras' VGG16, an independent implementation of the same configuration."""

import numpy as np
import pytest
from nets import one_shot_session

from fer.errors import InputError
from fer.nets import get_network
from fer.nets.conventions import Convention
from fer.nets.layers import dropout
from fer.nets.summary import summarise
from fer.nets.vgg_face import BLOCKS, VGG_POOLS, vgg_face
from fer.tf1 import tf


def keras_vgg16(height, width, pooling):
    """Returns Keras' VGG16 with five classes, whose pools drop an odd row (valid) or keep it (same)."""
    options = {'include_top': True, 'weights': None, 'classes': 5, 'classifier_activation': None}
    network = tf.keras.applications.VGG16(input_shape=(height, width, 3), **options)
    if pooling == 'valid':
        return network
    inputs = net = tf.keras.Input((height, width, 3))
    for layer in network.layers[1:]:  # Model.from_config may search for a layer without end
        padding = {'padding': pooling} if isinstance(layer, tf.keras.layers.MaxPooling2D) else {}
        net = type(layer).from_config(layer.get_config() | padding)(net)
    return tf.keras.Model(inputs, net)


@pytest.mark.parametrize(
    ('height', 'width', 'pooling'),
    [
        *((112, 112, 'valid'), (97, 64, 'valid'), (48, 80, 'same')),
        pytest.param(224, 224, 'valid', marks=pytest.mark.slow),
        pytest.param(112, 112, 'same', marks=pytest.mark.slow),
    ],
)
def test_features_and_logits_equal_keras_vgg16(height, width, pooling):
    images = np.random.default_rng(0).uniform(-1, 1, (2, height, width, 3)).astype(np.float32)
    with tf.Graph().as_default(), one_shot_session() as session:
        tf.set_random_seed(1)
        inputs = tf.constant(images)
        features, end_points = vgg_face(inputs, num_classes=5, convention=Convention(pool=VGG_POOLS[pooling]))
        ours = tf.trainable_variables('vgg_face/')
        keras = keras_vgg16(height, width, pooling)
        session.run(tf.global_variables_initializer())
        # Biases are not zero, so that a missing one changes the result.
        rng = np.random.default_rng(2)
        for variable in ours:
            if variable.name.endswith('biases:0'):
                variable.load(rng.normal(0, 0.1, variable.shape), session)
        weights = [v for layer in keras.layers for v in layer.weights]
        assert len(weights) == len(ours) == 32
        for theirs, variable in zip(weights, ours, strict=True):
            session.run(theirs.assign(variable))
        fc1 = tf.keras.Model(keras.input, keras.get_layer('fc1').output)
        expected_features, expected_logits = session.run([fc1(inputs), keras(inputs)])
        found_features, found_logits = session.run([features, end_points['logits']])
    assert found_features.shape == (2, 4096)
    np.testing.assert_allclose(found_features, expected_features, rtol=1e-4, atol=1e-4 * expected_features.max())
    np.testing.assert_allclose(found_logits, expected_logits, rtol=1e-4, atol=1e-4 * np.abs(expected_logits).max())


def test_parameter_count_equals_published_one():
    """Configuration D at 224x224 with 1000 classes has 138M parameters (Simonyan and Zisserman 2015, table 2)."""
    with tf.Graph().as_default():
        vgg_face(tf.placeholder(tf.float32, [None, 224, 224, 3]), num_classes=1000)
        assert sum(variable.shape.num_elements() for variable in tf.trainable_variables()) == 138_357_544


@pytest.mark.parametrize(('size', 'rows'), [(112, 16 - 9), (224, 0)])
def test_same_pooling_adds_weights_of_fc6_only(size, rows):
    """At 112x112 the last map has 4x4 positions instead of 3x3, at 224x224 both have 7x7."""
    counts = [
        summarise(get_network('vgg_face'), size, 7, False, convention=Convention(pool=pool)).parameters
        for pool in VGG_POOLS.values()
    ]
    assert counts[1] - counts[0] == rows * 512 * 4096


def test_width_scales_channels_and_not_the_graph():
    with tf.Graph().as_default():
        inputs = tf.placeholder(tf.float32, [None, 64, 64, 3])
        _, full = vgg_face(inputs, scope='full')
        features, narrow = vgg_face(inputs, width=0.125, scope='narrow')
    assert features.shape[1] == 512
    assert list(narrow) == list(full)
    assert [narrow[f'conv{b}/conv{b}_1'].shape[-1] for b in range(1, 6)] == [c // 8 for _, c in BLOCKS]


def test_small_images_are_refused():
    with tf.Graph().as_default(), pytest.raises(ValueError, match='31x40'):
        vgg_face(tf.placeholder(tf.float32, [None, 31, 40, 3]))


def test_unknown_network_is_refused():
    with pytest.raises(InputError, match=r'--model=alexnet.*vgg_face'):
        get_network('alexnet')


def test_every_variable_gets_a_gradient():
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 32, 32, 3])
        with pytest.raises(ValueError, match='no global step'):
            vgg_face(images, is_training=True, width=0.05)
        tf.train.get_or_create_global_step()
        _, end_points = vgg_face(images, is_training=True, width=0.05)
        gradients = tf.gradients(end_points['logits'], tf.trainable_variables())
    assert all(gradient is not None for gradient in gradients)


def test_dropout_follows_seed_layer_and_step():
    def masks(seed, scope, step, rate=0.4):
        with tf.Graph().as_default(), one_shot_session() as session:
            tf.set_random_seed(seed)
            global_step = tf.train.get_or_create_global_step()
            output = dropout(tf.ones([50, 40]), rate, is_training=True, scope=scope)
            session.run(tf.global_variables_initializer())
            global_step.load(step, session)
            return session.run(output)

    first = masks(1, 'dropout6', 10)
    np.testing.assert_array_equal(first, masks(1, 'dropout6', 10))
    for other in (masks(2, 'dropout6', 10), masks(1, 'dropout7', 10), masks(1, 'dropout6', 11)):
        assert (first != other).any()
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.6)}
    assert abs((first == 0).mean() - 0.4) < 0.04


def test_dropout_is_off_in_evaluation():
    with tf.Graph().as_default():
        inputs = tf.ones([3, 4])
        assert dropout(inputs, 0.5, is_training=False, scope='d') is inputs
