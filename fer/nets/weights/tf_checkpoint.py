# SPDX-License-Identifier: Apache-2.0
"""Reader of TensorFlow checkpoints: one file (until 2016), or an index with data files."""

import numpy as np

from fer.errors import InputError
from fer.nets.weights.tensors import CHECKPOINT, Tensors
from fer.tf1 import tf

# Last bytes of TensorFlow's sorted tables, which are old checkpoints and the index of new ones.
TABLE_MAGIC = bytes.fromhex('57fb808b247547db')
_ERRORS = (tf.errors.OpError, ValueError, RuntimeError, LookupError)  # one for each status code of TensorFlow


def open_checkpoint(path: str) -> Tensors:
    """Opens a checkpoint. `path` is an old one's file or a new one's prefix.

    Raises:
      InputError: the checkpoint is unreadable.
    """
    try:
        reader = tf.train.load_checkpoint(path)
        shapes = reader.get_variable_to_shape_map()
    except _ERRORS as error:
        raise InputError(f'{path}: not a readable TensorFlow checkpoint: {_line(error)}') from None

    def read(name: str) -> np.ndarray:
        try:
            return reader.get_tensor(name)
        except _ERRORS as error:
            raise InputError(f'{path}: {name} cannot be read, the checkpoint is damaged: {_line(error)}') from None

    return Tensors(path, CHECKPOINT, {name: tuple(shape) for name, shape in shapes.items() if name}, read)


def _line(error: Exception) -> str:
    """Returns the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
