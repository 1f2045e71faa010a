# SPDX-License-Identifier: Apache-2.0
"""Values of our variables, computed from the tensors of a file of weights."""

import numpy as np

from fer.errors import InputError
from fer.nets.summary import CLASSIFIERS
from fer.nets.weights.identify import OpenedWeights
from fer.nets.weights.source import Take


def num_classes(weights: OpenedWeights) -> int:
    """Returns the classes of the weights' classifier without a background class, 0 if no classifier fits."""
    for scope in CLASSIFIERS:
        take = weights.source.table.get(f'{scope}/biases')
        if take and all(name in weights.names for name in take.names):
            try:
                (classes,) = value_shape(weights, take)
            except ValueError:  # for a wrong rank, too: the restore report lists it
                return 0
            return classes
    return 0


def value_shape(weights: OpenedWeights, take: Take) -> tuple[int, ...]:
    """Returns the shape of `read_value` without reading. Raises ValueError if the tensors do not fit."""
    shapes = [weights.tensors.shapes[weights.names[name]] for name in take.names]
    try:
        return np.shape(take.transform(*[np.broadcast_to(np.float32(0), shape) for shape in shapes]))
    except (TypeError, IndexError, ZeroDivisionError) as error:  # a wrong rank, or an empty tensor
        raise ValueError(str(error)) from error


def read_value(weights: OpenedWeights, take: Take) -> np.ndarray:
    """Returns one of our variables in our layout, float32.

    Raises:
      InputError: a tensor is unreadable, or has a value that is NaN or infinite.
      ValueError: the tensors' shapes do not fit the layout.
    """
    return np.ascontiguousarray(take.transform(*[read_finite(weights, key) for key in take.names]), np.float32)


def read_finite(weights: OpenedWeights, key: str) -> np.ndarray:
    """Returns the tensor of one of the source's keys as float32.

    Raises:
      InputError: the tensor is unreadable, does not consist of floats, or has a value that is NaN or infinite.
    """
    name = weights.names[key]
    array = weights.tensors.read(name)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f'{weights.path}: {name} is {array.dtype}; expected floats')
    with np.errstate(over='ignore'):
        array = array.astype(np.float32, copy=False)
    bad = np.size(array) - np.count_nonzero(np.isfinite(array))
    if bad:
        raise InputError(f'{weights.path}: {name} has {bad} values that are NaN or infinite')
    return array
