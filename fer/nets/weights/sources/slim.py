# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of slim: resnet_v1_50_2016_08_28, nasnet-a_large_04_10_2017, nasnet-a_mobile_04_10_2017.

Names: tensorflow/models, research/slim (nets/resnet_v1.py, nets/nasnet/nasnet.py). ResNet-50 is Kaiming He's Caffe
network, converted by slim's authors.

The names in NASNet's files are known from issue threads and from a converter written for them
(titu1994/Keras-NASNet). Files of October 2017 have moving averages only, later ones have weights and averages. The
classifier is `FC` or `fully_connected`. All of these are accepted. The moving averages are preferred, because they are
the weights that were evaluated.
"""

from fer.nets import resnet
from fer.nets.nasnet import LARGE, MOBILE, NORMAL, REDUCTION, Size
from fer.nets.nasnet import SLIM as SLIM_NASNET
from fer.nets.weights.source import (
    NORM,
    TRAINING_STATE,
    Source,
    Table,
    Take,
    nasnet_cells,
    residual_units,
    to_dense,
    without_background,
)
from fer.nets.weights.tensors import CHECKPOINT

VGG_MEAN = (123.68, 116.78, 103.94)
_AVERAGE = '/ExponentialMovingAverage'


def _norm(ours: str, theirs: str) -> Table:
    return {f'{ours}/BatchNorm/{kind}': Take((f'{theirs}/{kind}',)) for kind in NORM}


def _conv_norm(ours: str, theirs: str) -> Table:
    return {f'{ours}/weights': Take((f'{theirs}/weights',)), **_norm(ours, f'{theirs}/BatchNorm')}


def resnet50_body() -> Table:
    """Returns the table of ResNet-50 without its classifier."""
    table = _conv_norm('conv1', 'resnet_v1_50/conv1')
    for block, unit in residual_units():
        path = f'block{block}/unit_{unit}'
        for layer in ('conv1', 'conv2', 'conv3', *(['shortcut'] if unit == 1 else [])):
            table |= _conv_norm(f'{path}/{layer}', f'resnet_v1_50/{path}/bottleneck_v1/{layer}')
    return table


def _resnet50() -> Table:
    return {
        **resnet50_body(),
        'logits/weights': Take(('resnet_v1_50/logits/weights',), to_dense),
        'logits/biases': Take(('resnet_v1_50/logits/biases',)),
    }


def _nasnet(size: Size) -> Table:
    table = {'conv0/weights': Take(('conv0/weights',)), **_norm('conv0', 'conv0_bn')}
    for cell in nasnet_cells(size):
        prefix = {'stem': 'cell_stem', 'reduction': 'reduction_cell', 'cell': 'cell'}[cell.scope.split('_')[0]]
        ours, theirs = cell.scope, f'{prefix}_{cell.number}'
        table[f'{ours}/input/weights'] = Take((f'{theirs}/1x1/weights',))
        table |= _norm(f'{ours}/input', f'{theirs}/beginning_bn')
        if cell.previous == 'path':
            for path in (1, 2):
                table[f'{ours}/previous/path_{path}/weights'] = Take((f'{theirs}/path{path}_conv/weights',))
            table |= _norm(f'{ours}/previous', f'{theirs}/final_path_bn')
        elif cell.previous == 'project':
            table[f'{ours}/previous/weights'] = Take((f'{theirs}/prev_1x1/weights',))
            table |= _norm(f'{ours}/previous', f'{theirs}/prev_bn')
        steps = (NORMAL if cell.kind == 'normal' else REDUCTION).steps
        for number, step in enumerate(steps):
            for side, operation in (('left', step.left), ('right', step.right)):
                if not operation.startswith('sep'):
                    continue
                kernel = operation.removeprefix('sep')
                for part in (1, 2):
                    mine = f'{ours}/step_{number + 1}/{side}/separable_{part}'
                    iteration = f'{theirs}/comb_iter_{number}/{side}'
                    name = f'{kernel}x{kernel}_{part}'
                    for kind in ('depthwise_weights', 'pointwise_weights'):
                        table[f'{mine}/{kind}'] = Take((f'{iteration}/separable_{name}/{kind}',))
                    table |= _norm(mine, f'{iteration}/bn_sep_{name}')
    table['logits/weights'] = Take(('final_layer/FC/weights',), without_background)
    table['logits/biases'] = Take(('final_layer/FC/biases',), without_background)
    return table


def _nasnet_key(name: str, kind: str) -> str:
    return name.removesuffix(_AVERAGE).replace('final_layer/fully_connected/', 'final_layer/FC/')


SOURCES = (
    Source(
        'slim resnet_v1_50',
        'resnet50',
        (CHECKPOINT,),
        resnet.SLIM._replace(mean=VGG_MEAN, std=(1.0, 1.0, 1.0)),
        224,
        _resnet50(),
        ignore=rf'resnet_v1_50/mean_rgb|{TRAINING_STATE}',
    ),
    Source(
        'slim nasnet-a_large',
        'nasnet',
        (CHECKPOINT,),
        SLIM_NASNET,  # its pixels are the project's own [-1, 1]
        331,
        _nasnet(LARGE),
        ignore=rf'aux_\d+/.*|{TRAINING_STATE}',
        key=_nasnet_key,
        average=_AVERAGE,
    ),
    Source(
        'slim nasnet-a_mobile',
        'nasnet_mobile',
        (CHECKPOINT,),
        SLIM_NASNET,  # its pixels are the project's own [-1, 1]
        224,
        _nasnet(MOBILE),
        ignore=rf'aux_\d+/.*|{TRAINING_STATE}',
        key=_nasnet_key,
        average=_AVERAGE,
    ),
)
