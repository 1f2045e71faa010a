"""Weights by anybody, for our networks: `open_weights(path)` says whose they are and gives each variable its value.

`files.py` recognises the format by content and `sources/` the publisher by names and shapes. A publisher's row carries
the convention that its weights were trained under (fer/nets/conventions.py); a run folder carries its own.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.errors import InputError
from fer.nets import NETWORKS
from fer.nets.conventions import Convention
from fer.nets.summary import CLASSIFIERS
from fer.nets.weights.files import open_tensors
from fer.nets.weights.run import read_convention
from fer.nets.weights.source import TRAINING_STATE, Source, Take
from fer.nets.weights.sources import SOURCES
from fer.nets.weights.tensors import CHECKPOINT, Tensors
from fer.runs.names import CONVENTION_FILE

# Shares of the names that a file and a table have in common, of all names of either. A whole file of a source has 1,
# 0.73 lies between NASNet-A Mobile and the Large that contains its names; below a half it is some other network.
_LEAST_SHARE = 0.5


class Weights(NamedTuple):
    """An opened file of weights whose source is known."""

    tensors: Tensors
    source: Source
    convention: Convention
    names: dict[str, str]  # the file's name of each of the source's keys that it has
    other_parts: tuple[str, ...] = ()  # of a run: tensors of its network that lie outside the scope asked for

    @property
    def path(self) -> str:
        return self.tensors.path


def open_weights(path: str) -> Weights:
    """Opens weights and finds out whose they are; no array is read yet.

    Args:
      path: a file of any format and source that is known, a TensorFlow checkpoint's prefix, or a run folder.

    Raises:
      InputError: no such file, not readable, or not by any one source that is known.
    """
    return identify(open_tensors(path))


def identify(tensors: Tensors) -> Weights:
    """Finds out whose the tensors of a file are; raises InputError as `open_weights`."""
    run = read_convention(Path(tensors.path).parent) if tensors.kind == CHECKPOINT else None
    if run:
        return _own(tensors, *run)
    shares: list[tuple[float, Source]] = []
    for source in SOURCES:
        if tensors.kind in source.kinds:
            names = _names(tensors, source)
            if source.holds({source.key(name, tensors.kind): shape for name, shape in tensors.shapes.items()}):
                expected = {name for take in source.table.values() for name in take.names}
                shares.append((len(expected & set(names)) / len(expected | set(names)), source))
    best = max((share for share, _ in shares), default=0.0)
    if best < _LEAST_SHARE:
        scopes = {name.partition('/')[0] for name in tensors.shapes} & set(NETWORKS)
        if tensors.kind == CHECKPOINT and len(scopes) == 1:
            raise InputError(
                f'{tensors.path}: a checkpoint of this project ({scopes.pop()}) without {CONVENTION_FILE}, which says '
                'what its network computes; expected that file of its run in the same folder'
            )
        known = ', '.join(source.name for source in SOURCES if tensors.kind in source.kinds)
        some = ', '.join(sorted(tensors.shapes)[:3])
        raise InputError(
            f'{tensors.path}: a {tensors.kind} ({some} ...) by no source that is known; expected one of {known}'
        )
    found = [source for share, source in shares if share == best]
    if len(found) > 1:
        raise InputError(
            f'{tensors.path}: may be by any of {", ".join(source.name for source in found)}; expected one source'
        )
    (source,) = found
    convention = source.convention._replace(mean=tensors.mean or source.convention.mean)
    return Weights(tensors, source, convention, _names(tensors, source))


def _names(tensors: Tensors, source: Source) -> dict[str, str]:
    """The file's name of each key.

    Where a file has moving averages of its weights, they are taken, all of them: what was evaluated is never mixed with
    what was not. Batch normalisation's own averages may have none of their own.
    """
    ignored = re.compile(source.ignore)
    names = sorted((name for name in tensors.shapes if not ignored.fullmatch(name)), key=len)
    if source.average and any(name.endswith(source.average) for name in names):
        wanted = {key for take in source.table.values() for key in take.names}
        kept = (source.average, '/moving_mean', '/moving_variance')
        names = [name for name in names if name.endswith(kept) or source.key(name, tensors.kind) not in wanted]
    return {source.key(name, tensors.kind): name for name in names}


def _own(tensors: Tensors, scope: str, convention: Convention) -> Weights:
    """The part of a run's checkpoint below a scope."""
    ignored = re.compile(rf'phase_\d/.*|island/.*|{TRAINING_STATE}')
    names = [name for name in tensors.shapes if not ignored.fullmatch(name)]
    table = {name.removeprefix(f'{scope}/'): Take((name,)) for name in names if name.startswith(f'{scope}/')}
    source = Source('this project', scope, (CHECKPOINT,), convention, 0, table, own=True)
    others = tuple(sorted(name for name in names if not name.startswith(f'{scope}/')))
    return Weights(tensors, source, convention, {take.names[0]: take.names[0] for take in table.values()}, others)


def open_part(tensors: Tensors, scope: str) -> Weights | None:
    """What a checkpoint of a run has below a scope that is no CNN's; None where it has nothing there."""
    weights = _own(tensors, scope, Convention())
    return weights if weights.names else None


def num_classes(weights: Weights) -> int:
    """Classes of the weights' own classifier, without a background class; 0 when the file has none that fits."""
    for scope in CLASSIFIERS:
        take = weights.source.table.get(f'{scope}/biases')
        if take and all(name in weights.names for name in take.names):
            try:
                (classes,) = value_shape(weights, take)
            except ValueError:  # of another rank, too; the restore report says so
                return 0
            return classes
    return 0


def value_shape(weights: Weights, take: Take) -> tuple[int, ...]:
    """The shape that `value` has, found without reading it. Raises ValueError where there is none."""
    shapes = [weights.tensors.shapes[weights.names[name]] for name in take.names]
    try:
        return np.shape(take.transform(*[np.broadcast_to(np.float32(0), shape) for shape in shapes]))
    except (TypeError, IndexError, ZeroDivisionError) as error:  # of another rank than the layout has, or empty
        raise ValueError(str(error)) from error


def value(weights: Weights, take: Take) -> np.ndarray:
    """float32, one of our variables in our layout.

    Raises:
      InputError: a tensor cannot be read or holds a NaN or an infinity.
      ValueError: its shape is not one that can be laid out so.
    """
    return np.ascontiguousarray(take.transform(*[read_finite(weights, key) for key in take.names]), np.float32)


def read_finite(weights: Weights, key: str) -> np.ndarray:
    """The tensor of one of the source's keys, float32; raises InputError where it cannot be read or is not finite."""
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
