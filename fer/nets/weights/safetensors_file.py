# SPDX-License-Identifier: Apache-2.0
"""Reader of safetensors: PyTorch's arrays without PyTorch and without code (github.com/huggingface/safetensors)."""

import numpy as np
from safetensors import SafetensorError, safe_open

from fer.errors import InputError
from fer.nets.weights.tensors import SAFETENSORS, Tensors

_FLOATS = ('F64', 'F32', 'F16')


def open_safetensors(path: str) -> Tensors:
    """Opens a file. The library checks that its header is JSON and that arrays fill it without gap or overlap.

    Raises:
      InputError: the header is wrong, or an array has a type of floats that NumPy does not have.
    """
    try:
        file = safe_open(path, framework='np')
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise InputError(f'{path}: not a whole safetensors file: {error}') from None
    for name, part in slices.items():
        kind = part.get_dtype()
        if kind not in _FLOATS and not kind.startswith(('I', 'U', 'BOOL')):
            raise InputError(f'{path}: {name} is {kind}; expected one of {", ".join(_FLOATS)} (save it as float32)')

    def read(name: str) -> np.ndarray:
        return file.get_tensor(name)

    return Tensors(path, SAFETENSORS, {name: tuple(part.get_shape()) for name, part in slices.items()}, read)
