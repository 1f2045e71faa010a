"""First values of a run's variables: from weights that somebody published, or from runs; and the report of it.

A network has parts, each below a scope of its own and with an origin of its own (fer/training/stages.py). Every
variable is accounted for, on either side. Two kinds of layers may differ from the weights by rule and are then
fresh, as a whole: a classifier of other classes, and the layer on the last map where that has another size (VGG-Face's
fc6 at another image size, the classifier of a flat map). So is a layer that its source never has. What lies behind the
features is left in the file by a stage that has no use for it, and so are a run's other parts. All else that does not
match is an error, unless --allow_missing.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.errors import InputError
from fer.files import atomic_write
from fer.nets import NETWORKS, Network
from fer.nets.conventions import Convention
from fer.nets.summary import CLASSIFIERS
from fer.nets.weights import Weights, open_weights, read_finite, value, value_shape
from fer.nets.weights.run import default_convention
from fer.tf1 import tf

AFTER_FEATURES = ('fc7', *CLASSIFIERS)  # layers that logits depend on and features do not

_BYTES_PER_STEP = 2**27  # values handed to the session at a time: a step per variable is slow in a large graph


class Restored(NamedTuple):
    """What happened to one variable at the start of a run."""

    name: str
    shape: tuple[int, ...]
    state: str  # restored, fresh (by rule, or for want of weights) or mismatched (let pass by --allow_missing)
    why: str  # the tensors it is made from; or why it is not restored


class Origin(NamedTuple):
    """Where a part of the network comes from."""

    scope: str  # its variables are below
    weights: Weights | None  # None leaves all of it fresh
    why: str  # it is fresh, if it is


class Report(NamedTuple):
    """What became of one part."""

    scope: str
    weights: str  # whose they are and where they lie, '' for none
    variables: list[Restored]
    unused: list[str]  # tensors of the file that belong to no variable (let pass by --allow_missing)
    left: list[str]  # tensors that the stage has no use for, by rule


def open_for(model: str, init_from: str) -> Weights:
    """Opens weights for a network.

    Raises:
      InputError: they cannot be opened, or are of another network.
    """
    weights = open_weights(init_from)
    check_network(weights, model)
    return weights


def check_network(weights: Weights, model: str) -> None:
    """Raises InputError when the weights are of another network."""
    source = weights.source
    if source.network != model:
        raise InputError(f'{weights.path}: weights of {source.network} ({source.name}); expected of --model={model}')


def source_convention(network: Network, weights: Weights | None, choice: str) -> Convention:
    """What the graph is built from.

    Args:
      network: it is of.
      weights: it begins with, None for fresh ones.
      choice: `source`: all as the weights' source has it. `dissertation`: [-1, 1] into the network of the source.
    """
    convention = weights.convention if weights else default_convention(network)
    if choice == 'dissertation':
        own = Convention()
        convention = convention._replace(order=own.order, mean=own.mean, std=own.std)
    return convention


def describe_pixels(convention: Convention) -> str:
    """`RGB, (pixel - (123.68, 116.78, 103.94)) / (1, 1, 1)`."""
    mean, std = (', '.join(f'{part:.6g}' for part in parts) for parts in (convention.mean, convention.std))
    return f'{convention.order}, (pixel - ({mean})) / ({std})'


def initialise(
    session: tf.Session, origins: Sequence[Origin], allow_missing: bool, reinit: tuple[str, ...] = ()
) -> list[Report]:
    """Gives every variable of the graph its first value and says where it came from.

    Args:
      session: of the graph whose variables are initialised.
      origins: of each part of the network.
      allow_missing: leave fresh, rather than refuse, what does not match.
      reinit: scopes that are fresh although there are weights for them.

    Raises:
      InputError: weights do not match their part, cannot be read, or hold a NaN, be it in a tensor that is not wanted.
    """
    reports = [_plan(origin, reinit) for origin in origins]
    for origin, report in zip(origins, reports, strict=True):
        if origin.weights:
            _check(report, origin.weights, allow_missing)
            # A classifier that is not wanted still tells when the file is damaged.
            table = origin.weights.source.table
            fresh = [row.name.removeprefix(f'{origin.scope}/') for row in report.variables if row.state != 'restored']
            keys = {key for name in fresh if name in table for key in table[name].names}
            for key in sorted(keys & set(origin.weights.names)):
                read_finite(origin.weights, key)
    session.run(tf.global_variables_initializer())
    values: dict[tf.Variable, np.ndarray] = {}
    for origin, report in zip(origins, reports, strict=True):
        by_name = {variable.op.name: variable for variable in _variables(origin.scope)}
        for row in report.variables:
            if origin.weights and row.state == 'restored':
                take = origin.weights.source.table[row.name.removeprefix(f'{origin.scope}/')]
                values[by_name[row.name]] = value(origin.weights, take)
            if sum(part.nbytes for part in values.values()) >= _BYTES_PER_STEP:
                _load(session, values)
                values = {}
    _load(session, values)
    return reports


def _variables(scope: str) -> list[tf.Variable]:
    return tf.get_collection(tf.GraphKeys.MODEL_VARIABLES, f'{re.escape(scope)}/')


def _plan(origin: Origin, reinit: tuple[str, ...]) -> Report:
    """What is to become of each variable of a part, found from names and shapes."""
    weights, scope = origin.weights, origin.scope
    shapes = {v.op.name.removeprefix(f'{scope}/'): tuple(v.shape.as_list()) for v in _variables(scope)}
    if weights is None:
        return Report(scope, '', [Restored(f'{scope}/{n}', s, 'fresh', origin.why) for n, s in shapes.items()], [], [])
    fresh = _fresh_layers(weights, shapes)
    fresh |= {layer.removeprefix(f'{scope}/'): '--reinit_fc' for layer in reinit}
    rows = []
    for name, shape in shapes.items():
        reason = fresh.get(name.split('/')[0])
        state, why = ('fresh', reason) if reason else _match(weights, name, shape)
        rows.append(Restored(f'{scope}/{name}', shape, state, why))
    table = weights.source.table
    wanted = {key for name in shapes if name in table for key in table[name].names}
    layers = {name.split('/')[0] for name in shapes}
    # Layers behind the features, of a network that has none here.
    behind = {
        key
        for name, take in table.items()
        for key in take.names
        if name.split('/')[0] in AFTER_FEATURES and name.split('/')[0] not in layers
    }
    unused = sorted(actual for key, actual in weights.names.items() if key not in wanted | behind)
    left = sorted(actual for key, actual in weights.names.items() if key in behind)
    return Report(scope, f'{weights.source.name}, {weights.path}', rows, unused, [*left, *weights.other_parts])


def _fresh_layers(weights: Weights, shapes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """{layer: why} of those that are fresh by rule; names and shapes are enough for it.

    Args:
      weights: of the network.
      shapes: of our variables, by their names below the network's scope.
    """
    source, fresh = weights.source, {}
    on_map, _ = _on_last_map(source.network)
    for layer in sorted({name.split('/')[0] for name in shapes}):
        takes = [take for name, take in source.table.items() if name.startswith(f'{layer}/')]
        may_lack = layer in (*CLASSIFIERS, *source.absent)
        if layer == 'se' and not takes:
            fresh[layer] = 'a squeeze-and-excitation block, new to these weights (--se_vgg)'
        elif may_lack and not takes:
            fresh[layer] = f'{source.name} has no {layer}'
        elif may_lack and not any(take.names[0] in weights.names for take in takes):
            fresh[layer] = f'the file has no {layer}'
        elif layer in (*CLASSIFIERS, on_map) and (why := _other_size(weights, layer, shapes)):
            fresh[layer] = why
    return fresh


def _on_last_map(network: str) -> tuple[str, str]:
    """As `Network.on_last_map`; empty names for what has no map."""
    return (NETWORKS[network].on_last_map if network in NETWORKS else None) or ('', '')


def _other_size(weights: Weights, layer: str, shapes: dict[str, tuple[int, ...]]) -> str:
    """Why a dense layer may be of another size than in the weights, which have all of it; '' if it may not, or is not.

    It may have other classes where it is a classifier, and other inputs where it is on the last map and they are a
    whole number of the map's positions. What is damaged is neither.
    """
    on_map, channels_of = _on_last_map(weights.source.network)
    inputs, units = shapes[f'{layer}/weights']
    try:
        (their_inputs, their_units), (their_biases,) = (
            value_shape(weights, weights.source.table[f'{layer}/{kind}']) for kind in ('weights', 'biases')
        )
    except (KeyError, ValueError):  # one of the two is missing, or of another rank
        return ''
    other_map = their_inputs != inputs and layer == on_map and their_inputs % shapes[channels_of][0] == 0
    other_classes = their_units != units and layer in CLASSIFIERS
    explained = (their_inputs == inputs or other_map) and (their_units == units or other_classes)
    if not explained or their_units != their_biases or not (other_map or other_classes):
        return ''
    what = 'of other classes' if other_classes else 'on another last map'
    return f'{what}, of {their_inputs} inputs and {their_units} units in {weights.source.name}'


def _match(weights: Weights, name: str, shape: tuple[int, ...]) -> tuple[str, str]:
    """State and reason of a variable of no layer that is fresh by rule, by its name below the network's scope."""
    table = weights.source.table
    if name not in table:
        return 'mismatched', f'{weights.source.name} has nothing for it'
    take = table[name]
    missing = [key for key in take.names if key not in weights.names]
    if missing:
        averaged = ', or no moving average of it' if weights.source.average else ''
        return 'mismatched', f'no {missing[0]} in the file{averaged}'
    theirs = ', '.join(weights.names[key] for key in take.names)
    try:
        found = value_shape(weights, take)
    except ValueError:
        shapes = ' and '.join(str(list(weights.tensors.shapes[weights.names[key]])) for key in take.names)
        return 'mismatched', f'its shape there is {shapes} ({theirs}), which cannot be laid out so'
    if found != shape:
        return 'mismatched', f'its shape there is {list(found)} ({theirs})'
    return 'restored', theirs


