"""A file of named arrays, whatever its format."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

CHECKPOINT = 'TensorFlow checkpoint'
KERAS = 'Keras weights by layer name'
KERAS_ORDER = 'Keras weights by layer order'
SAFETENSORS = 'safetensors file'
MATCONVNET = 'MatConvNet file'


class Tensors(NamedTuple):
    """What a file holds; no array is in memory before it is read."""

    path: str
    kind: str  # one of the above
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]  # raises InputError for what cannot be read
    mean: tuple[float, float, float] | None = None  # of the training pixels, where the file says
