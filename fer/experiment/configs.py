# SPDX-License-Identifier: Apache-2.0
"""The runs below `configs/`: the settings of each, and the runs that it starts from.

A flagfile names the folders of other runs as `<run>-seed0`. These names show which runs it needs.
"""

import re
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.runs.flagfiles import find_runs, read_settings

TRAIN, FUSION = 'train.py', 'fusion.py'

# The settings that are paths.
PLACES = ('train_manifest', 'val_manifest', 'init_from', 'audio_run_dir', 'run_dir', 'results', 'output')
FIRST_SEED = '-seed0'  # the end of a run folder's name in flagfiles


class Config(NamedTuple):
    """A run with seed 0, as its flagfile describes it."""

    run_id: str
    path: str  # of the flagfile
    program: str  # TRAIN or FUSION
    settings: dict[str, str]  # all flags, including shared defaults
    needs: tuple[str, ...]  # run ids, in the order of the flagfile, each once

    @property
    def folder(self) -> str:
        """Returns the folder that the run of seed 0 writes to."""
        return self.settings['run_dir' if self.program == TRAIN else 'output']


def read_configs(folder: str) -> dict[str, Config]:
    """Reads all runs below a folder, by run id, in the order of sections, tables and runs.

    Raises:
      InputError: there is no folder or no run, a flagfile is unreadable or incomplete or needs a missing run, two runs
        share a name or a folder, or runs need each other in a circle.
    """
    found = find_runs(folder)
    if not found:
        raise InputError(f'--configs={folder}: no <section>/<table>/<run>.flags; expected a folder of runs')
    configs: dict[str, Config] = {}
    owners: dict[str, Config] = {}
    for run_id, path in found:
        config = _read_config(run_id, path)
        for name, other in ((config.run_id, configs.get(config.run_id)), (config.folder, owners.get(config.folder))):
            if other:
                raise InputError(f'{path}: name or folder {name} is already used by {other.path}; choose another')
        configs[config.run_id] = owners[config.folder] = config
    for config in configs.values():
        for need in config.needs:
            if need not in configs:
                raise InputError(f'{config.path}: needs {need}-seed0; expected a run below {folder}')
            if need == config.run_id:
                raise InputError(f'{config.path}: needs itself; expected other runs')
    order(configs, list(configs))
    return configs


def _read_config(run_id: str, path: Path) -> Config:
    settings = read_settings(path)
    program = TRAIN if 'stage' in settings else FUSION
    folder_flag = 'run_dir' if program == TRAIN else 'output'
    for name in ('model', 'train_manifest', 'run_dir') if program == TRAIN else ('results', 'method', 'output'):
        if not settings.get(name):
            raise InputError(f'{path}: no --{name}; expected one in a flagfile of {program}')
    if Path(settings[folder_flag]).name != f'{run_id}-seed0':
        raise InputError(
            f'{path}: --{folder_flag}={settings[folder_flag]}; expected a folder named {run_id}-seed0, like the run'
        )
    origins = (settings.get(name, '') for name in ('init_from', 'audio_run_dir', 'results'))
    folders = [name for origin in origins for name in re.split('[/,]', origin) if name.endswith(FIRST_SEED)]
    needs = [need for name in folders if (need := name.removesuffix(FIRST_SEED))]
    return Config(run_id, str(path), program, settings, tuple(dict.fromkeys(needs)))


def select(configs: dict[str, Config], tables: list[str]) -> list[str]:
    """Returns the run ids of sections, tables or runs, given as `6.3`, `6.3-t1`, `6.3-t1-r5`, `6.5` or `all`.

    A section includes those with a letter after it: 6.5 means 6.5e and 6.5l. Table 0 of a section holds runs that no
    table lists and that other runs need. Only its own name selects it.

    Raises:
      InputError: no run has such a name.
    """
    chosen = []
    for table in tables:
        parts = table.split('-')
        listed = [run_id for run_id in configs if run_id.split('-')[1] != 't0' or parts[1:2] == ['t0']]
        found = [
            run_id
            for run_id in listed
            if table == 'all'
            or run_id.split('-')[: len(parts)] == parts
            or (len(parts) == 1 and re.fullmatch(r'[a-z]', run_id.split('-')[0].removeprefix(table) or '-'))
        ]
        if not found:
            raise InputError(f'--table={table}: no run has that name; expected a section, a table, a run or all')
        chosen += found
    return list(dict.fromkeys(chosen))


def order(configs: dict[str, Config], run_ids: list[str]) -> list[str]:
    """Returns the runs and all runs that they need. Each comes after the runs that it needs.

    Otherwise they have the order of `configs`.

    Raises:
      InputError: runs need each other in a circle. The message names them.
    """
    position = {run_id: index for index, run_id in enumerate(configs)}
    ordered: dict[str, None] = {}
    under_way: list[str] = []

    def visit(run_id: str) -> None:
        if run_id in ordered:
            return
        if run_id in under_way:
            circle = [*under_way[under_way.index(run_id) :], run_id]
            raise InputError(f'{configs[run_id].path}: runs need each other in a circle: {" needs ".join(circle)}')
        under_way.append(run_id)
        for need in sorted(configs[run_id].needs, key=position.__getitem__):
            visit(need)
        under_way.pop()
        ordered[run_id] = None

    for run_id in sorted(run_ids, key=position.__getitem__):
        visit(run_id)
    return list(ordered)
