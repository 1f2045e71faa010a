# SPDX-License-Identifier: Apache-2.0
"""Tests that weights of every public source give the features of that source's own network.

Each case writes small random weights in their publisher's form and computes their features without fer: with tf_slim,
with keras.applications in a process of its own, or with public_nets.py.
"""

import functools
import re
import sys
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import public_nets as public
import pytest
import scipy.io
from conftest import ROOT, run
from nets import one_shot_session
from safetensors.numpy import save_file
from tf_slim.nets import resnet_v1

from fer.errors import InputError
from fer.nets import NETWORKS
from fer.nets.densenet import TORCH
from fer.nets.weights.convention_file import write_convention
from fer.nets.weights.identify import identify, open_weights
from fer.nets.weights.known_sources import SOURCES
from fer.nets.weights.source import subtract_biases
from fer.nets.weights.tensors import CHECKPOINT, KERAS, Tensors
from fer.nets.weights.values import num_classes, read_value
from fer.tf1 import slim, tf
from fer.training.restore import Origin, initialise

WIDTH = 1 / 16
# The published channels at that width.
RESIDUAL = {'inner': (4, 8, 16, 32), 'outer': (16, 32, 64, 128), 'stem': 4}
NEXT = {'inner': (32, 32, 32, 64), 'outer': (16, 32, 64, 128), 'stem': 4, 'groups': 32}
VGG = {'channels': (4, 8, 16, 32, 32), 'units': 256}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Case(NamedTuple):
    """A file of weights, and the results that they must give."""

    path: Path
    source: str
    images: np.ndarray  # [-1, 1]
    features: np.ndarray
    width: float = WIDTH
    pool: str = ''  # the oracle's, if it differs from the source's
    logits: np.ndarray | None = None
    same: tuple[Path, ...] = ()  # other files that must give every variable an equal value
    fresh: tuple[str, ...] = ()  # layers that the weights do not have


def random_images(size):
    """Returns float32 [2, size, size, 3] in [-1, 1]."""
    return np.random.default_rng(4).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)


def torch_pixels(images):
    mean, std = IMAGENET
    return ((images + 1) / 2 - mean) / std


def minus(images, mean, order='RGB'):
    """Subtracts a mean, in the order of the channels, from pixels of 0 to 255."""
    pixels = (images + 1) * 127.5
    return (pixels if order == 'RGB' else pixels[..., ::-1]) - mean


def save_checkpoint(path, values, **options):
    with tf.Graph().as_default(), one_shot_session() as session:
        variables = {name: tf.Variable(tf.zeros(v.shape, v.dtype)) for name, v in values.items()}
        session.run(
            [v.initializer for v in variables.values()], {variables[n].initializer.inputs[1]: values[n] for n in values}
        )
        tf.train.Saver(variables, **options).save(session, str(path), write_meta_graph=False, write_state=False)
    return path


def slim_resnet50(folder):
    """Writes a checkpoint in one file, as in 2016."""
    images = random_images(70)
    path = folder / 'resnet_v1_50.ckpt'
    with tf.Graph().as_default(), one_shot_session() as session:
        tf.set_random_seed(3)
        pixels = minus(images, (123.68, 116.78, 103.94))
        with slim.arg_scope(resnet_v1.resnet_arg_scope()):
            logits, end_points = resnet_v1.resnet_v1_50(
                tf.constant(pixels, tf.float32), num_classes=6, is_training=False
            )
        rng = np.random.default_rng(3)
        session.run(tf.global_variables_initializer())
        norms = [v for v in tf.global_variables() if 'BatchNorm' in v.name]
        session.run(
            [v.initializer for v in norms], {v.initializer.inputs[1]: rng.uniform(0.5, 1.5, v.shape) for v in norms}
        )
        extra = [tf.Variable([1.0, 2.0, 3.0], name='resnet_v1_50/mean_rgb'), tf.train.get_or_create_global_step()]
        session.run([v.initializer for v in extra])
        tf.train.Saver(write_version=tf.train.SaverDef.V1).save(
            session, str(path), write_meta_graph=False, write_state=False
        )
        logits, last = session.run([tf.reshape(logits, [2, 6]), end_points['resnet_v1_50/block4']])
    return Case(path, 'slim resnet_v1_50', images, last.mean((1, 2)), 1.0, logits=logits)


