# SPDX-License-Identifier: Apache-2.0
"""Reader of MatConvNet networks in MATLAB files (up to version 7), through SciPy.

SimpleNN: a cell of layers, at the top or in `net`, each with its name and `weights` {filters, biases}. Files before
2015 have two fields, `filters` and `biases`, instead. DagNN: `layers` that name their `params`, a list beside them. No
public VGG-Face has this form. It is read as MatConvNet documents it at `dagnn.DagNN.saveobj`.
"""

from collections.abc import Iterator

import numpy as np
import scipy.io

from fer.errors import InputError
from fer.nets.weights.tensors import MATCONVNET, FileContent


def read_content(path: str) -> FileContent:
    """Reads a network. Arrays have the names `<layer>/0` for filters and `<layer>/1` for biases.

    Raises:
      InputError: the file has no network. SciPy's own errors pass through.
    """
    content = scipy.io.loadmat(path, struct_as_record=False)
    try:
        net = _single(content['net']) if 'net' in content else None
        layers = content['layers'] if net is None else net.layers
        params = content.get('params') if net is None else getattr(net, 'params', None)
        meta = _single(content.get('meta')) if net is None else getattr(net, 'meta', net)
        arrays = dict(_dagnn(layers, params) if params is not None else _simplenn(layers))
        mean = _average_colour(_single(meta))
    except (KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise InputError(f'{path}: no MatConvNet network in this MATLAB file: {error}') from None
    if not arrays:
        raise InputError(f'{path}: the MatConvNet network has no layer with weights')
    return FileContent(MATCONVNET, arrays, mean)


def _single(value):
    """Returns the value inside an array of one object. In MATLAB everything is an array."""
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.flat[0]
    return value


def _text(value) -> str:
    """Returns a text that MATLAB keeps in an array."""
    return str(np.asarray(_single(value)).flat[0])


def _simplenn(layers: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of a SimpleNN by name."""
    for cell in layers.flat:
        layer = _single(cell)
        if hasattr(layer, 'weights'):
            weights = list(np.asarray(layer.weights).flat)
        else:
            weights = [getattr(layer, field) for field in ('filters', 'biases') if hasattr(layer, field)]
        yield from _named(_text(layer.name), weights)


def _dagnn(layers: np.ndarray, params: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of a DagNN by name."""
    values = {_text(_single(param).name): _single(param).value for param in params.flat}
    for cell in layers.flat:
        layer = _single(cell)
        names = np.asarray(layer.params).flat
        yield from _named(_text(layer.name), [values[_text(name)] for name in names])


def _named(layer: str, weights: list) -> Iterator[tuple[str, np.ndarray]]:
    """Yields a layer's arrays by number."""
    for number, value in enumerate(weights):
        array = np.asarray(_single(value))
        yield f'{layer}/{number}', array.reshape(-1) if number else array  # biases are a row or a column


def _average_colour(meta) -> tuple[float, float, float] | None:
    """Returns the mean of the training images as one colour. Some files have a mean for each pixel."""
    normalization = _single(getattr(meta, 'normalization', None))
    average = _single(getattr(normalization, 'averageImage', None))
    if average is None or np.size(average) == 0:
        return None
    red, green, blue = np.asarray(average, np.float64).reshape(-1, 3).mean(0).tolist()
    if not np.isfinite([red, green, blue]).all():
        raise ValueError(f'averageImage is {red}, {green}, {blue}')
    return red, green, blue
