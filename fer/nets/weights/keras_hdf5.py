# SPDX-License-Identifier: Apache-2.0
"""Reader of Keras weights in HDF5, in the three forms that Keras has written.

1. `save_weights('x.h5')` and every published file: groups by layer name, each with an ordered list of its arrays.
2. `model.save('x.h5')`: form 1 below a group `model_weights`.
3. `save_weights('x.weights.h5')`: groups `layers/conv2d_12/vars/0`, numbered within each class of layer in the order of
   `model.layers`. Keras 2.13 has another name for `layers`. Keras 3 notes each layer's name on its `vars` (seen in
   3.15). Elsewhere the names are lost, and only the order in sources/keras.py is left.

Arrays of a layer are known by their number, because their names have changed over the years and their order has not:
kernel, bias, or gamma, beta, mean, variance. Files of 2016 have the name `running_std` for the variance.
"""

from collections.abc import Iterator

import h5py

from fer.errors import InputError
from fer.nets.weights.tensors import KERAS, KERAS_ORDER, FileContent

_ORDERED_ROOTS = ('layers', '_layer_checkpoint_dependencies')


def read_content(path: str) -> FileContent:
    """Opens a file of Keras weights. Arrays have the names `<layer>/<number>` or `<class>_<count>/<number>`.

    Raises:
      InputError: the file has no Keras weights. h5py's own errors pass through.
    """
    file = h5py.File(path)
    root = file.get('model_weights', file)
    if any(name.startswith('layer_names') for name in root.attrs):
        kind, arrays = KERAS, dict(_by_name(root))
    else:
        ordered = [root[name] for name in _ORDERED_ROOTS if isinstance(root.get(name), h5py.Group)]
        named, arrays = _by_class(ordered[0]) if ordered else (False, {})
        kind = KERAS if named else KERAS_ORDER
    if not arrays:
        raise InputError(f"{path}: HDF5 without a Keras model's weights; expected what save_weights writes")
    return FileContent(kind, arrays)


def _by_name(root: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields the arrays of forms 1 and 2 by name."""
    for layer in _strings(root, 'layer_names'):
        for number, name in enumerate(_strings(root[layer], 'weight_names')):
            yield f'{layer}/{number}', root[layer][name]


def _by_class(root: h5py.Group) -> tuple[bool, dict[str, h5py.Dataset]]:
    """Returns True if every layer's name is noted, and the arrays of form 3: by name if so, else by class and count."""
    groups = {layer: group['vars'] for layer, group in root.items() if len(group.get('vars', ()))}
    names = {layer: str(group.attrs['name']) for layer, group in groups.items() if 'name' in group.attrs}
    named = len(set(names.values())) == len(groups)
    return named, {
        f'{names[layer] if named else layer}/{number}': array
        for layer, group in groups.items()
        for number, array in group.items()
    }


def _strings(group: h5py.Group, name: str) -> list[str]:
    """Returns a list of texts in an attribute. A long one is split over the attributes name0, name1 and so on."""
    parts = [name] if name in group.attrs else []
    while f'{name}{len(parts)}' in group.attrs:
        parts.append(f'{name}{len(parts)}')
    return [text.decode() if isinstance(text, bytes) else str(text) for part in parts for text in group.attrs[part]]
