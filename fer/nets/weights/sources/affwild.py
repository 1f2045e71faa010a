"""The networks of the Aff-Wild authors (Kollias et al.), dkollias/Aff-Wild-models: faces of 96x96 in [-1, 1].

Names: its vggface/*.py and affwildnet/*.py, where each layer has a scope of its kind and a count: conv_1 ... conv_13,
linear_1, linear2_1, linear3_1. The recurrent variants have linear_1 last, or slim's ResNet-50, then a GRU, which is
not taken. The channels are RGB by its decoding; how a pixel becomes [-1, 1], by 127.5 or by 128, it does not show.
"""

from fer.nets import resnet
from fer.nets.conventions import Convention
from fer.nets.vgg_face import BLOCKS
from fer.nets.weights.source import TRAINING_STATE, Source, Table, Take
from fer.nets.weights.sources.slim import resnet50_body
from fer.nets.weights.tensors import CHECKPOINT


def _layer(ours: str, theirs: str) -> Table:
    return {f'{ours}/{kind}': Take((f'{theirs}/{kind}',)) for kind in ('weights', 'biases')}


def _vgg_face() -> Table:
    table: Table = {}
    for block, (convolutions, _) in enumerate(BLOCKS, start=1):
        for layer in range(1, convolutions + 1):
            table |= _layer(f'conv{block}/conv{block}_{layer}', f'conv_{len(table) // 2 + 1}')
    return table | _layer('fc6', 'linear_1') | _layer('fc7', 'linear2_1') | _layer('fc8', 'linear3_1')


SOURCES = (
    Source(
        'Aff-Wild VGG-Face',
        'vgg_face',
        (CHECKPOINT,),
        Convention(pool='same'),
        96,
        _vgg_face(),
        ignore=rf'rnn_1/.*|{TRAINING_STATE}',
        absent=('fc7',),
    ),
    Source(
        'Aff-Wild ResNet-50 with GRU',
        'resnet50',
        (CHECKPOINT,),
        resnet.SLIM,  # and the project's own [-1, 1]
        96,
        resnet50_body(),
        ignore=rf'rnn/.*|{TRAINING_STATE}',
        holds=lambda shapes: any(name.startswith('rnn/') for name in shapes),
    ),
)
