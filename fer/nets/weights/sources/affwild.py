# SPDX-License-Identifier: Apache-2.0
"""Networks of the Aff-Wild authors (Kollias et al.), dkollias/Aff-Wild-models, for faces of 96x96.

Names: its vggface/*.py and affwildnet/*.py, where a layer's scope is its kind and a count: conv_1 ... conv_13,
linear_1, linear2_1, linear3_1. One of the two plain networks has 2000 units in its second dense layer. Ours is then
fresh. The recurrent variants end in linear_1 or in slim's ResNet-50, and a GRU follows, which is not read. Pixels are
RGB, (pixel - 128) / 128: its eval_script.py.
"""

from fer.nets import resnet
from fer.nets.conventions import Convention
from fer.nets.vgg_face import BLOCKS
from fer.nets.weights.source import TRAINING_STATE, Shapes, Source, Table, Take
from fer.nets.weights.sources.slim import resnet50_body
from fer.nets.weights.tensors import CHECKPOINT


def _layer(ours: str, theirs: str) -> Table:
    return {f'{ours}/{kind}': Take((f'{theirs}/{kind}',)) for kind in ('weights', 'biases')}


def _convolutions_and_fc6() -> Table:
    table: Table = {}
    for block, (convolutions, _) in enumerate(BLOCKS, start=1):
        for layer in range(1, convolutions + 1):
            table |= _layer(f'conv{block}/conv{block}_{layer}', f'conv_{len(table) // 2 + 1}')
    return table | _layer('fc6', 'linear_1')


def _has_2000_units(shapes: Shapes) -> bool:
    """Returns True if the second dense layer has 2000 units for 4096 of the first, at any width."""
    shape = shapes.get('linear2_1/weights', ())
    return len(shape) == 2 and 0 < shape[1] == round(shape[0] * 2000 / 4096)


_MIDDLE = (128.0, 128.0, 128.0)
_VGG_FACE = Convention(pool='same', mean=_MIDDLE, std=_MIDDLE)

SOURCES = (
    Source(
        'Aff-Wild VGG-Face',
        'vgg_face',
        (CHECKPOINT,),
        _VGG_FACE,
        96,
        _convolutions_and_fc6() | _layer('fc7', 'linear2_1') | _layer('fc8', 'linear3_1'),
        ignore=rf'rnn_1/.*|{TRAINING_STATE}',
        absent=('fc7',),
        holds=lambda shapes: not _has_2000_units(shapes),
    ),
    Source(
        'Aff-Wild VGG-Face, 2000 units',
        'vgg_face',
        (CHECKPOINT,),
        _VGG_FACE,
        96,
        _convolutions_and_fc6(),
        ignore=rf'linear[23]_1/.*|{TRAINING_STATE}',
        absent=('fc7',),
        holds=_has_2000_units,
    ),
    Source(
        'Aff-Wild ResNet-50 with GRU',
        'resnet50',
        (CHECKPOINT,),
        resnet.SLIM._replace(mean=_MIDDLE, std=_MIDDLE),
        96,
        resnet50_body(),
        ignore=rf'rnn/.*|{TRAINING_STATE}',
        holds=lambda shapes: any(name.startswith('rnn/') for name in shapes),
    ),
)
