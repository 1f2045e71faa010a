"""First values of a run's variables: from weights that somebody published, or from a run; and the report of it.

Every variable is accounted for, on either side. Two kinds may differ from the weights by rule and are then fresh: a
classifier of other classes or of another last map, and VGG-Face's fc6 on another last map, which is another image size.
So is a layer that its source never has. All else that does not match is an error, unless --allow_missing.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.errors import InputError
from fer.files import atomic_write
from fer.nets import Network
from fer.nets.conventions import Convention
from fer.nets.summary import CLASSIFIERS
from fer.nets.weights import Weights, open_weights, read_finite, value, value_shape
from fer.nets.weights.run import default_convention
from fer.tf1 import tf

_BYTES_PER_STEP = 2**27  # values handed to the session at a time: a step per variable is slow in a large graph


class Restored(NamedTuple):
    """What happened to one variable at the start of a run."""

    name: str
    shape: tuple[int, ...]
    state: str  # restored, fresh (by rule, or for want of weights) or mismatched (let pass by --allow_missing)
    why: str  # the tensors it is made from; or why it is not restored


class Report(NamedTuple):
    weights: str  # whose they are and where they lie, '' for none
    variables: list[Restored]
    unused: list[str]  # tensors of the file that belong to no variable (let pass by --allow_missing)


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


def initialise(session: tf.Session, weights: Weights | None, network: str, allow_missing: bool) -> Report:
    """Gives every variable of the graph its first value and says where it came from.

    Args:
      session: of the graph whose variables are initialised.
      weights: of the same network; None leaves all fresh.
      network: its name and scope.
      allow_missing: leave fresh, rather than refuse, what does not match.

    Raises:
      InputError: the weights do not match the network, cannot be read, or hold a NaN, be it in a tensor that
        is not wanted.
    """
    variables = tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)
    if weights is None:
        session.run(tf.global_variables_initializer())
        rows = [Restored(v.op.name, tuple(v.shape.as_list()), 'fresh', 'no --init_from') for v in variables]
        return Report('', rows, [])
    below_scope = {variable: variable.op.name.removeprefix(f'{network}/') for variable in variables}
    rows = []
    for variable, name in below_scope.items():
        shape = tuple(variable.shape.as_list())
        rows.append(Restored(variable.op.name, shape, *_match(weights, name, shape)))
    table = weights.source.table
    wanted = {key for name in below_scope.values() if name in table for key in table[name].names}
    unused = sorted(actual for key, actual in weights.names.items() if key not in wanted)
    report = Report(f'{weights.source.name}, {weights.path}', rows, unused)
    _check(report, weights, allow_missing)
    # A classifier that is not wanted still tells when the file is damaged.
    left = [name for name, row in zip(below_scope.values(), rows, strict=True) if row.state != 'restored']
    for key in sorted({key for name in left if name in table for key in table[name].names} & set(weights.names)):
        read_finite(weights, key)
    session.run(tf.global_variables_initializer())
    values: dict[tf.Variable, np.ndarray] = {}
    for (variable, name), row in zip(below_scope.items(), rows, strict=True):
        if row.state == 'restored':
            values[variable] = value(weights, table[name])
        if sum(part.nbytes for part in values.values()) >= _BYTES_PER_STEP:
            _load(session, values)
            values = {}
    _load(session, values)
    return report


def _match(weights: Weights, name: str, shape: tuple[int, ...]) -> tuple[str, str]:
    """State and reason of a variable, by its name below the network's scope; names and shapes are enough for it."""
    layer = name.split('/')[0]
    table = weights.source.table
    if name not in table:
        if layer == 'se':
            return 'fresh', 'a squeeze-and-excitation block, new to these weights (--se_vgg)'
        if layer in (*CLASSIFIERS, *weights.source.absent):
            return 'fresh', f'{weights.source.name} has no {layer}'
        return 'mismatched', f'{weights.source.name} has nothing for it'
    take = table[name]
    missing = [key for key in take.names if key not in weights.names]
    if missing:
        own = [table[ours].names[0] for ours in table if ours.startswith(f'{layer}/')]
        if layer in (*CLASSIFIERS, *weights.source.absent) and not any(key in weights.names for key in own):
            return 'fresh', f'the file has no {layer}'
        return 'mismatched', f'no {missing[0]} in the file'
    theirs = ', '.join(weights.names[key] for key in take.names)
    try:
        found = value_shape(weights, take)
    except ValueError:
        shapes = ' and '.join(str(list(weights.tensors.shapes[weights.names[key]])) for key in take.names)
        return 'mismatched', f'its shape there is {shapes} ({theirs}), which cannot be laid out so'
    if found == shape:
        return 'restored', theirs
    reason = f'its shape there is {list(found)} ({theirs})'
    if layer in CLASSIFIERS:
        return 'fresh', f'{reason}: a classifier of other classes or another last map'
    if layer == 'fc6' and len(found) == len(shape) == 2 and found[1] == shape[1]:
        return 'fresh', f'{reason}: fc6 on another last map, as of another image size'
    return 'mismatched', reason


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


def write_restore_report(path: Path, report: Report) -> str:
    """Writes restored.txt, a line per variable, and returns the summary for the screen."""
    states = [row.state for row in report.variables]
    restored, fresh, mismatched = (states.count(state) for state in ('restored', 'fresh', 'mismatched'))
    summary = f'{restored} of {len(states)} variables restored, {fresh} fresh'
    if mismatched or report.unused:
        summary += f', {mismatched} mismatched, {len(report.unused)} tensors unused'
    if report.weights:
        summary += f' ({report.weights})'
    with atomic_write(path) as file:
        file.write(f'# {summary}\n# variable\tshape\trestored from; or fresh or mismatched, and why\n')
        for row in report.variables:
            file.write(f'{row.name}\t{list(row.shape)}\t{row.state}: {row.why}\n')
        for name in report.unused:
            file.write(f'# unused: {name}\n')
    if report.weights and fresh:
        names = [row.name for row in report.variables if row.state == 'fresh']
        summary += f'\nfresh: {", ".join(names[:4])}{" ..." if fresh > 4 else ""}'
    return summary