def torch_residual(folder, source, channels, stride='conv2', pool='around', write=public.torch_residual, gates=True):
    """Writes a state dict. The stem's map has an odd side, for which the pools of sources differ."""
    net, images = public.random_residual(**channels, squeeze_excite=gates), random_images(70)
    save_file(write(net), folder / 'model.safetensors')
    groups = channels.get('groups', 1)
    features = public.run(public.residual, net, torch_pixels(images), stride, pool, 1e-5, groups)
    return Case(folder / 'model.safetensors', source, images, features)


def torch_resnet18(folder):
    net, images = public.random_basic((4, 8, 16, 32)), random_images(70)
    save_file(public.torch_residual(net), folder / 'model.safetensors')
    features = public.run(public.basic, net, torch_pixels(images), 1e-5)
    return Case(folder / 'model.safetensors', 'torchvision resnet18', images, features)


def hikapok(folder, source, channels, stride):
    net, images = public.random_residual(**channels, squeeze_excite=True), random_images(70)
    path = save_checkpoint(folder / 'model.ckpt', public.hikapok(net))
    pixels = minus(images, (104, 117, 123), 'BGR')
    features = public.run(public.residual, net, pixels, stride, 'same', 1e-5, channels.get('groups', 1))
    return Case(path, source, images, features)


def old_keras_resnet50(folder):
    """Writes a file with biases. The oracle has none, so they are subtracted from its moving means."""
    net, images = public.random_residual(**RESIDUAL), random_images(70)
    layers = public.old_keras_residual(net, biases=8)
    with h5py.File(folder / 'resnet50.h5', 'w') as file:
        file.attrs['layer_names'] = [name.encode() for name in ('input_1', *layers)]
        file.create_group('input_1').attrs['weight_names'] = []
        for name, arrays in layers.items():
            kinds = ('W', 'b') if len(arrays) == 2 else ('gamma', 'beta', 'running_mean', 'running_std')
            names = [f'{name}_{kind}:0' for kind in kinds]
            group = file.create_group(name)
            group.attrs['weight_names'] = [part.encode() for part in names]
            for part, array in zip(names, arrays, strict=True):
                group[part] = array
    shifted = dict(net)
    convolutions = {key: key for key in net if isinstance(key, tuple) and key[2].startswith('conv')}
    for key in ['conv', *convolutions, *[key for key in net if key[-1] == 'shortcut']]:
        norm = 'norm' if key == 'conv' else (*key[:2], key[2].replace('conv', 'norm').replace('cut', 'cut_norm'))
        branch = {'conv1': '2a', 'conv2': '2b', 'conv3': '2c', 'shortcut': '1'}
        name = 'conv1' if key == 'conv' else f'res{key[0] + 1}{"abcdef"[key[1] - 1]}_branch{branch[key[2]]}'
        gamma, beta, mean, variance = net[norm]
        shifted[norm] = [gamma, beta, mean - layers[name][1], variance]
    pixels = minus(images, (103.939, 116.779, 123.68), 'BGR')
    features = public.run(public.residual, shifted, pixels, 'conv1', 'around', 1e-3)
    return Case(folder / 'resnet50.h5', 'Keras ResNet50 of before 2019', images, features)


def torch_densenet121(folder):
    """Writes the keys of today's torchvision, and those of its published file."""
    net, images = public.random_dense(growth=2, stem=4), random_images(70)
    path, old = folder / 'densenet121.safetensors', folder / 'old.safetensors'
    save_file(public.torch_dense(net, old_names=False), path)
    save_file(public.torch_dense(net, old_names=True), old)
    features = public.run(public.dense, net, torch_pixels(images), True, 1e-5)
    return Case(path, 'torchvision densenet121', images, features, same=(old,))


