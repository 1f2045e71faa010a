# SPDX-License-Identifier: Apache-2.0
"""Finds the source of a file of weights.

`files.py` recognises the format by content, `sources/` the publisher by names and shapes. A publisher's `Source` has
the convention that its weights were trained under (fer/nets/conventions.py). A run folder has its own convention.
"""

import re
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.nets import NETWORKS
from fer.nets.conventions import Convention
from fer.nets.weights.convention_file import read_convention
from fer.nets.weights.files import open_tensors
from fer.nets.weights.known_sources import SOURCES
from fer.nets.weights.source import TRAINING_STATE, Source, Take
from fer.nets.weights.tensors import CHECKPOINT, STARTER, Tensors
from fer.runs.names import CONVENTION_FILE

# The share is the number of names that file and table have in common, over the number of names in either. A whole file
# of a source has 1. NASNet-A Mobile has 0.73 with Large, which contains its names. Below one half, the file belongs to
# another network.
_LEAST_SHARE = 0.5


class OpenedWeights(NamedTuple):
    """An opened file of weights and its source."""

    tensors: Tensors
    source: Source
    convention: Convention
    names: dict[str, str]  # the file's tensor name for each of the source's keys that the file has
    other_parts: tuple[str, ...] = ()  # of a run: tensors outside the scope asked for

    @property
    def path(self) -> str:
        return self.tensors.path


def open_weights(path: str) -> OpenedWeights:
    """Opens weights and finds their source. Arrays are read later (values.py).

    Args:
      path: a file of a known format and source, a TensorFlow checkpoint's prefix, a run folder, or a network of the
        starter set.

    Raises:
      InputError: the file is missing or unreadable, or its source is unknown or ambiguous.
    """
    return identify(open_tensors(path))


def identify(tensors: Tensors) -> OpenedWeights:
    """Finds the source of opened tensors.

    Raises:
      InputError: the source is unknown or ambiguous.
    """
    run = read_convention(Path(tensors.path).parent) if tensors.kind in (CHECKPOINT, STARTER) else None
    if run:
        return _run_weights(tensors, *run)
    if tensors.kind == STARTER:
        raise InputError(f'{tensors.path}: weights of an audio network; expected weights of a network of images')
    source = _find_source(tensors)
    convention = source.convention._replace(mean=tensors.mean or source.convention.mean)
    return OpenedWeights(tensors, source, convention, _names(tensors, source))


def open_part(tensors: Tensors, scope: str) -> OpenedWeights | None:
    """Returns the weights below a scope of a run that is not a CNN's, or None."""
    weights = _run_weights(tensors, scope, Convention())
    return weights if weights.names else None


def _find_source(tensors: Tensors) -> Source:
    """Returns the source with the largest share of names, or raises InputError."""
    candidates = [source for source in SOURCES if tensors.kind in source.kinds]
    shares: list[tuple[float, Source]] = []
    for source in candidates:
        if source.holds({source.key(name, tensors.kind): shape for name, shape in tensors.shapes.items()}):
            names = set(_names(tensors, source))
            expected = {name for take in source.table.values() for name in take.names}
            shares.append((len(expected & names) / len(expected | names), source))
    best = max((share for share, _ in shares), default=0.0)
    if best < _LEAST_SHARE:
        scopes = {name.partition('/')[0] for name in tensors.shapes} & set(NETWORKS)
        if tensors.kind == CHECKPOINT and len(scopes) == 1:
            raise InputError(
                f'{tensors.path}: a checkpoint of this project ({scopes.pop()}) without {CONVENTION_FILE}, which '
                'describes its network; copy that file of its run into the same folder'
            )
        known = ', '.join(source.name for source in candidates)
        some = ', '.join(sorted(tensors.shapes)[:3])
        raise InputError(f'{tensors.path}: a {tensors.kind} ({some} ...) of an unknown source; expected one of {known}')
    found = [source for share, source in shares if share == best]
    if len(found) > 1:
        raise InputError(
            f'{tensors.path}: fits more than one source: {", ".join(source.name for source in found)}; expected one'
        )
    return found[0]


def _names(tensors: Tensors, source: Source) -> dict[str, str]:
    """Returns the file's tensor name for each key.

    If a file has moving averages of its weights, all of its weights are averages. Evaluated and unevaluated weights are
    never mixed. Batch normalisation's own averages may have no moving averages of their own.
    """
    ignored = re.compile(source.ignore)
    names = sorted((name for name in tensors.shapes if not ignored.fullmatch(name)), key=len)
    if source.average and any(name.endswith(source.average) for name in names):
        wanted = {key for take in source.table.values() for key in take.names}
        kept = (source.average, '/moving_mean', '/moving_variance')
        names = [name for name in names if name.endswith(kept) or source.key(name, tensors.kind) not in wanted]
    return {source.key(name, tensors.kind): name for name in names}


def _run_weights(tensors: Tensors, scope: str, convention: Convention) -> OpenedWeights:
    """Returns the weights below a scope of a run's checkpoint, or of a network of the starter set."""
    ignored = re.compile(rf'phase_\d/.*|island/.*|{TRAINING_STATE}')
    names = [name for name in tensors.shapes if not ignored.fullmatch(name)]
    table = {name.removeprefix(f'{scope}/'): Take((name,)) for name in names if name.startswith(f'{scope}/')}
    source = Source('this project', scope, (CHECKPOINT, STARTER), convention, 0, table, own=True)
    others = tuple(sorted(name for name in names if not name.startswith(f'{scope}/')))
    return OpenedWeights(tensors, source, convention, {take.names[0]: take.names[0] for take in table.values()}, others)
