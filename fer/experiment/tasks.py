"""A run with one seed, in this place: the commands that make it, and what is done of it."""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.experiment.configs import PLACES, TRAIN, Config, order, select
from fer.installation import script
from fer.runs.flagfiles import read_settings


class Places(NamedTuple):
    """Where things are that flagfiles look for in data/, weights/ and runs/."""

    data: str
    weights: str  # empty: no public weights, networks begin with fresh ones
    runs: str


class Task(NamedTuple):
    name: str  # <run_id>-seed<k>
    config: Config
    seed: int
    is_asked: bool  # for itself, and not only because others need it
    folder: Path  # of the run
    needs: tuple[str, ...]  # names of tasks
    inputs: tuple[str, ...]  # files that must be there, beyond those that tasks make
    commands: tuple[tuple[str, ...], ...]  # argv of each, without the interpreter
    splits: tuple[str, ...]  # that there are results of when it is done
    settings: dict[str, str]  # every setting that the flagfile and those laid over it give


def make_tasks(
    configs: dict[str, Config],
    tables: list[str],
    seeds: list[int],
    places: Places,
    without: list[str],
    overrides: str,
) -> dict[str, Task]:
    """The tasks of some tables and all that they need, by name, each after what it needs.

    Args:
      configs: all runs.
      tables: as in `select`.
      seeds: each is a task of every run, made from tasks of the same seed.
      places: where things are.
      without: tables whose runs are not made: what would start from one of them starts from what that one starts from.
      overrides: a flagfile whose settings win over those of runs that train; empty for none.
    """
    left_out = set(select(configs, without)) if without else set()
    wanted = [run_id for run_id in select(configs, tables) if run_id not in left_out]
    if not wanted:
        left = f' is left without {",".join(without)}' if without else ''
        raise InputError(f'--table={",".join(tables)}: nothing{left}; expected runs')
    configs = {run_id: _without(config, configs, left_out) for run_id, config in configs.items()}
    ordered = order(configs, wanted)
    laid_over = read_settings(overrides) if overrides else {}
    return {
        task.name: task
        for seed in seeds
        for task in (
            _make_task(configs[run_id], seed, run_id in wanted, places, overrides, laid_over) for run_id in ordered
        )
    }


def _without(config: Config, configs: dict[str, Config], left_out: set[str]) -> Config:
    """The run with what it needs of runs that are left out replaced by what those start from."""
    settings, needs = dict(config.settings), list(config.needs)
    while gone := [need for need in needs if need in left_out]:
        for need in gone:
            parent = configs[need]
            if settings.get('init_from') != parent.folder:
                raise InputError(f'--without: {config.path} needs more of {need} than its weights; expected to keep it')
            settings['init_from'] = parent.settings.get('init_from', '')
            needs[needs.index(need) : needs.index(need) + 1] = parent.needs
    return config._replace(settings=settings, needs=tuple(needs))


def _make_task(
    config: Config, seed: int, is_asked: bool, places: Places, overrides: str, laid_over: dict[str, str]
) -> Task:
    def place(value: str) -> str:
        paths = [_place(path, places, seed) for path in value.split(',')] if value else []
        return ','.join(path for path in paths if path)

    settings = {name: place(config.settings[name]) for name in PLACES if name in config.settings}
    folder = Path(settings['run_dir' if config.program == TRAIN else 'output'])
    commands: list[tuple[str, ...]] = []
    inputs: list[str] = []
    if config.program == TRAIN:
        validation = settings.get('val_manifest', '').split(',') if settings.get('val_manifest') else []
        inputs = [*settings['train_manifest'].split(','), *validation]
        own_weights = settings.get('init_from', '')
        if own_weights and '-seed0' not in config.settings['init_from']:  # no run's
            inputs.append(own_weights)
        if not own_weights and config.settings.get('reinit_fc', 'False') == 'True':
            settings['reinit_fc'] = 'False'  # all is fresh
        last = [f'--flagfile={overrides}'] if overrides else []
        changed = (f'--{name}={value}' for name, value in settings.items())
        commands.append(('train.py', f'--flagfile={config.path}', f'--seed={seed}', *changed, *last, '--resume'))
        splits = _splits(validation)
        for split, manifest in zip(splits, validation, strict=True):
            commands.append(('evaluate.py', f'--run_dir={folder}', f'--manifest={manifest}', f'--split={split}'))
    else:
        splits = ['val']
        changed = (f'--{name}={value}' for name, value in settings.items())
        commands.append(('fusion.py', f'--flagfile={config.path}', f'--seed={seed}', *changed))
    names = tuple(f'{need}-seed{seed}' for need in config.needs)
    name = f'{config.run_id}-seed{seed}'
    every = config.settings | settings | laid_over
    return Task(name, config, seed, is_asked, folder, names, tuple(inputs), tuple(commands), tuple(splits), every)


def _place(path: str, places: Places, seed: int) -> str:
    """A path of a flagfile where it is here, for a seed."""
    top, _, rest = path.partition('/')
    if top == 'runs':
        return os.path.join(places.runs, re.sub(r'-seed0(?=/|$)', f'-seed{seed}', rest))
    if top == 'data':
        return os.path.join(places.data, rest)
    if top == 'weights':
        return os.path.join(places.weights, rest) if places.weights else ''
    return path


def _splits(manifests: list[str]) -> list[str]:
    """What results of validation manifests are called: val for one, each one's dataset for several."""
    return ['val'] if len(manifests) == 1 else [Path(manifest).parent.name for manifest in manifests]


def spell(command: tuple[str, ...]) -> str:
    """A command as it is typed."""
    return f'python {shlex.join(command)}'


def argv(command: tuple[str, ...]) -> list[str]:
    """A command as it is started, by this interpreter."""
    return [sys.executable, *script(command[0]), *command[1:]]