def pudae_densenet121(folder):
    net, images = public.random_dense(growth=2, stem=4), random_images(70)
    path = save_checkpoint(folder / 'tf-densenet121.ckpt', public.pudae(net))
    features = public.run(public.dense, net, minus(images, (123.68, 116.78, 103.94)) * 0.017, False, 1.1e-5)
    return Case(path, 'pudae tf-densenet121', images, features)


def torch_vgg16(folder):
    net, images = public.random_vgg(**VGG, map_size=2), random_images(70)
    save_file(public.torch_vgg(net), folder / 'vgg16.safetensors')
    features = public.run(public.vgg, net, torch_pixels(images), 'VALID')
    return Case(folder / 'vgg16.safetensors', 'torchvision vgg16', images, features)


def affwild_vgg_face(folder, recurrent=False, units=None):
    net, images = public.random_vgg(**VGG, map_size=3), random_images(70)  # SAME pools halve 70 to 3
    if units:
        weights, biases = net['fc7']
        net |= {'fc7': (weights[:, :units], biases[:units]), 'fc8': (net['fc8'][0][:units], net['fc8'][1])}
    path = save_checkpoint(folder / 'model.ckpt-7', public.affwild(net, recurrent))
    features = public.run(public.vgg, net, affwild_pixels(images), 'SAME')
    return Case(path, 'Aff-Wild VGG-Face', images, features, fresh=('fc7', 'fc8') if recurrent or units else ())


def affwild_pixels(images):
    return minus(images, (128, 128, 128)) / 128


def affwild_vgg_face_gru(folder):
    return affwild_vgg_face(folder, recurrent=True)


def affwild_vgg_face_2000(folder):
    """Writes a second dense layer of 2000 units for 4096, at the width of the rest."""
    return affwild_vgg_face(folder, units=125)._replace(source='Aff-Wild VGG-Face, 2000 units')


def matlab_cell(values):
    cell = np.empty((1, len(values)), object)
    cell[0, :] = values
    return cell


MATCONVNET_FORMS = ('net', 'top', 'fields', 'dagnn')


def write_matconvnet(path, form, net, mean):
    """Writes a SimpleNN in the form of Oxford (`net`), of vlfeat.org (`top`) or before 2015 (`fields`), or a DagNN."""
    layers, params = [], []
    for key, (kernel, biases) in net.items():
        name = key if isinstance(key, str) else f'conv{key[0]}_{key[1]}'
        if name == 'fc6':
            kernel = kernel.reshape(2, 2, 32, -1)
        elif name.startswith('fc'):
            kernel = kernel[None, None]
        biases = biases[None] if form == 'net' else biases[:, None]
        layer = {'name': name, 'type': 'conv', 'pad': 1.0}
        if form == 'fields':
            layer |= {'filters': kernel, 'biases': biases}
        elif form == 'dagnn':
            layer |= {'params': matlab_cell([f'{name}f', f'{name}b'])}
            params += [{'name': f'{name}f', 'value': kernel}, {'name': f'{name}b', 'value': biases}]
        else:
            layer |= {'weights': matlab_cell([kernel, biases])}
        layers.append(layer)
        if form != 'dagnn':
            layers.append({'name': f'relu{name[-3:]}', 'type': 'relu'})
    normalization = {'averageImage': np.array(mean, np.float32).reshape(1, 1, 3), 'imageSize': [70.0, 70.0, 3.0]}
    content = {'layers': matlab_cell(layers), 'meta': {'normalization': normalization}}
    if form == 'dagnn':
        content['params'] = matlab_cell(params)
    if form == 'fields':
        content = {'layers': content['layers'], 'normalization': normalization}
    scipy.io.savemat(path, content if form == 'top' else {'net': content})


