# SPDX-License-Identifier: Apache-2.0
"""Networks of keras.applications: VGG16, ResNet50 (old names and new), DenseNet121, NASNetLarge, NASNetMobile.

Names: keras/src/applications of Keras 2.15 and, for the ResNet50 published until 2019, keras_applications 1.0.8.

Each network is a list of layers in the order of `model.layers`, because files without layers' names (keras_hdf5.py) are
read in this order. It is equal in Keras 2.15 and 3.15. Within a residual unit and within a cell of NASNet, layers are
in order of depth, so shortcuts come in between.

The classifiers of the published ResNet50 and DenseNet121 files have older names than the code that loads them by order:
`probs` and `fc1000`. keras_applications 1.0 has both names, and the same hashes of the files.

Keras' ResNet50 has biases before batch normalisation. They are subtracted from the moving mean, which gives equal
results.
"""

from collections.abc import Iterator
from typing import NamedTuple

from fer.nets.conventions import Convention
from fer.nets.nasnet import LARGE, MOBILE, Size
from fer.nets.nasnet import SLIM as SLIM_NASNET
from fer.nets.vgg_face import BLOCKS as VGG_BLOCKS
from fer.nets.weights.source import (
    NORM,
    Source,
    Table,
    Take,
    dense_layers,
    nasnet_cells,
    residual_units,
    subtract_biases,
)
from fer.nets.weights.tensors import KERAS, KERAS_ORDER

CAFFE_MEAN = (103.939, 116.779, 123.68)  # B, G, R
IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


class Layer(NamedTuple):
    """A layer with weights."""

    kind: str  # Keras' class, by which files number layers
    ours: str  # our scope
    theirs: str  # Keras' name
    biases_of: str = ''  # the layer before a batch normalisation, if it has biases


def _conv(ours: str, theirs: str) -> Layer:
    return Layer('conv2d', ours, theirs)


def _norm(ours: str, theirs: str, biases_of: str = '') -> Layer:
    return Layer('batch_normalization', ours, theirs, biases_of)


def _vgg16() -> Iterator[Layer]:
    for block, (convolutions, _) in enumerate(VGG_BLOCKS, start=1):
        for layer in range(1, convolutions + 1):
            yield Layer('biased_conv2d', f'conv{block}/conv{block}_{layer}', f'block{block}_conv{layer}')
    for ours, theirs in (('fc6', 'fc1'), ('fc7', 'fc2'), ('fc8', 'predictions')):
        yield Layer('dense', ours, theirs)


def _resnet50() -> Iterator[Layer]:
    yield _conv('conv1', 'conv1_conv')
    yield _norm('conv1/BatchNorm', 'conv1_bn', 'conv1_conv')
    for block, unit in residual_units():
        ours, theirs = f'block{block}/unit_{unit}', f'conv{block + 1}_block{unit}'
        for layer in (1, 2):
            yield _conv(f'{ours}/conv{layer}', f'{theirs}_{layer}_conv')
            yield _norm(f'{ours}/conv{layer}/BatchNorm', f'{theirs}_{layer}_bn', f'{theirs}_{layer}_conv')
        last = [('shortcut', 0), ('conv3', 3)] if unit == 1 else [('conv3', 3)]
        for name, layer in last:
            yield _conv(f'{ours}/{name}', f'{theirs}_{layer}_conv')
        for name, layer in last:
            yield _norm(f'{ours}/{name}/BatchNorm', f'{theirs}_{layer}_bn', f'{theirs}_{layer}_conv')
    yield Layer('dense', 'logits', 'predictions')


def _old_resnet50() -> Iterator[Layer]:
    yield _conv('conv1', 'conv1')
    yield _norm('conv1/BatchNorm', 'bn_conv1', 'conv1')
    for block, unit in residual_units():
        ours, theirs = f'block{block}/unit_{unit}', f'{block + 1}{"abcdef"[unit - 1]}_branch'
        branches = [('conv1', '2a'), ('conv2', '2b'), ('conv3', '2c'), *([('shortcut', '1')] if unit == 1 else [])]
        for name, branch in branches:
            yield _conv(f'{ours}/{name}', f'res{theirs}{branch}')
            yield _norm(f'{ours}/{name}/BatchNorm', f'bn{theirs}{branch}', f'res{theirs}{branch}')
    yield Layer('dense', 'logits', 'fc1000')


def _densenet121() -> Iterator[Layer]:
    yield _conv('conv1', 'conv1_conv')
    yield _norm('conv1/BatchNorm', 'conv1_bn')
    for block, layer in dense_layers():
        if layer == 1 and block > 1:
            yield _norm(f'transition{block - 1}/norm', f'pool{block}_bn')
            yield _conv(f'transition{block - 1}/conv', f'pool{block}_conv')
        ours, theirs = f'block{block}/layer{layer}', f'conv{block + 1}_block{layer}'
        yield _norm(f'{ours}/norm1', f'{theirs}_0_bn')
        yield _conv(f'{ours}/conv1', f'{theirs}_1_conv')
        yield _norm(f'{ours}/norm2', f'{theirs}_1_bn')
        yield _conv(f'{ours}/conv2', f'{theirs}_2_conv')
    yield _norm('norm5', 'bn')
    yield Layer('dense', 'logits', 'predictions')


