# SPDX-License-Identifier: Apache-2.0
"""Tasks: runs with one seed, and the commands that make them."""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.experiment.configs import FIRST_SEED, PLACES, TRAIN, Config, order, select
from fer.installation import script
from fer.runs.flagfiles import read_settings
from fer.runs.names import STARTER_PREFIX
from fer.settings import split_paths


class Places(NamedTuple):
    """The folders that stand for data/, weights/ and runs/ in flagfiles."""

    data: str
    weights: str  # empty: networks start from fresh weights
    runs: str


class Task(NamedTuple):
    """A run with one seed."""

    name: str  # <run_id>-seed<k>
    config: Config
    seed: int
    is_requested: bool  # True if the user asked for it, False if others only need it
    folder: Path  # of the run
    needs: tuple[str, ...]  # names of tasks
    inputs: tuple[str, ...]  # files that must exist, except those that other tasks make
    commands: tuple[tuple[str, ...], ...]  # argv of each, without the interpreter
    splits: tuple[str, ...]  # names of the splits that have results when it is done
    settings: dict[str, str]  # of the flagfile and the overrides


def make_tasks(
    configs: dict[str, Config],
    tables: list[str],
    seeds: list[int],
    places: Places,
    without: list[str],
    overrides: str,
) -> dict[str, Task]:
    """Returns the tasks of some tables with all tasks that they need, by name. Each comes after those that it needs.

    Args:
      configs: all runs.
      tables: names as in `select`.
      seeds: one task of every run for each seed. It needs tasks of the same seed only.
      places: the folders.
      without: tables to leave out. A run that would start from one of their runs starts from that run's own
        starting point.
      overrides: a flagfile whose settings override those of training runs, or ''.

    Raises:
      InputError: no run is left, or a run needs more than the weights of a run that is left out.
    """
    left_out = set(select(configs, without)) if without else set()
    wanted = [run_id for run_id in select(configs, tables) if run_id not in left_out]
    if not wanted:
        left = f' is left without {",".join(without)}' if without else ''
        raise InputError(f'--table={",".join(tables)}: nothing{left}; expected runs')
    configs = {run_id: _without(config, configs, left_out) for run_id, config in configs.items()}
    ordered = order(configs, wanted)
    extra = read_settings(overrides) if overrides else {}
    tasks = {}
    for seed in seeds:
        for run_id in ordered:
            config = configs[run_id]
            if config.program == TRAIN:
                task = _training_task(config, seed, places, overrides)
            else:
                task = _fusion_task(config, seed, places)
            tasks[task.name] = task._replace(is_requested=run_id in wanted, settings=task.settings | extra)
    return tasks


def _without(config: Config, configs: dict[str, Config], left_out: set[str]) -> Config:
    """Replaces each needed run that is left out by the runs that it starts from."""
    settings, needs = dict(config.settings), list(config.needs)
    while gone := [need for need in needs if need in left_out]:
        for need in gone:
            parent = configs[need]
            if settings.get('init_from') != parent.folder:
                raise InputError(f'--without: {config.path} needs more of {need} than its weights; keep {need}')
            settings['init_from'] = parent.settings.get('init_from', '')
            needs[needs.index(need) : needs.index(need) + 1] = parent.needs
    return config._replace(settings=settings, needs=tuple(needs))


def _training_task(config: Config, seed: int, places: Places, overrides: str) -> Task:
    """Returns a task that trains, then evaluates on each validation manifest."""
    settings = _place_settings(config, seed, places)
    folder = settings['run_dir']
    validation = list(split_paths(settings.get('val_manifest', '')))
    inputs = [*split_paths(settings['train_manifest']), *validation]
    weights = settings.get('init_from', '')
    is_run = FIRST_SEED in config.settings.get('init_from', '')
    if weights and not is_run and not weights.startswith(STARTER_PREFIX):  # a file
        inputs.append(weights)
    if not weights and config.settings.get('reinit_fc', 'False') == 'True':
        settings['reinit_fc'] = 'False'  # all layers are fresh
    last = [f'--flagfile={overrides}'] if overrides else []
    commands = [('train.py', f'--flagfile={config.path}', f'--seed={seed}', *_flags(settings), *last, '--resume')]
    splits = _splits(validation)
    for split, manifest in zip(splits, validation, strict=True):
        commands.append(('evaluate.py', f'--run_dir={folder}', f'--manifest={manifest}', f'--split={split}'))
    return _task(config, seed, Path(folder), settings)._replace(
        inputs=tuple(inputs), commands=tuple(commands), splits=tuple(splits)
    )


def _fusion_task(config: Config, seed: int, places: Places) -> Task:
    settings = _place_settings(config, seed, places)
    command = ('fusion.py', f'--flagfile={config.path}', f'--seed={seed}', *_flags(settings))
    return _task(config, seed, Path(settings['output']), settings)._replace(commands=(command,), splits=('val',))


def _task(config: Config, seed: int, folder: Path, settings: dict[str, str]) -> Task:
    """Returns a task without inputs, commands and splits."""
    needs = tuple(f'{need}-seed{seed}' for need in config.needs)
    name, every = f'{config.run_id}-seed{seed}', config.settings | settings
    return Task(name, config, seed, False, folder, needs, (), (), (), every)


def _flags(settings: dict[str, str]) -> list[str]:
    return [f'--{name}={value}' for name, value in settings.items()]


def _place_settings(config: Config, seed: int, places: Places) -> dict[str, str]:
    """Returns the settings that are paths, as they are on this machine and for this seed."""

    def place(value: str) -> str:
        paths = [_place(path, places, seed) for path in value.split(',')] if value else []
        return ','.join(path for path in paths if path)

    return {name: place(config.settings[name]) for name in PLACES if name in config.settings}


def _place(path: str, places: Places, seed: int) -> str:
    """Returns a path of a flagfile as it is on this machine and for a seed."""
    top, _, rest = path.partition('/')
    if top == 'runs':
        return os.path.join(places.runs, re.sub(rf'{FIRST_SEED}(?=/|$)', f'-seed{seed}', rest))
    if top == 'data':
        return os.path.join(places.data, rest)
    if top == 'weights':
        return os.path.join(places.weights, rest) if places.weights else ''
    return path


def _splits(manifests: list[str]) -> list[str]:
    """Returns the split name of each validation manifest: `val` for a single one, otherwise the dataset."""
    return ['val'] if len(manifests) == 1 else [Path(manifest).parent.name for manifest in manifests]


def spell(command: tuple[str, ...]) -> str:
    """Returns a command as a person types it."""
    return f'python {shlex.join(command)}'


def argv(command: tuple[str, ...]) -> list[str]:
    """Returns a command with this interpreter, to start a process."""
    return [sys.executable, *script(command[0]), *command[1:]]