def matconvnet(folder):
    net, images, mean = public.random_vgg(**VGG, map_size=2), random_images(70), (120.5, 101.25, 90.0)
    paths = [folder / f'{form}.mat' for form in MATCONVNET_FORMS]
    for path, form in zip(paths, MATCONVNET_FORMS, strict=True):
        write_matconvnet(path, form, net, mean)
    features = public.run(public.vgg, net, minus(images, mean), 'VALID')
    return Case(paths[0], 'VGG-Face MatConvNet', images, features, same=tuple(paths[1:]))


def keras_oracle(folder, name, size=64):
    run(ROOT / 'tests' / 'keras_oracle.py', name, size, folder)
    with np.load(folder / 'oracle.npz') as oracle:
        return dict(oracle)


def keras(folder, name):
    """Writes the classic file, a file without layers' names, and the whole model, which have equal values."""
    oracle = keras_oracle(folder, name)
    path, *same = (folder / file for file in ('weights.h5', 'order.weights.h5', 'whole.h5') if (folder / file).exists())
    return Case(
        path, f'Keras {name}', oracle['images'], oracle['features'], 1.0, logits=oracle['logits'], same=tuple(same)
    )


def slim_nasnet_name(layer, number, cells):
    """Returns slim's name of an array of Keras' NASNet, by the table of Keras' own weight translation."""
    norm = ('gamma', 'beta', 'moving_mean', 'moving_variance')[number]
    fixed = {'stem_conv1': 'conv0/weights', 'stem_bn1': f'conv0_bn/{norm}'}
    fixed['predictions'] = f'final_layer/FC/{"weights" if number == 0 else "biases"}'
    if layer in fixed:
        return fixed[layer]
    kind, place = re.fullmatch(r'(.*?)_(stem_\d|reduce_\d+|\d+)', layer).groups()
    if place.startswith('stem'):
        cell = f'cell_stem_{int(place[-1]) - 1}'
    elif place.startswith('reduce'):
        cell = f'reduction_cell_{int(place[7:]) // cells - 1}'
    else:
        cell = f'cell_{int(place) - (int(place) > cells)}'
    simple = {
        'conv_1': '1x1/weights',
        'bn_1': f'beginning_bn/{norm}',
        'adjust_conv_1': 'path1_conv/weights',
        'adjust_conv_2': 'path2_conv/weights',
        'adjust_conv_projection': 'prev_1x1/weights',
    }
    kind = re.sub('^(normal|reduction)_(conv|bn)', r'\2', kind)
    if kind in simple:
        return f'{cell}/{simple[kind]}'
    if kind == 'adjust_bn':
        halved = place in ('stem_2', '0') or place == str(cells + 1) or place == str(2 * cells + 1)
        return f'{cell}/{"final_path_bn" if halved else "prev_bn"}/{norm}'
    part, bn, where = re.fullmatch(r'separable_conv_(\d)_(bn_)?(.*)', kind).groups()
    step, side, size = {
        'normal_left1': (0, 'left', 5),
        'normal_right1': (0, 'right', 3),
        'normal_left2': (1, 'left', 5),
        'normal_right2': (1, 'right', 3),
        'normal_left5': (4, 'left', 3),
        'reduction_left1': (0, 'left', 5),
        'reduction_right1': (0, 'right', 7),
        'reduction_right2': (1, 'right', 7),
        'reduction_right3': (2, 'right', 5),
        'reduction_left4': (4, 'left', 3),
    }[where]
    path = f'{cell}/comb_iter_{step}/{side}'
    if bn:
        return f'{path}/bn_sep_{size}x{size}_{part}/{norm}'
    return f'{path}/separable_{size}x{size}_{part}/{("depthwise_weights", "pointwise_weights")[number]}'


