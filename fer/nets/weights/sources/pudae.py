# SPDX-License-Identifier: Apache-2.0
"""Weights tf-densenet121.ckpt of pudae/tensorflow-densenet.

Names: its nets/densenet.py. The weights come from flyyufelix/DenseNet-Keras, whose scale layers are merged into batch
normalisation. That network pads its stem symmetrically. This one pads with TensorFlow's SAME and was evaluated with it.
Pixels are RGB by its preprocessing code and by Open Model Zoo's description. An issue in its repository that asks about
the order has no answer.
"""

from fer.nets.conventions import Convention
from fer.nets.weights.source import NORM, TRAINING_STATE, Source, Table, Take, dense_layers, to_dense
from fer.nets.weights.sources.slim import VGG_MEAN
from fer.nets.weights.tensors import CHECKPOINT

SCALE = 0.017


def _norm(ours: str, theirs: str) -> Table:
    return {f'{ours}/{kind}': Take((f'densenet121/{theirs}/BatchNorm/{kind}',)) for kind in NORM}


def _conv(ours: str, theirs: str) -> Table:
    return {f'{ours}/weights': Take((f'densenet121/{theirs}/weights',))}


def _table() -> Table:
    table = _conv('conv1', 'conv1')
    table |= {f'conv1/BatchNorm/{kind}': Take((f'densenet121/BatchNorm/{kind}',)) for kind in NORM}
    for block, layer in dense_layers():
        ours, theirs = f'block{block}/layer{layer}', f'dense_block{block}/conv_block{layer}'
        for part in (1, 2):
            table |= _norm(f'{ours}/norm{part}', f'{theirs}/x{part}')
            table |= _conv(f'{ours}/conv{part}', f'{theirs}/x{part}/Conv')
    for block in (1, 2, 3):
        table |= _norm(f'transition{block}/norm', f'transition_block{block}/blk')
        table |= _conv(f'transition{block}/conv', f'transition_block{block}/blk/Conv')
    table |= _norm('norm5', 'final_block')
    table['logits/weights'] = Take(('densenet121/logits/weights',), to_dense)
    table['logits/biases'] = Take(('densenet121/logits/biases',))
    return table


SOURCES = (
    Source(
        'pudae tf-densenet121',
        'densenet121',
        (CHECKPOINT,),
        Convention('same', 'same', epsilon=1.1e-5, mean=VGG_MEAN, std=(1 / SCALE,) * 3),
        224,
        _table(),
        ignore=TRAINING_STATE,
    ),
)
