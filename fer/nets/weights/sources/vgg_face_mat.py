# SPDX-License-Identifier: Apache-2.0
"""VGG-Face of its authors (Parkhi et al. 2015) for MatConvNet: vgg-face.mat of vlfeat.org, vgg_face.mat of Oxford.

Layers have the paper's names, and fc6 to fc8 are convolutions. The mean colour is the file's. A file without one gets
the published mean (MatConvNet's examples/vggfaces). ImageNet's VGG-16 has the same names and its own mean.
"""

from fer.nets.conventions import Convention
from fer.nets.vgg_face import BLOCKS
from fer.nets.weights.source import Source, Table, Take, hwio_to_dense
from fer.nets.weights.tensors import MATCONVNET

MEAN = (129.1863, 104.7624, 93.5940)


def _table() -> Table:
    table: Table = {}
    for block, (convolutions, _) in enumerate(BLOCKS, start=1):
        for layer in range(1, convolutions + 1):
            name = f'conv{block}_{layer}'
            table |= {f'conv{block}/{name}/weights': Take((f'{name}/0',))}
            table |= {f'conv{block}/{name}/biases': Take((f'{name}/1',))}
    for name in ('fc6', 'fc7', 'fc8'):
        table |= {f'{name}/weights': Take((f'{name}/0',), hwio_to_dense), f'{name}/biases': Take((f'{name}/1',))}
    return table


SOURCES = (
    Source(
        'VGG-Face MatConvNet',
        'vgg_face',
        (MATCONVNET,),
        Convention(mean=MEAN, std=(1.0, 1.0, 1.0)),
        224,
        _table(),
    ),
)