def slim_nasnet(folder, keras_name='NASNetMobile', cells=4, averages=True):
    """Writes Keras' NASNet under slim's names. With `averages`, the plain names have weights that were not evaluated.

    Keras' own files must give equal values. The features are equal only with Keras' pools.
    """
    oracle = keras_oracle(folder, keras_name)
    values = {'global_step': np.array(5, np.int64), 'aux_7/aux_logits/FC/biases': np.ones(6, np.float32)}
    with h5py.File(folder / 'weights.h5') as file:
        for layer in file.attrs['layer_names']:
            for number, name in enumerate(file[layer].attrs['weight_names']):
                key, array = slim_nasnet_name(layer, number, cells), file[layer][name][()]
                if layer == 'predictions':
                    array = np.concatenate([np.full_like(array[..., :1], 9), array], -1)  # class 0: background
                if averages and 'moving_' not in key:
                    values |= {f'{key}/ExponentialMovingAverage': array, key: array + 1, f'{key}/RMSProp': array}
                else:
                    values[key] = array
    path = save_checkpoint(folder / 'model.ckpt', values)
    name = 'slim nasnet-a_mobile' if cells == 4 else 'slim nasnet-a_large'
    same = (folder / 'weights.h5', folder / 'order.weights.h5')
    return Case(path, name, oracle['images'], oracle['features'], 1.0, 'zeros', oracle['logits'], same)


# All except those whose networks take Keras minutes.
CASES = {
    'slim resnet_v1_50': slim_resnet50,
    'torchvision resnet50': lambda folder: torch_residual(folder, 'torchvision resnet50', RESIDUAL, gates=False),
    'torchvision resnet18': torch_resnet18,
    'torchvision vgg16': torch_vgg16,
    'HiKapok se_resnet50': lambda folder: hikapok(folder, 'HiKapok se_resnet50', RESIDUAL, 'conv1'),
    'Aff-Wild VGG-Face': affwild_vgg_face,
    'VGG-Face MatConvNet': matconvnet,
    'timm seresnet50': lambda folder: torch_residual(folder, 'timm seresnet50', RESIDUAL),
    'timm seresnext50_32x4d': lambda folder: torch_residual(folder, 'timm seresnext50_32x4d', NEXT),
    'timm legacy_seresnet50': lambda folder: torch_residual(
        folder, 'timm legacy_seresnet50', RESIDUAL, 'conv1', 'after', public.legacy_residual
    ),
    'timm legacy_seresnext50_32x4d': lambda folder: torch_residual(
        folder, 'timm legacy_seresnext50_32x4d', NEXT, 'conv2', 'after', public.legacy_residual
    ),
    'HiKapok se_resnext50': lambda folder: hikapok(folder, 'HiKapok se_resnext50', NEXT, 'conv2'),
    'Aff-Wild VGG-Face-GRU': affwild_vgg_face_gru,
    'Aff-Wild VGG-Face, 2000 units': affwild_vgg_face_2000,
    'Keras ResNet50 of before 2019': old_keras_resnet50,
}
SLOW = {
    'pudae tf-densenet121': pudae_densenet121,
    'Keras ResNet50': lambda folder: keras(folder, 'ResNet50'),
    'torchvision densenet121': torch_densenet121,
    'Keras VGG16': lambda folder: keras(folder, 'VGG16'),
    'Keras DenseNet121': lambda folder: keras(folder, 'DenseNet121'),
    'Keras NASNetMobile': lambda folder: keras(folder, 'NASNetMobile'),
    'Keras NASNetLarge': lambda folder: keras(folder, 'NASNetLarge'),
    'slim nasnet-a_mobile': slim_nasnet,
    'slim nasnet-a_large': lambda folder: slim_nasnet(folder, 'NASNetLarge', 6),
}


