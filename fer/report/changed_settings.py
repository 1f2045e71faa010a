"""Whether a run was run with the settings of its flagfile in configs/."""

import dataclasses
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer.errors import InputError
from fer.runs.config import TrainConfig, differing
from fer.training.flags import train_defaults

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
    defaults = {name: value for name, value in train_defaults().items() if value is not None}
    for name, value in {**defaults, **flags}.items():
        if name not in types:
            if name not in defaults:
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
