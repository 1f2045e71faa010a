# SPDX-License-Identifier: Apache-2.0
"""The manifests that train.py takes if the user gives none: those of configs/, below data/ in the working folder.

One differs. configs/ scores FER2013 on its test set, as figures 6.2a and 6.4a show. A run of one's own is scored on the
validation set, because the test set is looked at once.
"""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.runs.config import TrainConfig, read_flagfile
from fer.runs.names import FLAGS_FILE

STILLS = {'rafdb': 'test', 'affectnet': 'val', 'fer2013': 'val'}  # {dataset of 6.1: the split it is scored on}
DATA = 'data'  # the folder of all datasets


class Dataset(NamedTuple):
    """A prepared dataset, as a stage uses it."""

    name: str
    train: str  # path of a manifest
    val: str

    @property
    def missing(self) -> list[str]:
        """Returns the manifests that do not exist."""
        return [path for path in (self.train, self.val) if not os.path.exists(path)]

    @property
    def command(self) -> str:
        """Returns the command that prepares the dataset."""
        detector = ' --detector=mtcnn' if self.name in STILLS else ''  # stills are not searched for faces by default
        source = self.name.upper()
        return f'python -m fer.prepare --dataset={self.name}{detector} --source={source} --output={DATA}/{self.name}'


def default_datasets(stage: str, model: str) -> list[Dataset]:
    """Returns the datasets that a stage is trained on: three sets of stills, or AFEW with the stage's features."""
    if stage == 'pretrain':
        return [Dataset(name, f'{DATA}/{name}/train.txt', f'{DATA}/{name}/{val}.txt') for name, val in STILLS.items()]
    kind = {'early_fusion': '_audiovisual'}.get(stage, '')
    if stage == 'audio':
        kind = '_functionals' if model == 'ffn' else '_clips'
    return [Dataset('afew', f'{DATA}/afew/train{kind}.txt', f'{DATA}/afew/val{kind}.txt')]


def add_manifests(config: TrainConfig, *, has_val: bool, resume: bool) -> tuple[TrainConfig, list[str]]:
    """Adds the default manifests to settings that have none. Settings with a training manifest stay as they are.

    A run that resumes keeps its own manifests. So no run is ever scored on another corpus than the user named.

    Args:
      config: of the run.
      has_val: whether the user gives --val_manifest, even if it is empty.
      resume: whether the run in the folder `config.run_dir` continues, if there is one.

    Returns:
      The settings, and lines for the screen that name the manifests.

    Raises:
      InputError: there is a --val_manifest alone, or no default manifest exists.
    """
    if config.train_manifest:
        return config, []
    flags_file = Path(config.run_dir) / FLAGS_FILE
    if resume and flags_file.exists():
        before = read_flagfile(flags_file)
        config = dataclasses.replace(config, data_root=config.data_root or before.data_root)
        val = config.val_manifest if has_val else before.val_manifest
        return _replace(config, before.train_manifest, val, f'as in {flags_file}')
    datasets = default_datasets(config.stage, config.model)
    if has_val:
        raise InputError(
            f'--val_manifest={",".join(config.val_manifest)}: given without --train_manifest; give both, or neither '
            f'for {datasets[0].train} and {datasets[0].val}'
        )
    found = [dataset for dataset in datasets if not dataset.missing]
    if not found:
        raise InputError(_describe_missing(datasets))
    lines = [f'not used: {", ".join(one.missing)} (no such file; {one.command})' for one in datasets if one.missing]
    paths = (tuple(dataset.train for dataset in found), tuple(dataset.val for dataset in found))
    config, names = _replace(config, *paths, 'the default')
    return config, names + lines


def _replace(
    config: TrainConfig, train: tuple[str, ...], val: tuple[str, ...], why: str
) -> tuple[TrainConfig, list[str]]:
    """Returns the settings with these manifests, and the line that names them."""
    names = f'--train_manifest={",".join(train)} --val_manifest={",".join(val)}'
    return dataclasses.replace(config, train_manifest=train, val_manifest=val), [f'manifests, {why}: {names}']


def _describe_missing(datasets: list[Dataset]) -> str:
    """Returns the error if the default manifests do not exist: the files, and the command that makes them."""
    first = datasets[0]
    files = ', '.join(path for dataset in datasets for path in dataset.missing)
    others = f' (or {", ".join(dataset.name for dataset in datasets[1:])})' if datasets[1:] else ''
    return (
        f'{files}: no such file, and --train_manifest is not given; prepare the dataset{others} with {first.command}, '
        'or give --train_manifest'
    )
