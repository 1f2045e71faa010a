# SPDX-License-Identifier: Apache-2.0
"""Features against independent implementations, all weights copied in: VGG-Face is in test_vgg_face.py.

The oracle's conventions are stated row by row, since that is what the conventions are for.
"""

import re

import numpy as np
import pytest
from nets import load, load_seeded, one_shot_session, random_images
from tf_slim.nets import resnet_v1

from fer.nets import NETWORKS
from fer.nets.densenet import TORCH
from fer.nets.nasnet import LARGE, MOBILE
from fer.nets.nasnet import SLIM as SLIM_NASNET
from fer.nets.resnet import BLOCKS, SLIM
from fer.nets.se_resnet import CAFFE, CAFFE_NEXT
from fer.tf1 import slim, tf

SIZES = (112, 224, 97)
KERAS_KINDS = {
    'weights': 'kernel',
    'biases': 'bias',
    'depthwise_weights': 'depthwise_kernel',
    'pointwise_weights': 'pointwise_kernel',
}


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def build(name, convention, size=None):
    """Builds our network with averaged features, on images of any size, or of `size` if the graph depends on it."""
    images = tf.placeholder(tf.float32, [None, size, size, 3])
    features, _ = NETWORKS[name].build(images, num_classes=3, global_pool=True, convention=convention)
    return images, features


def keras_variables(model):
    """Returns {(layer, kind): variable}."""
    return {
        (layer.name, v.name.rpartition('/')[2].removesuffix(':0')): v for layer in model.layers for v in layer.weights
    }


def load_keras(session, model, values, layer_of):
    """Copies our values, except the classifier's, into a Keras model, and checks that each variable gets one."""
    targets = keras_variables(model)
    loaded = {}
    for name, value in values.items():
        if '/logits/' in name:
            continue
        path, _, kind = name.partition('/')[2].rpartition('/')
        loaded[targets.pop((layer_of(path), KERAS_KINDS.get(kind, kind)))] = value
    assert not targets
    load(session, loaded)


@pytest.mark.parametrize('convention', [SLIM, SLIM._replace(stride='first_1x1')])
def test_resnet50_equals_slim(convention):
    """He et al.'s strides give equal features, because they skip the same positions as slim's, only earlier."""
    with tf.Graph().as_default(), one_shot_session() as session:
        images, ours = build('resnet50', convention)
        with slim.arg_scope(resnet_v1.resnet_arg_scope()):
            theirs, _ = resnet_v1.resnet_v1_50(images, is_training=False)
        values = load_seeded(session, 'resnet50')
        oracle = tf.global_variables('resnet_v1_50/')
        names = {v: v.op.name.replace('resnet_v1_50', 'resnet50').replace('bottleneck_v1/', '') for v in oracle}
        assert set(names.values()) == {name for name in values if '/logits/' not in name}
        load(session, {v: values[name] for v, name in names.items()})
        for size in SIZES:
            found, expected = session.run([ours, theirs], {images: random_images(size)})
            assert_close(found, expected[:, 0, 0])


def densenet_layer(path):
    """Returns the layer of Keras' DenseNet121 that has the variables below our `path`."""
    for pattern, layer in (
        (r'conv1$', r'conv1/conv'),
        (r'conv1/BatchNorm', r'conv1/bn'),
        (r'block(\d)/layer(\d+)/norm1', r'conv{}_block{}_0_bn'),
        (r'block(\d)/layer(\d+)/conv1', r'conv{}_block{}_1_conv'),
        (r'block(\d)/layer(\d+)/norm2', r'conv{}_block{}_1_bn'),
        (r'block(\d)/layer(\d+)/conv2', r'conv{}_block{}_2_conv'),
        (r'transition(\d)/norm', r'pool{}_bn'),
        (r'transition(\d)/conv', r'pool{}_conv'),
        (r'norm5', r'bn'),
    ):
        if match := re.match(pattern, path):
            block, *layers = match.groups() or (0,)
            return layer.format(int(block) + 1, *layers)
    raise AssertionError(path)


def test_densenet121_equals_keras():
    with tf.Graph().as_default(), one_shot_session() as session:
        images, ours = build('densenet121', TORCH._replace(epsilon=1.001e-5))
        keras = tf.keras.applications.DenseNet121(
            include_top=False, weights=None, input_shape=(None, None, 3), pooling='avg'
        )
        load_keras(session, keras, load_seeded(session, 'densenet121'), densenet_layer)
        for size in SIZES:
            batch = random_images(size)
            found, expected = session.run([ours, keras.output], {images: batch, keras.input: batch})
            assert_close(found, expected)


