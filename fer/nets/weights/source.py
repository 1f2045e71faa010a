# SPDX-License-Identifier: Apache-2.0
"""Description of a source of public weights, and functions that help to write its table of names.

A table is explicit. For each of our variables, by its name below the network's scope, it lists tensors of the file and
the function that makes the variable from them. Names are never matched by resemblance.
"""

import math
import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from fer.nets import densenet, resnet
from fer.nets.conventions import Convention
from fer.nets.nasnet import Size

NORM = ('gamma', 'beta', 'moving_mean', 'moving_variance')
# Variables of optimisers and savers, which a training checkpoint has beside the weights.
TRAINING_STATE = r'global_step|.*/(RMSProp(_1)?|Momentum|Adam(_1)?)|beta[12]_power(_1)?'

Shapes = dict[str, tuple[int, ...]]


def identity(array: np.ndarray) -> np.ndarray:
    """Returns the array itself."""
    return array


class Take(NamedTuple):
    """The tensors that one of our variables is made from."""

    names: tuple[str, ...]
    transform: Callable[..., np.ndarray] = identity  # takes the tensors `names`, raises ValueError if they do not fit


Table = dict[str, Take]


def any_shapes(shapes: Shapes) -> bool:
    """Returns True: the names alone tell the source."""
    return True


class Source(NamedTuple):
    """One network as one publisher has it."""

    name: str
    network: str  # a name of NETWORKS
    kinds: tuple[str, ...]  # kinds of files (tensors.py)
    convention: Convention
    image_size: int  # height and width of the training images, in pixels
    table: Table
    ignore: str = r'(?!)'  # full match: tensors that published files have beside the network's
    absent: tuple[str, ...] = ()  # our layers, besides the classifier, that some published files do not have
    key: Callable[[str, str], str] = lambda name, kind: name  # the table's name for a file's tensor
    average: str = ''  # suffix of moving averages, which are preferred if a file has them
    own: bool = False  # True for a run of this project
    holds: Callable[[Shapes], bool] = any_shapes  # tells sources with equal names apart, by the shapes of all keys


# Changes of layout. Each function takes and returns float arrays.


def to_hwio(kernel: np.ndarray) -> np.ndarray:
    """Transposes PyTorch's [out, in / groups, height, width] to [height, width, in / groups, out]."""
    return kernel.transpose(2, 3, 1, 0)


def to_dense(kernel: np.ndarray) -> np.ndarray:
    """Reshapes a 1x1 convolution on one position, [1, 1, in, out], to [in, out]."""
    return kernel.reshape(kernel.shape[2:])


def hwio_to_dense(kernel: np.ndarray) -> np.ndarray:
    """Reshapes a convolution over a whole map, [height, width, in, out], to the dense layer on the flat map."""
    return kernel.reshape(-1, kernel.shape[-1])


def chw_to_dense(weights: np.ndarray, last_biases: np.ndarray) -> np.ndarray:
    """Transposes PyTorch's [out, channel * row * column] to [row * column * channel, out].

    Args:
      weights: weights of the first layer after a flat, square map.
      last_biases: biases of the convolution before the map, [channels].
    """
    out, inputs = weights.shape
    side = math.isqrt(inputs // len(last_biases))
    return weights.reshape(out, len(last_biases), side, side).transpose(2, 3, 1, 0).reshape(inputs, out)


def subtract_biases(mean: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """Subtracts the biases before a batch normalisation from its moving mean. Raises ValueError if shapes differ."""
    if mean.shape != biases.shape:
        raise ValueError(f'{mean.shape} and {biases.shape}')
    return mean - biases


def without_background(array: np.ndarray) -> np.ndarray:
    """Removes class 0 of 1001, the background, which is not a class of ImageNet."""
    return array[..., 1:]


# Lists of the parts of networks that several sources name.


def residual_units() -> Iterator[tuple[int, int]]:
    """Yields (block, unit) of ResNet-50 and its relatives, numbered from 1."""
    for block, (_, units) in enumerate(resnet.BLOCKS, start=1):
        for unit in range(1, units + 1):
            yield block, unit


def dense_layers() -> Iterator[tuple[int, int]]:
    """Yields (block, layer) of DenseNet-121, numbered from 1."""
    for block, layers in enumerate(densenet.BLOCKS, start=1):
        for layer in range(1, layers + 1):
            yield block, layer


class NasnetCell(NamedTuple):
    """A cell of NASNet-A as every implementation has it."""

    scope: str  # our scope
    kind: str  # `normal` or `reduction`
    number: int  # from 0, among cells of its kind (stems are numbered apart)
    normals: int  # normal cells before it
    previous: str  # adjustment of its second input: '', `path` (halved) or `project`


def nasnet_cells(size: Size) -> Iterator[NasnetCell]:
    """Yields the cells of NASNet-A in order."""
    yield NasnetCell('stem_1', 'reduction', 0, 0, '')
    yield NasnetCell('stem_2', 'reduction', 1, 0, 'path')
    for cell in range(3 * size.cells):
        after_reduction = cell % size.cells == 0
        if cell and after_reduction:
            stage = cell // size.cells
            yield NasnetCell(f'reduction_{stage}', 'reduction', stage - 1, cell, 'project')
        yield NasnetCell(f'cell_{cell + 1}', 'normal', cell, cell, 'path' if after_reduction else 'project')


def groups_of(table: Table, shapes: Shapes, outputs: int, inputs: int) -> float:
    """Returns the groups of the 3x3 convolutions: 1 in SE-ResNet-50, 32 in SE-ResNeXt-50, which have equal names.

    It is the median over units, so that one damaged tensor does not look like another network.

    Args:
      table: the table of either network.
      shapes: shapes of the file's tensors, by key.
      outputs: the axis of a kernel that has its output channels.
      inputs: the axis that has its input channels, in a grouped convolution those of one group.
    """
    ratios = []
    for block, unit in residual_units():
        kernels = [table[f'block{block}/unit_{unit}/{conv}/weights'].names[0] for conv in ('conv1', 'conv2')]
        reduce, convolution = (shapes.get(name, ()) for name in kernels)
        if len(reduce) == len(convolution) == 4 and convolution[inputs]:
            ratios.append(reduce[outputs] / convolution[inputs])
    return statistics.median(ratios) if ratios else 0.0
