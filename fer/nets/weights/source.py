"""What is known about one source of public weights, and the small pieces its table of names is made of.

A table is explicit: for each of our variables, by its name below the network's scope, the tensors of the file it is
made from and how. Nothing is matched by resemblance.
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
# Optimisers' and savers' variables, which a training checkpoint has beside the weights.
TRAINING_STATE = r'global_step|.*/(RMSProp(_1)?|Momentum|Adam(_1)?)|beta[12]_power(_1)?'

Shapes = dict[str, tuple[int, ...]]


def same(array: np.ndarray) -> np.ndarray:
    return array


class Take(NamedTuple):
    """Where one of our variables comes from."""

    names: tuple[str, ...]
    transform: Callable[..., np.ndarray] = same  # of the tensors `names`; raises ValueError where they do not fit


Table = dict[str, Take]


def always(shapes: Shapes) -> bool:
    return True


class Source(NamedTuple):
    """One publisher's form of one network."""

    name: str
    network: str  # of NETWORKS
    kinds: tuple[str, ...]  # of files (tensors.py)
    convention: Convention
    image_size: int  # it was trained at
    table: Table
    ignore: str = r'(?!)'  # full match: tensors that published files have beside the network's
    absent: tuple[str, ...] = ()  # our layers, besides the classifier, that some published files lack
    key: Callable[[str, str], str] = lambda name, kind: name  # the table's name for a file's tensor
    average: str = ''  # ends the names of moving averages, which are taken where a file has them
    own: bool = False  # whether the weights are a run's of this project
    holds: Callable[[Shapes], bool] = always  # tells apart sources whose names are the same, by the shapes of all keys


# How layouts differ. Every function takes and returns float arrays.


def to_hwio(kernel: np.ndarray) -> np.ndarray:
    """PyTorch's [out, in / groups, height, width] to [height, width, in / groups, out]."""
    return kernel.transpose(2, 3, 1, 0)


def to_dense(kernel: np.ndarray) -> np.ndarray:
    """A 1x1 convolution on one position, [1, 1, in, out], to [in, out]."""
    return kernel.reshape(kernel.shape[2:])


def hwio_to_dense(kernel: np.ndarray) -> np.ndarray:
    """A convolution over a whole map, [height, width, in, out], to the dense layer on the flat map."""
    return kernel.reshape(-1, kernel.shape[-1])


def chw_to_dense(weights: np.ndarray, last_biases: np.ndarray) -> np.ndarray:
    """PyTorch's [out, channel * row * column] to [row * column * channel, out].

    Args:
      weights: of the first layer after a flat, square map.
      last_biases: of the convolution before the map, [channels].
    """
    out, inputs = weights.shape
    side = math.isqrt(inputs // len(last_biases))
    return weights.reshape(out, len(last_biases), side, side).transpose(2, 3, 1, 0).reshape(inputs, out)


def minus(mean: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """A moving mean that takes in the biases before it. Raises ValueError unless they are as many."""
    if mean.shape != biases.shape:
        raise ValueError(f'{mean.shape} and {biases.shape}')
    return mean - biases


def without_background(array: np.ndarray) -> np.ndarray:
    """Leaves out class 0 of 1001, which is no class of ImageNet."""
    return array[..., 1:]


# The walks through the networks that several sources have names for.


def residual_units() -> Iterator[tuple[int, int]]:
    """(block, unit) of ResNet-50 and its relatives, both from 1."""
    for block, (_, units) in enumerate(resnet.BLOCKS, start=1):
        for unit in range(1, units + 1):
            yield block, unit


def dense_layers() -> Iterator[tuple[int, int]]:
    """(block, layer) of DenseNet-121, both from 1."""
    for block, layers in enumerate(densenet.BLOCKS, start=1):
        for layer in range(1, layers + 1):
            yield block, layer


class NasnetCell(NamedTuple):
    """A cell of NASNet-A as every implementation has it."""

    scope: str  # ours
    kind: str  # normal, reduction
    number: int  # of its kind (stems apart), from 0
    normals: int  # normal cells before it
    previous: str  # how its second input is adjusted: '', `path` (halved) or `project`


def nasnet_cells(size: Size) -> Iterator[NasnetCell]:
    yield NasnetCell('stem_1', 'reduction', 0, 0, '')
    yield NasnetCell('stem_2', 'reduction', 1, 0, 'path')
    for cell in range(3 * size.cells):
        after_reduction = cell % size.cells == 0
        if cell and after_reduction:
            stage = cell // size.cells
            yield NasnetCell(f'reduction_{stage}', 'reduction', stage - 1, cell, 'project')
        yield NasnetCell(f'cell_{cell + 1}', 'normal', cell, cell, 'path' if after_reduction else 'project')


def groups_of(table: Table, shapes: Shapes, outputs: int, inputs: int) -> float:
    """Groups of the 3x3 convolutions: 1 in SE-ResNet-50, 32 in SE-ResNeXt-50, whose names are the same.

    The median over units, so that one damaged tensor is reported as that and not as another network.

    Args:
      table: of either network.
      shapes: of the file's tensors, by key.
      outputs: which axis of a kernel is its output channels.
      inputs: which axis is its input channels, in a grouped convolution those of one group.
    """
    ratios = []
    for block, unit in residual_units():
        kernels = [table[f'block{block}/unit_{unit}/{conv}/weights'].names[0] for conv in ('conv1', 'conv2')]
        reduce, convolution = (shapes.get(name, ()) for name in kernels)
        if len(reduce) == len(convolution) == 4 and convolution[inputs]:
            ratios.append(reduce[outputs] / convolution[inputs])
    return statistics.median(ratios) if ratios else 0.0