def nasnet_layer(cells):
    """A function as `densenet_layer`, for a NASNet of so many normal cells a stage."""

    def layer_of(path):
        cell, _, rest = path.partition('/')
        if cell == 'conv0':
            return 'stem_bn1' if rest else 'stem_conv1'
        place, number = cell.split('_')
        kind = 'normal' if place == 'cell' else 'reduction'
        if place == 'stem':
            block = cell
        elif place == 'reduction':
            block = f'reduce_{int(number) * cells}'
        else:
            block = int(number) - 1 if int(number) <= cells else int(number)
        for pattern, layer in (
            (r'input$', f'{kind}_conv_1'),
            (r'input/BatchNorm', f'{kind}_bn_1'),
            (r'previous/path_1', 'adjust_conv_1'),
            (r'previous/path_2', 'adjust_conv_2'),
            (r'previous$', 'adjust_conv_projection'),
            (r'previous/BatchNorm', 'adjust_bn'),
        ):
            if re.match(pattern, rest):
                return f'{layer}_{block}'
        step, side, separable, *norm = rest.split('/')
        step = step.removeprefix('step_')
        if kind == 'reduction' and step == '5':  # Keras' number is that of the pool before it
            step = '4'
        return f'separable_conv_{separable[-1]}{"_bn" if norm else ""}_{kind}_{side}{step}_{block}'

    return layer_of


@pytest.mark.parametrize(
    ('name', 'size'),
    [
        pytest.param('nasnet_mobile', 97, marks=pytest.mark.slow),
        pytest.param('nasnet_mobile', 112, marks=pytest.mark.slow),
        pytest.param('nasnet_mobile', 224, marks=pytest.mark.slow),
        pytest.param('nasnet', 97, marks=pytest.mark.slow),
        pytest.param('nasnet', 112, marks=pytest.mark.slow),
        pytest.param('nasnet', 224, marks=pytest.mark.slow),
    ],
)
def test_nasnet_equals_keras(name, size):
    """Keras pads with zeros before it pools."""
    oracle, cells = {
        'nasnet': (tf.keras.applications.NASNetLarge, LARGE.cells),
        'nasnet_mobile': (tf.keras.applications.NASNetMobile, MOBILE.cells),
    }[name]
    with tf.Graph().as_default(), one_shot_session() as session:
        images, ours = build(name, SLIM_NASNET._replace(pool='zeros'), size)
        keras = oracle(include_top=False, weights=None, input_shape=(size, size, 3), pooling='avg')
        load_keras(session, keras, load_seeded(session, name), nasnet_layer(cells))
        batch = random_images(size)
        found, expected = session.run([ours, keras.output], {images: batch, keras.input: batch})
    assert_close(found, expected)


def se_names(scope):
    """Returns our variables in the order of image-classifiers' layers, biases after weights."""
    norm = ('gamma', 'beta', 'moving_mean', 'moving_variance')

    def conv(path):
        return [f'{scope}/{path}/weights', *(f'{scope}/{path}/BatchNorm/{kind}' for kind in norm)]

    names = conv('conv1')
    for block, (_, units) in enumerate(BLOCKS, start=1):
        for unit in range(1, units + 1):
            path = f'block{block}/unit_{unit}'
            for layer in ('conv1', 'conv2', 'conv3'):
                names += conv(f'{path}/{layer}')
            names += [
                f'{scope}/{path}/se/{dense}/{kind}' for dense in ('reduce', 'excite') for kind in ('weights', 'biases')
            ]
            if unit == 1:
                names += conv(f'{path}/shortcut')
    return names


@pytest.mark.parametrize(
    ('name', 'oracle', 'convention'),
    [
        ('se_resnet50', 'SEResNet50', CAFFE._replace(pool='symmetric')),
        pytest.param(*('se_resnext50', 'SEResNeXt50', CAFFE_NEXT._replace(pool='symmetric')), marks=pytest.mark.slow),
    ],
)
def test_se_networks_equal_image_classifiers(name, oracle, convention, monkeypatch):
    """The oracle has 32 convolutions for a grouped one, and pads the stem's pool on each side."""
    monkeypatch.setenv('SM_FRAMEWORK', 'tf.keras')
    models = pytest.importorskip('classification_models.models.senet')
    keras = {'backend': tf.keras.backend, 'layers': tf.keras.layers, 'models': tf.keras.models, 'utils': tf.keras.utils}
    with tf.Graph().as_default(), one_shot_session() as session:
        images, ours = build(name, convention)
        model = getattr(models, oracle)(input_shape=(None, None, 3), include_top=False, weights=None, **keras)
        values = load_seeded(session, name)
        targets = [v for layer in model.layers for v in layer.weights]
        loaded = {}
        for key in se_names(name):
            value = values[key]
            shape = targets[0].shape.as_list()
            groups = value.shape[-1] // shape[-1]
            for part in np.split(value, groups, axis=-1):
                loaded[targets.pop(0)] = part.reshape(
                    [1, 1, *part.shape] if '/se/' in key and part.ndim == 2 else part.shape
                )
        assert not targets
        load(session, loaded)
        for size in SIZES:
            batch = random_images(size)
            found, expected = session.run([ours, model.output], {images: batch, model.input: batch})
            assert_close(found, expected.mean((1, 2)))
