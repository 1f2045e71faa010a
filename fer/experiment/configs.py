"""The runs below `configs/`: the settings of each, and which runs it starts from.

What a run needs of others its flagfile says itself, by naming files or folders of theirs, all called `<run>-seed0`.
"""

import re
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.runs.flagfiles import find_runs, read_settings

TRAIN, FUSION = 'train.py', 'fusion.py'

# The settings that are paths, and how within them the name of a run's folder ends.
PLACES = ('train_manifest', 'val_manifest', 'init_from', 'audio_run_dir', 'run_dir', 'results', 'output')
_OF_A_RUN = '-seed0'


class Config(NamedTuple):
    """A run as its flagfile describes it, for seed 0."""

    run_id: str
    path: str  # of the flagfile
    program: str  # TRAIN or FUSION
    settings: dict[str, str]  # every flag, shared defaults included
    needs: tuple[str, ...]  # run_ids, in the order of the flagfile, each once

    @property
    def folder(self) -> str:
        """What the run of seed 0 writes to."""
        return self.settings['run_dir' if self.program == TRAIN else 'output']


def read_configs(folder: str) -> dict[str, Config]:
    """All runs below a folder, by run_id, in the order of sections, tables and runs.

    Raises:
      InputError: no folder, no run, a flagfile that cannot be read, that lacks what a run must say, or that needs a run
        there is not, two runs of one name or one folder, or runs that need each other in a circle.
    """
    found = find_runs(folder)
    if not found:
        raise InputError(f'--configs={folder}: no <section>/<table>/<run>.flags; expected a folder of runs')
    configs: dict[str, Config] = {}
    owners: dict[str, Config] = {}
    for run_id, path in found:
        config = _read_config(run_id, path)
        for what, other in ((config.run_id, configs.get(config.run_id)), (config.folder, owners.get(config.folder))):
            if other:
                raise InputError(f'{path}: {what} is what {other.path} is called or writes to; expected another')
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
            f'{path}: --{folder_flag}={settings[folder_flag]}; expected a folder called {run_id}-seed0, as the run'
        )
    origins = (settings.get(name, '') for name in ('init_from', 'audio_run_dir', 'results'))
    folders = [name for origin in origins for name in re.split('[/,]', origin) if name.endswith(_OF_A_RUN)]
    needs = [need for name in folders if (need := name.removesuffix(_OF_A_RUN))]
    return Config(run_id, str(path), program, settings, tuple(dict.fromkeys(needs)))


def select(configs: dict[str, Config], tables: list[str]) -> list[str]:
    """The run_ids that names of sections, tables or runs stand for: `6.3`, `6.3-t1`, `6.3-t1-r5`, `6.5`, `all`.

    A section stands for all that begin with it and a letter as well: 6.5 is 6.5e and 6.5l. Table 0 of a section has
    what other runs need and no table lists; only its own name stands for it.

    Raises:
      InputError: a name that nothing begins with.
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
            raise InputError(f'--table={table}: nothing of that name; expected a section, a table or a run, or all')
        chosen += found
    return list(dict.fromkeys(chosen))


def order(configs: dict[str, Config], run_ids: list[str]) -> list[str]:
    """The runs and all that they need, each after what it needs; otherwise in the order of `configs`.

    Raises:
      InputError: runs that need each other in a circle; names them.
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
