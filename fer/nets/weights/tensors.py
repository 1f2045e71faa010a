# SPDX-License-Identifier: Apache-2.0
"""Named arrays of a file of weights, whatever its format."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

CHECKPOINT = 'TensorFlow checkpoint'
KERAS = 'Keras weights by layer name'
KERAS_ORDER = 'Keras weights by layer order'
SAFETENSORS = 'safetensors file'
MATCONVNET = 'MatConvNet file'
STARTER = 'network of the starter set'


class Tensors(NamedTuple):
    """An opened file."""

    path: str
    kind: str  # one of the constants above
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]  # raises InputError if the array is unreadable
    mean: tuple[float, float, float] | None = None  # of the training pixels, if the file has it


class FileContent(NamedTuple):
    """The content of a file, as the readers of reader_process.py return it."""

    kind: str
    arrays: Mapping[str, np.ndarray]  # or arrays of a library, read when they are converted to NumPy's
    mean: tuple[float, float, float] | None = None