@pytest.mark.parametrize('name', [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_weights_give_their_sources_features(name, tmp_path):
    """Features and damage are in one test, because the files of some cases take long to write."""
    case = {**CASES, **SLOW}[name](tmp_path)
    weights = open_weights(str(case.path))
    assert weights.source.name == case.source
    network = weights.source.network
    convention = weights.convention
    with tf.Graph().as_default(), one_shot_session() as session:
        features, end_points = NETWORKS[network].build(
            tf.constant(case.images),
            num_classes=num_classes(weights) or 3,
            width=case.width,
            global_pool=network != 'vgg_face',
            convention=convention._replace(pool=case.pool or convention.pool),
        )
        (report,) = initialise(session, [Origin(network, weights, '')], allow_missing=False)
        found, logits = session.run([features, end_points['logits']])
        assert np.abs(found).max() > 0
        np.testing.assert_allclose(found, case.features, rtol=1e-4, atol=1e-4 * np.abs(case.features).max())
        if case.logits is not None:
            assert num_classes(weights) == case.logits.shape[1]
            np.testing.assert_allclose(logits, case.logits, rtol=1e-4, atol=2e-4 * np.abs(case.logits).max())
        assert {row.name.split('/')[1] for row in report.variables if row.state != 'restored'} == set(case.fresh)
        for path in case.same:
            other = open_weights(str(path))
            assert other.convention == convention or other.source.name != case.source
            for ours, take in weights.source.table.items():
                np.testing.assert_array_equal(
                    read_value(other, other.source.table[ours]), read_value(weights, take), ours
                )
        for damage in ('renamed', 'missing', 'misshapen', 'NaN'):
            assert_caught_by_name(session, weights, damage)


def assert_caught_by_name(session, weights, damage):
    """Damages a tensor in the middle of the network and checks that the error names it."""
    tensors = weights.tensors
    names = sorted(ours for ours in weights.source.table if ours.endswith(('gamma', 'conv3_2/biases')))
    victim = names[len(names) // 2]
    key = weights.source.table[victim].names[0]
    actual = weights.names[key]
    shapes = {name: shape for name, shape in tensors.shapes.items() if name != actual}
    shape = tensors.shapes[actual]
    if damage == 'renamed':
        shapes[f'{actual}_old'] = shape
    elif damage == 'misshapen':
        shapes[actual] = (shape[0] + 1,)
    elif damage == 'NaN':
        shapes[actual] = shape

    def read(name):  # called after names and shapes are checked
        array = tensors.read(name)
        return np.full_like(array, np.nan) if name == actual else array

    def restore(damaged):
        initialise(session, [Origin(weights.source.network, identify(damaged), '')], allow_missing=False)

    with pytest.raises(InputError) as caught:
        restore(tensors._replace(shapes=shapes, read=read))
    (line,) = str(caught.value).splitlines()
    expected = {
        'renamed': (victim, f'{actual}_old'),
        'missing': (victim, f'no {key}'),
        'misshapen': (victim, str([shape[0] + 1])),
        'NaN': (actual, 'NaN'),
    }[damage]
    for text in expected:
        assert text in line


def test_dense_layers_missing_in_file_are_fresh(tmp_path):
    """The file is Keras' no-top VGG16 with array names of 2016. SE blocks, which no public weights have, are fresh."""
    net, images = public.random_vgg(**VGG, map_size=1), random_images(40)
    convolutions = {f'block{key[0]}_conv{key[1]}': arrays for key, arrays in net.items() if isinstance(key, tuple)}
    with h5py.File(tmp_path / 'notop.h5', 'w') as file:
        file.attrs['layer_names'] = [name.encode() for name in convolutions]
        for name, arrays in convolutions.items():
            group = file.create_group(name)
            group.attrs['weight_names'] = [f'{name}_W_1:0'.encode(), f'{name}_b_1:0'.encode()]
            group[f'{name}_W_1:0'], group[f'{name}_b_1:0'] = arrays
    weights = open_weights(str(tmp_path / 'notop.h5'))
    assert (weights.source.name, num_classes(weights)) == ('Keras VGG16', 0)
    with tf.Graph().as_default(), one_shot_session() as session:
        NETWORKS['vgg_face'].build(tf.constant(images), width=WIDTH, convention=weights.convention, se=True)
        (report,) = initialise(session, [Origin('vgg_face', weights, '')], allow_missing=False)
        (middle,) = (v for v in tf.trainable_variables() if v.op.name == 'vgg_face/conv3/conv3_2/weights')
        found = session.run(middle)
    assert {row.name.split('/')[1] for row in report.variables if row.state == 'fresh'} == {'fc6', 'fc7', 'fc8', 'se'}
    assert {row.state for row in report.variables} == {'restored', 'fresh'}
    np.testing.assert_array_equal(found, net[3, 2][0])


def test_own_checkpoint_needs_its_convention_file(tmp_path):
    """The checkpoint is not confused with pudae's, whose scope has the same name."""
    convention = TORCH._replace(epsilon=0.5)
    with tf.Graph().as_default(), one_shot_session() as session:
        NETWORKS['densenet121'].build(tf.constant(random_images(40)), num_classes=4, width=WIDTH, convention=convention)
        session.run(tf.global_variables_initializer())
        folder = tmp_path / 'of.data-sets'  # a name like that of a checkpoint's data
        folder.mkdir()
        tf.train.Saver().save(session, str(folder / 'model.ckpt'), global_step=3, write_meta_graph=False)
        with pytest.raises(InputError, match=r'a checkpoint of this project \(densenet121\) without convention.json'):
            open_weights(str(folder / 'model.ckpt-3'))
        write_convention(folder, 'densenet121', convention, 'fresh')
        for path in ('model.ckpt-3', 'model.ckpt-3.index', 'model.ckpt-3.data-00000-of-00001', ''):
            weights = open_weights(str(folder / path))
            assert (weights.source.name, weights.source.network) == ('this project', 'densenet121')
            assert weights.convention == convention
        assert num_classes(weights) == 4
        (report,) = initialise(session, [Origin('densenet121', weights, '')], allow_missing=False)
    assert {row.state for row in report.variables} == {'restored'}


@functools.cache
def built(network, convention, size=70, **options):
    """Returns the graph of a narrow network, built once for all tests of one worker."""
    with tf.Graph().as_default() as graph:
        NETWORKS[network].build(tf.constant(random_images(size)), width=WIDTH, convention=convention, **options)
    return graph


def restore(weights, network, **options):
    """Returns {layer: states} of each layer that is not restored."""
    with built(network, weights.convention, **options).as_default(), one_shot_session() as session:
        (report,) = initialise(session, [Origin(network, weights, '')], allow_missing=False)
    states = {}
    for row in report.variables:
        states.setdefault(row.name.split('/')[1], set()).add(row.state)
    return {layer: found for layer, found in states.items() if found != {'restored'}}


def test_layers_are_fresh_as_a_whole(tmp_path):
    """A layer never gets fresh weights with restored biases."""
    save_file(public.torch_vgg(public.random_vgg(**VGG, map_size=2)), tmp_path / 'vgg16.safetensors')
    vgg = open_weights(str(tmp_path / 'vgg16.safetensors'))
    assert restore(vgg, 'vgg_face', num_classes=5) == {}
    assert restore(vgg, 'vgg_face', num_classes=7) == {'fc8': {'fresh'}}
    assert restore(vgg, 'vgg_face', num_classes=5, size=40) == {'fc6': {'fresh'}}  # a map of 1x1
    save_file(public.torch_residual(public.random_residual(**RESIDUAL)), tmp_path / 'resnet50.safetensors')
    resnet = open_weights(str(tmp_path / 'resnet50.safetensors'))
    assert restore(resnet, 'resnet50', num_classes=5) == {}
    assert restore(resnet, 'resnet50', num_classes=5, global_pool=False) == {'logits': {'fresh'}}
    assert restore(resnet, 'resnet50', num_classes=7, global_pool=False) == {'logits': {'fresh'}}


@pytest.mark.parametrize(
    ('name', 'damaged'),
    [
        ('fc.weight', np.ones((5, 3), np.float32)),  # fits no map
        ('fc.weight', np.ones((4, 128), np.float32)),  # the biases have other classes
        ('fc.weight', np.float32(1)),
        ('fc.weight', None),
        ('fc.bias', np.ones((5, 1), np.float32)),
        ('layer4.2.bn3.bias', np.float64(1e300) * np.ones(128)),
    ],
)
def test_damaged_classifier_is_never_taken_for_fresh(tmp_path, name, damaged):
    state = public.torch_residual(public.random_residual(**RESIDUAL))
    state[name] = np.asarray(damaged)
    if damaged is None:
        del state[name]
    save_file(state, tmp_path / 'resnet50.safetensors')
    weights = open_weights(str(tmp_path / 'resnet50.safetensors'))
    for classes in (5, 7, num_classes(weights) or 1):
        with pytest.raises(InputError, match=re.escape(name)):
            restore(weights, 'resnet50', num_classes=classes)


@pytest.mark.parametrize('shape', [(), (0,)])
def test_tensor_of_wrong_rank_is_refused(tmp_path, shape):
    """The number of these biases determines the layout of fc6."""
    state = public.torch_vgg(public.random_vgg(**VGG, map_size=2))
    save_file(state | {'features.28.bias': np.zeros(shape, np.float32)}, tmp_path / 'vgg16.safetensors')
    with pytest.raises(InputError, match='cannot be converted'):
        restore(open_weights(str(tmp_path / 'vgg16.safetensors')), 'vgg_face')


def test_biases_of_other_shape_are_not_subtracted():
    with pytest.raises(ValueError, match='1,'):
        subtract_biases(np.zeros(4), np.zeros(1))


@pytest.mark.parametrize(('source', 'published'), [('Keras ResNet50', 'probs'), ('Keras DenseNet121', 'fc1000')])
def test_published_keras_classifier_names_are_accepted(source, published):
    """They differ from the names in Keras' code, which loads by order."""
    (row,) = (row for row in SOURCES if row.name == source)
    keys = {name for take in row.table.values() for name in take.names}
    shapes = {key.replace('predictions/', f'{published}/'): (1,) for key in keys}
    assert f'{published}/1' in shapes
    weights = identify(Tensors('x', KERAS, shapes, {}.__getitem__))
    assert weights.source is row
    assert set(weights.names) == keys


def test_nan_in_an_unused_tensor_is_refused(tmp_path):
    """The tensor is the file's classifier, whose classes differ from the network's."""
    net = public.random_vgg(**VGG, map_size=2)
    net['fc8'][1][2] = np.nan
    save_file(public.torch_vgg(net), tmp_path / 'vgg16.safetensors')
    weights = open_weights(str(tmp_path / 'vgg16.safetensors'))
    with tf.Graph().as_default(), one_shot_session() as session:
        NETWORKS['vgg_face'].build(tf.constant(random_images(70)), width=WIDTH, convention=weights.convention)
        with pytest.raises(InputError, match=r'classifier\.6\.bias has 1 values that are NaN'):
            initialise(session, [Origin('vgg_face', weights, '')], allow_missing=False)


def test_affwilds_resnet_is_told_from_slims():
    """Their names are equal, except a GRU instead of a classifier. Their pixels differ."""
    (slims,) = (source for source in SOURCES if source.name == 'slim resnet_v1_50')
    shapes = {take.names[0]: (1,) for take in slims.table.values() if 'logits' not in take.names[0]}
    tensors = Tensors('x', CHECKPOINT, shapes, {}.__getitem__)
    assert identify(tensors).source is slims
    weights = identify(tensors._replace(shapes={**shapes, 'rnn/weights_output': (128, 2)}))
    assert weights.source.name == 'Aff-Wild ResNet-50 with GRU'
    assert weights.convention.mean == (128, 128, 128)


def test_torch_is_not_needed():
    assert 'torch' not in sys.modules