# Separable convolutions of a cell, by depth: our step and side, Keras' name, first or second. The last step of a
# reduction has Keras' name left4, like the pool of the step before.
_NORMAL = [
    (ours, theirs, part)
    for part in (1, 2)
    for ours, theirs in (
        ('step_1/left', 'normal_left1'),
        ('step_1/right', 'normal_right1'),
        ('step_2/left', 'normal_left2'),
        ('step_2/right', 'normal_right2'),
        ('step_5/left', 'normal_left5'),
    )
]
_REDUCTION = [
    ('step_1/left', 'reduction_left1', 1),
    ('step_1/right', 'reduction_right1', 1),
    ('step_1/left', 'reduction_left1', 2),
    ('step_1/right', 'reduction_right1', 2),
    ('step_2/right', 'reduction_right2', 1),
    ('step_3/right', 'reduction_right3', 1),
    ('step_5/left', 'reduction_left4', 1),
    ('step_2/right', 'reduction_right2', 2),
    ('step_3/right', 'reduction_right3', 2),
    ('step_5/left', 'reduction_left4', 2),
]


def _nasnet(size: Size) -> Iterator[Layer]:
    yield _conv('conv0', 'stem_conv1')
    yield _norm('conv0/BatchNorm', 'stem_bn1')
    for cell in nasnet_cells(size):
        if cell.scope.startswith('stem'):
            name = cell.scope
        elif cell.kind == 'reduction':
            name = f'reduce_{cell.normals}'
        else:  # the first reduction uses up a number, the second does not
            name = str(cell.number + (cell.number >= size.cells))
        first = (
            _conv(f'{cell.scope}/input', f'{cell.kind}_conv_1_{name}'),
            _norm(f'{cell.scope}/input/BatchNorm', f'{cell.kind}_bn_1_{name}'),
        )
        adjusts = {
            '': [],
            'path': [_conv(f'{cell.scope}/previous/path_{n}', f'adjust_conv_{n}_{name}') for n in (1, 2)],
            'project': [_conv(f'{cell.scope}/previous', f'adjust_conv_projection_{name}')],
        }[cell.previous]
        adjust_norms = [_norm(f'{cell.scope}/previous/BatchNorm', f'adjust_bn_{name}')] if cell.previous else []
        if cell.kind == 'normal':
            yield from (*adjusts, first[0], *adjust_norms, first[1])
        elif cell.previous == 'path':
            yield from (*adjusts, *first, *adjust_norms)
        else:
            yield from (first[0], *adjusts, first[1], *adjust_norms)
        for ours, theirs, part in _NORMAL if cell.kind == 'normal' else _REDUCTION:
            scope = f'{cell.scope}/{ours}/separable_{part}'
            yield Layer('separable_conv2d', scope, f'separable_conv_{part}_{theirs}_{name}')
            yield _norm(f'{scope}/BatchNorm', f'separable_conv_{part}_bn_{theirs}_{name}')
    yield Layer('dense', 'logits', 'predictions')


_ARRAYS = {
    'conv2d': ('weights',),
    'biased_conv2d': ('weights', 'biases'),
    'dense': ('weights', 'biases'),
    'batch_normalization': NORM,
    'separable_conv2d': ('depthwise_weights', 'pointwise_weights'),
}


def _table(layers: list[Layer]) -> Table:
    table: Table = {}
    for layer in layers:
        for number, kind in enumerate(_ARRAYS[layer.kind]):
            table[f'{layer.ours}/{kind}'] = Take((f'{layer.theirs}/{number}',))
        if layer.biases_of:
            table[f'{layer.ours}/moving_mean'] = Take((f'{layer.theirs}/2', f'{layer.biases_of}/1'), subtract_biases)
    return table


def _source(
    name: str,
    network: str,
    layers: Iterator[Layer],
    convention: Convention,
    image_size: int,
    kinds: tuple[str, ...] = (KERAS, KERAS_ORDER),
    absent: tuple[str, ...] = (),
    published_classifier: str = 'predictions',
) -> Source:
    """Returns a row of SOURCES from the layers of a network."""
    rows = list(layers)
    names: dict[str, str] = {}  # conv2d_12 to the name of the thirteenth Conv2D
    counts: dict[str, int] = {}
    for layer in rows:
        kind = layer.kind.removeprefix('biased_')
        count = counts.get(kind, 0)
        names[f'{kind}_{count}' if count else kind] = layer.theirs
        counts[kind] = count + 1

    def key(tensor: str, kind: str) -> str:
        layer, _, number = tensor.rpartition('/')
        if kind == KERAS_ORDER:
            return f'{names.get(layer, layer)}/{number}'
        if layer == published_classifier:
            layer = rows[-1].theirs
        return f'{layer.replace("/", "_")}/{number}'  # DenseNet's names had slashes until Keras 3

    return Source(name, network, kinds, convention, image_size, _table(rows), absent=absent, key=key)


_VGG = Convention(order='BGR', mean=CAFFE_MEAN, std=(1.0, 1.0, 1.0))
_RESNET = _VGG._replace(stride='first_1x1', epsilon=1.001e-5)
_DENSENET = Convention('symmetric', 'symmetric', epsilon=1.001e-5, mean=IMAGENET_MEAN, std=IMAGENET_STD)
_NASNET = SLIM_NASNET._replace(pool='zeros')

SOURCES = (
    _source('Keras VGG16', 'vgg_face', _vgg16(), _VGG, 224, absent=('fc6', 'fc7')),
    _source('Keras ResNet50', 'resnet50', _resnet50(), _RESNET, 224, published_classifier='probs'),
    _source(
        'Keras ResNet50 of before 2019', 'resnet50', _old_resnet50(), _RESNET._replace(epsilon=1e-3), 224, (KERAS,)
    ),
    _source('Keras DenseNet121', 'densenet121', _densenet121(), _DENSENET, 224, published_classifier='fc1000'),
    _source('Keras NASNetLarge', 'nasnet', _nasnet(LARGE), _NASNET, 331),
    _source('Keras NASNetMobile', 'nasnet_mobile', _nasnet(MOBILE), _NASNET, 224),
)
