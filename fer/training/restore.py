# SPDX-License-Identifier: Apache-2.0
"""The first values of a run's variables, from published weights or from runs, and the report of them (restored.txt).

A network has parts, each with its own scope and origin (fer/training/stages.py). Every variable of the network and
every tensor of the file is accounted for. Three kinds of layers may differ from the weights and are then fresh as a
whole:
- a classifier of other classes
- the layer on the last map, if the map has another size (VGG-Face's fc6 at another image size, the classifier of a
  flat map)
- a layer that its source never has

A stage that does not use the layers after the features leaves them in the file, and it leaves a run's other parts
there. Every other difference is an error, unless --allow_missing is given.
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
from fer.nets.vgg_face import VGG_POOLS
from fer.nets.weights.identify import OpenedWeights, open_weights
from fer.nets.weights.values import read_finite, read_value, value_shape
from fer.runs.config import read_flagfile
from fer.runs.names import FLAGS_FILE
from fer.tf1 import tf

AFTER_FEATURES = ('fc7', *CLASSIFIERS)  # layers that logits depend on and features do not

_BYTES_PER_STEP = 2**27  # values fed to the session at a time, because a step per variable is slow in a large graph


class VariableStart(NamedTuple):
    """The first value of one variable, and its origin."""

    name: str
    shape: tuple[int, ...]
    state: str  # restored, fresh (by rule, or without weights), or mismatched (allowed by --allow_missing)
    reason: str  # the tensors it is restored from, or why it is not restored


class Origin(NamedTuple):
    """The source of a part of the network."""

    scope: str  # of its variables
    weights: OpenedWeights | None  # None leaves the whole part fresh
    reason_fresh: str  # why the part is fresh, if it is


class PartReport(NamedTuple):
    """The first values of the variables of one part, and their origins."""

    scope: str
    weights: str  # source and path of the weights, '' without weights
    variables: list[VariableStart]
    unused: list[str]  # tensors of the file that match no variable (allowed by --allow_missing)
    left: list[str]  # tensors of the file that the stage does not use, by rule


def open_init_weights(model: str, init_from: str) -> OpenedWeights:
    """Opens the weights of a network.

    Raises:
      InputError: they cannot be opened, or belong to another network.
    """
    weights = open_weights(init_from)
    check_network(weights, model)
    return weights


def check_network(weights: OpenedWeights, model: str) -> None:
    """Raises InputError if the weights belong to another network."""
    source = weights.source
    if source.network != model:
        raise InputError(
            f'{weights.path}: weights of {source.network} ({source.name}); expected weights of --model={model}'
        )


def source_convention(
    network: Network, weights: OpenedWeights | None, choice: str, vgg_pooling: str = 'source'
) -> Convention:
    """Returns the convention that the graph is built with.

    Args:
      network: the network.
      weights: the weights it starts from, or None for fresh ones.
      choice: `source` takes the whole convention from the source of the weights. `dissertation` feeds pixels in [-1, 1]
        to a network that is otherwise as in the source.
      vgg_pooling: `source`, or how VGG-Face pools instead: `valid` or `same`.
    """
    convention = weights.convention if weights else network.convention
    if choice == 'dissertation':
        own = Convention()
        convention = convention._replace(order=own.order, mean=own.mean, std=own.std, grey=own.grey)
    if vgg_pooling != 'source':
        convention = convention._replace(pool=VGG_POOLS[vgg_pooling])
    return convention


def describe_pixels(convention: Convention) -> str:
    """Returns text such as `RGB, (pixel - (123.68, 116.78, 103.94)) / (1, 1, 1)`, with `grey ` before it if so."""
    mean, std = (', '.join(f'{part:.6g}' for part in parts) for parts in (convention.mean, convention.std))
    return f'{"grey " if convention.grey else ""}{convention.order}, (pixel - ({mean})) / ({std})'


def describe_stem(stem_stride: int, weights: OpenedWeights | None) -> str:
    """Returns a line if the weights are of a run with another --stem_stride, which no variable shows, else ''."""
    flags_file = Path(weights.path).parent / FLAGS_FILE if weights and weights.source.own else None
    if not flags_file or not flags_file.exists():
        return ''
    theirs = read_flagfile(flags_file).stem_stride
    if theirs == stem_stride:
        return ''
    return f'stem: --stem_stride={stem_stride}, but the weights were trained with {theirs}'


def initialise(
    session: tf.Session, origins: Sequence[Origin], *, allow_missing: bool, reinit: tuple[str, ...] = ()
) -> list[PartReport]:
    """Gives every variable of the graph its first value.

    Args:
      session: of the graph whose variables are initialised.
      origins: of each part of the network.
      allow_missing: whether variables that do not match stay fresh. Otherwise they are an error.
      reinit: scopes that stay fresh although there are weights for them.

    Returns:
      For each part, how its variables start.

    Raises:
      InputError: weights do not match their part, cannot be read, or contain a NaN, even in a tensor that is not used.
    """
    reports = [_plan(origin, reinit) for origin in origins]
    for report, origin in zip(reports, origins, strict=True):
        if origin.weights:
            _check_match(report, origin.weights, allow_missing=allow_missing)
            _check_unused_values(report, origin.weights)
    session.run(tf.global_variables_initializer())
    _restore(session, origins, reports)
    return reports


def _check_unused_values(report: PartReport, weights: OpenedWeights) -> None:
    """Raises InputError for a NaN in a tensor of a fresh variable, because it shows that the file is damaged."""
    table = weights.source.table
    fresh = [row.name.removeprefix(f'{report.scope}/') for row in report.variables if row.state != 'restored']
    keys = {key for name in fresh if name in table for key in table[name].names}
    for key in sorted(keys & set(weights.names)):
        read_finite(weights, key)


def _restore(session: tf.Session, origins: Sequence[Origin], reports: Sequence[PartReport]) -> None:
    """Sets the restored variables, some at a time."""
    values: dict[tf.Variable, np.ndarray] = {}
    for origin, report in zip(origins, reports, strict=True):
        by_name = {variable.op.name: variable for variable in _variables(origin.scope)}
        for row in report.variables:
            if origin.weights and row.state == 'restored':
                take = origin.weights.source.table[row.name.removeprefix(f'{origin.scope}/')]
                values[by_name[row.name]] = read_value(origin.weights, take)
            if sum(part.nbytes for part in values.values()) >= _BYTES_PER_STEP:
                _load(session, values)
                values = {}
    _load(session, values)


def _variables(scope: str) -> list[tf.Variable]:
    return tf.get_collection(tf.GraphKeys.MODEL_VARIABLES, f'{re.escape(scope)}/')


def _plan(origin: Origin, reinit: tuple[str, ...]) -> PartReport:
    """Decides from names and shapes how each variable of a part starts."""
    weights, scope = origin.weights, origin.scope
    shapes = {v.op.name.removeprefix(f'{scope}/'): tuple(v.shape.as_list()) for v in _variables(scope)}
    if weights is None:
        fresh = [
            VariableStart(f'{scope}/{name}', shape, 'fresh', origin.reason_fresh) for name, shape in shapes.items()
        ]
        return PartReport(scope, '', fresh, [], [])
    fresh_layers = _fresh_layers(weights, shapes)
    fresh_layers |= {layer.removeprefix(f'{scope}/'): '--reinit_fc' for layer in reinit}
    rows = []
    for name, shape in shapes.items():
        reason_fresh = fresh_layers.get(name.split('/')[0])
        state, reason = ('fresh', reason_fresh) if reason_fresh else _match(weights, name, shape)
        rows.append(VariableStart(f'{scope}/{name}', shape, state, reason))
    table = weights.source.table
    wanted = {key for name in shapes if name in table for key in table[name].names}
    layers = {name.split('/')[0] for name in shapes}
    # Layers after the features, where this stage's network ends at the features.
    after_features = {
        key
        for name, take in table.items()
        for key in take.names
        if name.split('/')[0] in AFTER_FEATURES and name.split('/')[0] not in layers
    }
    unused = sorted(actual for key, actual in weights.names.items() if key not in wanted | after_features)
    left = sorted(actual for key, actual in weights.names.items() if key in after_features)
    return PartReport(scope, f'{weights.source.name}, {weights.path}', rows, unused, [*left, *weights.other_parts])


def _fresh_layers(weights: OpenedWeights, shapes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """Returns {layer: reason} of the layers that are fresh by rule, decided from names and shapes.

    Args:
      weights: of the network.
      shapes: of our variables, by their names below the network's scope.
    """
    source, fresh = weights.source, {}
    on_map, _ = _on_last_map(source.network)
    for layer in sorted({name.split('/')[0] for name in shapes}):
        takes = [take for name, take in source.table.items() if name.startswith(f'{layer}/')]
        may_be_missing = layer in (*CLASSIFIERS, *source.absent)
        if layer == 'se' and not takes:
            fresh[layer] = 'a squeeze-and-excitation block, new to these weights (--se_vgg)'
        elif may_be_missing and not takes:
            fresh[layer] = f'{source.name} has no {layer}'
        elif may_be_missing and not any(take.names[0] in weights.names for take in takes):
            fresh[layer] = f'the file has no {layer}'
        elif layer in (*CLASSIFIERS, on_map) and (reason := _explain_other_size(weights, layer, shapes)):
            fresh[layer] = reason
    return fresh


def _on_last_map(network: str) -> tuple[str, str]:
    """Returns `Network.on_last_map`, or empty names for a network without maps."""
    return (NETWORKS[network].on_last_map if network in NETWORKS else None) or ('', '')


def _explain_other_size(weights: OpenedWeights, layer: str, shapes: dict[str, tuple[int, ...]]) -> str:
    """Returns why a dense layer may have another size than in the weights, or '' if its size is equal or wrong.

    A classifier may have other classes. The layer on the last map may have other inputs, if they are a whole number of
    the map's positions. The sizes of a damaged layer match neither rule.
    """
    on_map, channels_of = _on_last_map(weights.source.network)
    inputs, units = shapes[f'{layer}/weights']
    try:
        (their_inputs, their_units), (their_biases,) = (
            value_shape(weights, weights.source.table[f'{layer}/{kind}']) for kind in ('weights', 'biases')
        )
    except (KeyError, ValueError):  # a tensor is missing or has another rank
        return ''
    other_map = their_inputs != inputs and layer == on_map and their_inputs % shapes[channels_of][0] == 0
    other_classes = their_units != units and layer in CLASSIFIERS
    explained = (their_inputs == inputs or other_map) and (their_units == units or other_classes)
    if not explained or their_units != their_biases or not (other_map or other_classes):
        return ''
    what = 'of other classes' if other_classes else 'on another last map'
    return f'{what}, of {their_inputs} inputs and {their_units} units in {weights.source.name}'


def _match(weights: OpenedWeights, name: str, shape: tuple[int, ...]) -> tuple[str, str]:
    """Returns the state and reason of a variable whose layer is not fresh by rule.

    Args:
      weights: of the network.
      name: of the variable, below the network's scope.
      shape: of the variable.
    """
    table = weights.source.table
    if name not in table:
        return 'mismatched', f'{weights.source.name} has no tensor for it'
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
        return 'mismatched', f'its shape there is {shapes} ({theirs}), which cannot be converted'
    if found != shape:
        return 'mismatched', f'its shape there is {list(found)} ({theirs})'
    return 'restored', theirs


def _load(session: tf.Session, values: dict[tf.Variable, np.ndarray]) -> None:
    """Sets variables through the inputs of their initialisers, so that the graph does not grow by large constants."""
    initializers = [variable.initializer for variable in values]
    session.run(initializers, {op.inputs[1]: values[v] for op, v in zip(initializers, values, strict=True)})


def _check_match(report: PartReport, weights: OpenedWeights, *, allow_missing: bool) -> None:
    """Raises InputError if no variable is restored, or if some do not match, unless that is allowed."""
    if not any(row.state == 'restored' for row in report.variables):
        raise InputError(f"{weights.path}: none of the network's {len(report.variables)} variables fits; check --width")
    problems = [f'{row.name} {list(row.shape)}: {row.reason}' for row in report.variables if row.state == 'mismatched']
    problems += [
        f'{name} {list(weights.tensors.shapes[name])} in the file: no variable matches it' for name in report.unused
    ]
    if problems and not allow_missing:
        more = f'; and {len(problems) - 3} more' if len(problems) > 3 else ''
        raise InputError(
            f'{weights.path}: {weights.source.name} weights do not match the network: {"; ".join(problems[:3])}{more} '
            '(--allow_missing leaves these fresh)'
        )


def write_restore_report(path: Path, reports: Sequence[PartReport], notes: Sequence[str]) -> str:
    """Writes restored.txt, a line per variable, part by part.

    Args:
      path: of the file.
      reports: of each part.
      notes: first lines of the file.

    Returns:
      The summaries of all parts, for the screen.
    """
    with atomic_write(path) as file:
        file.writelines(f'# {note}\n' for note in notes)
        for report in reports:
            file.write(f'# {_summarise(report)}\n# variable\tshape\trestored from; or fresh or mismatched, and why\n')
            for row in report.variables:
                file.write(f'{row.name}\t{list(row.shape)}\t{row.state}: {row.reason}\n')
            file.writelines(f'# unused: {name}\n' for name in report.unused)
            file.writelines(f'# left: {name}\n' for name in report.left)
    return '\n'.join(line for report in reports for line in (_summarise(report), *_list_exceptions(report)))


def describe_weights(reports: Sequence[PartReport]) -> str:
    """Returns the line about the weights that a new run starts from. It names fresh parts as clearly as restored ones.

    Args:
      reports: of each part.
    """
    parts = [
        f'{report.scope} from {report.weights}' if report.weights else f'{report.scope} fresh ({_reason_fresh(report)})'
        for report in reports
    ]
    nothing = '' if any(report.weights for report in reports) else 'nothing is restored: '
    return f'weights: {nothing}{"; ".join(parts)}'


def _reason_fresh(report: PartReport) -> str:
    """Returns why a part without weights is fresh."""
    return report.variables[0].reason if report.variables else 'it has no variables'


def _summarise(report: PartReport) -> str:
    """Returns a line with the counts of a part's variables by state."""
    states = [row.state for row in report.variables]
    restored, fresh, mismatched = (states.count(state) for state in ('restored', 'fresh', 'mismatched'))
    summary = f'{report.scope}: {restored} of {len(states)} variables restored, {fresh} fresh'
    if mismatched or report.unused:
        summary += f', {mismatched} mismatched, {len(report.unused)} tensors unused'
    if report.left:
        summary += f', {len(report.left)} tensors left in the file'
    if report.weights:
        summary += f' ({report.weights})'
    return summary


def _list_exceptions(report: PartReport) -> list[str]:
    """Returns lines that name the first four fresh and mismatched variables of a part that has weights."""
    fresh = [row.name for row in report.variables if row.state == 'fresh'] if report.weights else []
    mismatched = [row for row in report.variables if row.state == 'mismatched']
    lines = [f'fresh: {", ".join(fresh[:4])}{" ..." if len(fresh) > 4 else ""}'] if fresh else []
    return lines + [f'mismatched: {row.name} {list(row.shape)}: {row.reason}' for row in mismatched[:4]]
