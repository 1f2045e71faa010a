"""Keras weights in HDF5, in the three forms that Keras has written.

1. `save_weights('x.h5')` and every published file: groups by layer name, each with an ordered list of its arrays.
2. `model.save('x.h5')`: the same below a group `model_weights`.
3. `save_weights('x.weights.h5')`: groups `layers/conv2d_12/vars/0`, numbered within each class of layer in the order of
   `model.layers`. Keras 2.13 calls `layers` otherwise. Keras 3 notes each layer's name on its `vars` (seen in 3.15);
   elsewhere the names are lost, and the order that sources/keras.py states is what is left to go by.

Arrays within a layer are known by their number, because their names changed over the years while their order did not:
kernel, bias; gamma, beta, mean, variance (`running_std` in files of 2016, which is the variance all the same).
"""

from collections.abc import Iterator

import h5py
import numpy as np

from fer.errors import InputError
from fer.nets.weights.hdf5_check import check_heaps
from fer.nets.weights.tensors import KERAS, KERAS_ORDER, Tensors

_ORDERED_ROOTS = ('layers', '_layer_checkpoint_dependencies')


def open_keras(path: str) -> Tensors:
    """Opens a file of Keras weights; arrays are named `<layer>/<number>` or `<class>_<count>/<number>`.

    Raises:
      InputError: it is damaged, or HDF5 of something else.
    """
    try:
        check_heaps(path)
        file = h5py.File(path)
        root = file.get('model_weights', file)
        if any(name.startswith('layer_names') for name in root.attrs):
            kind, arrays = KERAS, dict(_by_name(root))
        else:
            ordered = [root[name] for name in _ORDERED_ROOTS if isinstance(root.get(name), h5py.Group)]
            named, arrays = _by_class(ordered[0]) if ordered else (False, {})
            kind = KERAS if named else KERAS_ORDER
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    except (OSError, KeyError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f'{path}: not a readable HDF5 file of Keras weights: {error}') from None
    if not shapes:
        raise InputError(f"{path}: HDF5 without a Keras model's weights; expected what save_weights writes")

    def read(name: str) -> np.ndarray:
        try:
            return np.asarray(arrays[name])
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f'{path}: {name} cannot be read, the file is damaged: {error}') from None

    return Tensors(path, kind, shapes, read)


def _by_name(root: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    for layer in _strings(root, 'layer_names'):
        for number, name in enumerate(_strings(root[layer], 'weight_names')):
            yield f'{layer}/{number}', root[layer][name]


def _by_class(root: h5py.Group) -> tuple[bool, dict[str, h5py.Dataset]]:
    """Whether every layer's name is noted, and the arrays: by name if so, else by class and count."""
    groups = {layer: group['vars'] for layer, group in root.items() if len(group.get('vars', ()))}
    names = {layer: str(group.attrs['name']) for layer, group in groups.items() if 'name' in group.attrs}
    named = len(set(names.values())) == len(groups)
    return named, {
        f'{names[layer] if named else layer}/{number}': array
        for layer, group in groups.items()
        for number, array in group.items()
    }


def _strings(group: h5py.Group, name: str) -> list[str]:
    """A list in an attribute; one too long for an attribute is split over name0, name1 and so on."""
    parts = [name] if name in group.attrs else []
    while f'{name}{len(parts)}' in group.attrs:
        parts.append(f'{name}{len(parts)}')
    return [text.decode() if isinstance(text, bytes) else str(text) for part in parts for text in group.attrs[part]]
