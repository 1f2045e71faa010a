# SPDX-License-Identifier: Apache-2.0
"""Weights se_resnet50.ckpt and se_resnext50.ckpt of HiKapok/TF-SENet: the authors' Caffe networks, converted.

Names: its se_resnet50.py and se_resnext50.py, which keep Caffe's names. Its graph takes RGB and converts it to BGR
before its first convolution. Ours converts in the input layer. The means are those of the Caffe prototxt.
"""

from fer.nets.se_resnet import CAFFE, CAFFE_NEXT, GROUPS
from fer.nets.weights.source import (
    NORM,
    TRAINING_STATE,
    Source,
    Table,
    Take,
    groups_of,
    residual_units,
    to_dense,
)
from fer.nets.weights.tensors import CHECKPOINT

MEAN = (104.0, 117.0, 123.0)  # B, G, R


def _conv_norm(ours: str, theirs: str) -> Table:
    return {
        f'{ours}/weights': Take((f'{theirs}/kernel',)),
        **{f'{ours}/BatchNorm/{kind}': Take((f'{theirs}/bn/{kind}',)) for kind in NORM},
    }


def _table() -> Table:
    table = _conv_norm('conv1', 'conv1/7x7_s2')
    for block, unit in residual_units():
        ours, theirs = f'block{block}/unit_{unit}', f'conv{block + 1}_{unit}'
        table |= _conv_norm(f'{ours}/conv1', f'{theirs}_1x1_reduce')
        table |= _conv_norm(f'{ours}/conv2', f'{theirs}_3x3')
        table |= _conv_norm(f'{ours}/conv3', f'{theirs}_1x1_increase')
        if unit == 1:
            table |= _conv_norm(f'{ours}/shortcut', f'{theirs}_1x1_proj')
        for layer, name in (('reduce', 'down'), ('excite', 'up')):
            table[f'{ours}/se/{layer}/weights'] = Take((f'{theirs}_1x1_{name}/kernel',), to_dense)
            table[f'{ours}/se/{layer}/biases'] = Take((f'{theirs}_1x1_{name}/bias',))
    table['logits/weights'] = Take(('dense/kernel',))
    table['logits/biases'] = Take(('dense/bias',))
    return table


_TABLE = _table()

SOURCES = (
    Source(
        'HiKapok se_resnet50',
        'se_resnet50',
        (CHECKPOINT,),
        CAFFE._replace(order='BGR', mean=MEAN, std=(1.0, 1.0, 1.0)),
        224,
        _TABLE,
        ignore=TRAINING_STATE,
        holds=lambda shapes: groups_of(_TABLE, shapes, 3, 2) < GROUPS,
    ),
    Source(
        'HiKapok se_resnext50',
        'se_resnext50',
        (CHECKPOINT,),
        CAFFE_NEXT._replace(order='BGR', mean=MEAN, std=(1.0, 1.0, 1.0)),
        224,
        _TABLE,
        ignore=TRAINING_STATE,
        holds=lambda shapes: groups_of(_TABLE, shapes, 3, 2) >= GROUPS,
    ),
)