def _load(session: tf.Session, values: dict[tf.Variable, np.ndarray]) -> None:
    """Through the initialisers' own inputs, so that the graph does not grow and large values are no constants of it."""
    initializers = [variable.initializer for variable in values]
    session.run(initializers, {op.inputs[1]: values[v] for op, v in zip(initializers, values, strict=True)})


def _check(report: Report, weights: Weights, allow_missing: bool) -> None:
    if not any(row.state == 'restored' for row in report.variables):
        raise InputError(f"{weights.path}: none of the network's {len(report.variables)} variables fits; see --width")
    problems = [f'{row.name} {list(row.shape)}: {row.why}' for row in report.variables if row.state == 'mismatched']
    problems += [
        f'{name} {list(weights.tensors.shapes[name])} in the file: no variable takes it' for name in report.unused
    ]
    if problems and not allow_missing:
        more = f'; and {len(problems) - 3} more' if len(problems) > 3 else ''
        raise InputError(
            f'{weights.path}: {weights.source.name} weights do not match the network: {"; ".join(problems[:3])}{more} '
            '(--allow_missing goes on without)'
        )


def write_restore_report(path: Path, reports: Sequence[Report], notes: Sequence[str]) -> str:
    """Writes restored.txt, a line per variable, part by part; returns the summaries for the screen.

    Args:
      path: of the file.
      reports: of each part.
      notes: lines for its head.
    """
    summaries = []
    with atomic_write(path) as file:
        file.writelines(f'# {note}\n' for note in notes)
        for report in reports:
            states = [row.state for row in report.variables]
            restored, fresh, mismatched = (states.count(state) for state in ('restored', 'fresh', 'mismatched'))
            summary = f'{report.scope}: {restored} of {len(states)} variables restored, {fresh} fresh'
            if mismatched or report.unused:
                summary += f', {mismatched} mismatched, {len(report.unused)} tensors unused'
            if report.left:
                summary += f', {len(report.left)} tensors left in the file'
            if report.weights:
                summary += f' ({report.weights})'
            file.write(f'# {summary}\n# variable\tshape\trestored from; or fresh or mismatched, and why\n')
            for row in report.variables:
                file.write(f'{row.name}\t{list(row.shape)}\t{row.state}: {row.why}\n')
            file.writelines(f'# unused: {name}\n' for name in report.unused)
            file.writelines(f'# left: {name}\n' for name in report.left)
            if report.weights and fresh:
                names = [row.name for row in report.variables if row.state == 'fresh']
                summary += f'\nfresh: {", ".join(names[:4])}{" ..." if fresh > 4 else ""}'
            for row in [row for row in report.variables if row.state == 'mismatched'][:4]:
                summary += f'\nmismatched: {row.name} {list(row.shape)}: {row.why}'
            summaries.append(summary)
    return '\n'.join(summaries)
