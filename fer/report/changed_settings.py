# SPDX-License-Identifier: Apache-2.0
"""Settings in which a run differs from its flagfile in configs/."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from fer.errors import InputError
from fer.runs.config import TrainConfig, list_differences
from fer.settings import parse_values, settings_of

_PLACES = ('train_manifest', 'val_manifest', 'init_from', 'audio_run_dir')  # only the names at their ends count
_IGNORED = ('seed', 'run_dir', 'data_root')
_SEED = re.compile(r'-seed\d+$')
# Method 4 once was what is 4-normalised now. Its title in the metrics file tells one from the other.
_EARLIER_TITLES = {
    'logits weighted by accuracy and root of class accuracy': '4-normalised',
    'logits in [0, 1] weighted by accuracy and root of class accuracy': '4-normalised-rescaled',
}
_EARLIER_SEARCHES = {'4': '4-normalised', '4-rescaled': '4-normalised-rescaled'}


def changed_settings(config: TrainConfig, flags: dict[str, str], source: Path) -> list[str]:
    """Returns `--width=0.05 (1.0)` for each setting in which a run differs from its flagfile (in brackets).

    A setting that the flagfile does not name is compared with the default of train.py, unless the network or the stage
    decides that default. Seeds are not compared. Files and folders are compared by their names, without the seed.

    Args:
      config: the settings of the run.
      flags: the settings of the flagfile, as `read_settings` returns them.
      source: path of the flagfile, for errors.

    Raises:
      InputError: a flag is not one of train.py's, or not of its type.
    """
    settings = settings_of(TrainConfig)
    for name in flags.keys() - settings.keys() - {'resume', 'overwrite'}:
        raise InputError(f'{source}: --{name} is not a setting of train.py')
    expected = {name: one.default for name, one in settings.items() if one.default is not None}
    try:
        expected |= parse_values(TrainConfig, flags)
    except InputError as error:
        raise InputError(f'{source}: {error}') from None
    return list_differences(_names_only(config), _names_only(dataclasses.replace(config, **expected)), _IGNORED)


def changed_fusion(metrics: dict, flags: dict[str, str]) -> list[str]:
    """Returns the differences of a late fusion from its flagfile. They can be the method or the results files fused.

    Args:
      metrics: content of the fusion's metrics file.
      flags: the settings of the flagfile.
    """
    given = metrics.get('members')
    paths = [path for path in given if isinstance(path, str)] if isinstance(given, list) else []
    found = {
        'method': _recorded_method(metrics),
        'results': _run_names(paths),
    }
    expected = {
        'method': flags.get('method', '2'),
        'results': _run_names([path for path in flags.get('results', '').split(',') if path]),
    }
    return [f'--{name}={found[name]} ({expected[name]})' for name in found if found[name] != expected[name]]


def _recorded_method(metrics: dict) -> str:
    """Returns the name of a late fusion's method, empty if the file has none. Earlier names become today's."""
    method, title = metrics.get('method'), metrics.get('method_title')
    if title is None and isinstance(method, str):  # of an earlier search, which wrote no titles
        return _EARLIER_SEARCHES.get(method, method)
    name = _EARLIER_TITLES.get(title) if isinstance(title, str) else None
    return name or (str(method) if isinstance(method, str | int) else '')


def _names_only(config: TrainConfig) -> TrainConfig:
    """Returns the settings with the name of each file and folder instead of its path."""
    names: dict[str, Any] = {}
    for place in _PLACES:
        value = getattr(config, place)
        names[place] = tuple(map(_name, value)) if isinstance(value, tuple) else _name(value)
    return dataclasses.replace(config, **names)


def _run_names(paths: list[str]) -> str:
    """Returns the names of the runs that the results files belong to, sorted."""
    return ','.join(sorted(_name(str(Path(path).parent)) for path in paths))


def _name(path: str) -> str:
    return _SEED.sub('', Path(path).name)
