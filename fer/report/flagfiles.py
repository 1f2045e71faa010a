"""Whether a run was run with the settings of its flagfile in configs/."""

import ast
import dataclasses
import functools
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer.errors import InputError
from fer.provenance import ROOT
from fer.training.config import TrainConfig, differing

# Flags that name files: of these only the names at the end count, without a run's seed.
_PLACES = ('train_manifest', 'val_manifest', 'init_from', 'audio_run_dir')
_IGNORED = ('seed', 'run_dir', 'data_root')
_TRUTH = {'true': True, 't': True, '1': True, 'false': False, 'f': False, '0': False}  # as absl reads them
_SEED = re.compile(r'-seed\d+$')


def changed_settings(config: TrainConfig, flags: dict[str, str], source: Path) -> list[str]:
    """`--width=0.05 (1.0)` for each setting in which a run differs from its flagfile, the flagfile's in brackets.

    What the flagfile does not name is compared with the default of train.py; a default that train.py settles by the
    network or the stage is not compared. Seeds are not either, and of files only their names.

    Args:
      config: the run's.
      flags: the flagfile's, as `read_settings` gives them.
      source: the flagfile, for the errors.

    Raises:
      InputError: a flag is not one of train.py's, or not of its type.
    """
    types = typing.get_type_hints(TrainConfig)
    expected: dict[str, Any] = {}
    for name, value in {**train_defaults(), **flags}.items():
        if name not in types:
            if name not in train_defaults():
                raise InputError(f'{source}: --{name} is no setting of train.py')
            continue
        try:
            expected[name] = _TRUTH[str(value).lower()] if types[name] is bool else types[name](value)
        except (ValueError, KeyError):
            raise InputError(f'{source}: --{name}={value}: expected {types[name].__name__}') from None
    return differing(_names_only(config), _names_only(dataclasses.replace(config, **expected)), _IGNORED)


def changed_fusion(metrics: dict, flags: dict[str, str]) -> list[str]:
    """The same of a late fusion, from what its metrics file says of it: its method and the runs it joins."""
    method, given = metrics.get('method'), metrics.get('members')
    paths = [path for path in given if isinstance(path, str)] if isinstance(given, list) else []
    found = {
        'method': str(method) if isinstance(method, str | int) else '',
        'results': _runs_of(paths),
    }
    expected = {
        'method': flags.get('method', '2'),
        'results': _runs_of([path for path in flags.get('results', '').split(',') if path]),
    }
    return [f'--{name}={found[name]} ({expected[name]})' for name in found if found[name] != expected[name]]


@functools.cache
def train_defaults() -> dict[str, Any]:
    """{name: default} of train.py's flags, without those whose default is settled later (None).

    They are read from its source: importing it would add its flags to those of the command that asks. Without a
    checkout there are none.
    """
    defaults = dict(_definitions())
    return {name: default for name, default in defaults.items() if default is not None}


def _definitions() -> list[tuple[str, Any]]:
    """Name and default of each flag that train.py defines."""
    script = ROOT / 'train.py'
    if not script.exists():
        return []
    calls = [node for node in ast.walk(ast.parse(script.read_text(encoding='utf-8'))) if isinstance(node, ast.Call)]
    return [
        (ast.literal_eval(call.args[0]), ast.literal_eval(call.args[1]))
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr.startswith('DEFINE_')
    ]


def _names_only(config: TrainConfig) -> TrainConfig:
    places: dict[str, Any] = {name: _names(getattr(config, name).split(',')) for name in _PLACES}
    return dataclasses.replace(config, **places)


def _names(paths: Sequence[str]) -> str:
    return ','.join(_name(path) for path in paths)


def _runs_of(paths: Sequence[str]) -> str:
    """The runs of results files, in one order whatever that of the files."""
    return ','.join(sorted(_name(str(Path(path).parent)) for path in paths))


def _name(path: str) -> str:
    return _SEED.sub('', Path(path).name)
