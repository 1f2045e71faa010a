# SPDX-License-Identifier: Apache-2.0
"""Trains one run: python train.py --model=vgg_face --stage=finetune --seq_len=80

It trains on data/afew, or on the manifest of --train_manifest. --run_dir gets the run and everything that replays it.
Exit codes: 0 done. 2 bad input, and nothing is written. 2 also for a full disk, full memory or a value that is not
finite, and 85 for a stop by a signal. After these --resume continues.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from fer import cli
from fer.errors import InputError
from fer.flags import define_flags, read_flags
from fer.runs.config import TrainConfig, read_flagfile
from fer.runs.default_data import add_manifests
from fer.runs.names import FLAGS_FILE, STARTER_PREFIX
from fer.settings import format_values, settings_of, values_before

define_flags(TrainConfig)
flags.DEFINE_bool('resume', False, 'Resume the run in --run_dir if there is one.')
flags.DEFINE_bool('overwrite', False, 'Replace the run in --run_dir if there is one.')


def main() -> None:
    # Imported here, not above: TensorFlow takes seconds to import, and --help does not need it.
    from fer.training.train import train

    values = flags.FLAGS
    if values.resume and values.overwrite:  # jobs that are requeued always resume
        raise InputError('--overwrite: not together with --resume, which keeps the run; give one of them')
    has_val = bool(values['val_manifest'].present)
    given = [name for name in settings_of(TrainConfig) if values[name].present]
    config = keep_older_values(complete(read_flags(TrainConfig)), given, resume=values.resume)
    config, lines = add_manifests(config, has_val=has_val, resume=values.resume)
    print('\n'.join(lines), end='\n' * bool(lines), flush=True)
    train(make_absolute(config), resume=values.resume, overwrite=values.overwrite)


def complete(config: TrainConfig) -> TrainConfig:
    """Returns settings in which the network and the stage have decided what is not given."""
    from fer.nets import NETWORKS, default_initialiser
    from fer.training.stages import get_stage

    stage = get_stage(config.stage, config.model)
    decided: dict[str, Any] = {}
    if config.global_pool is None:
        network = NETWORKS.get(config.model)
        decided['global_pool'] = bool(network and network.global_pool[0])
    if config.initialiser is None:
        decided['initialiser'] = default_initialiser(config.model)
    if config.batch_size is None:
        decided['batch_size'] = stage.batch_size
    if not config.run_dir:
        decided['run_dir'] = os.path.join('runs', config.stage, config.model, name_run(config))
    return dataclasses.replace(config, **decided)


def keep_older_values(config: TrainConfig, given: Sequence[str], *, resume: bool) -> TrainConfig:
    """Returns settings in which those that are not given have the values of an older run, if they are its settings.

    That is so for the flags.txt of an older run, which does not have later settings, and for a run that resumes.

    Args:
      config: the settings, complete.
      given: names of the settings that the user gives.
      resume: whether the run in the folder `config.run_dir` continues, if there is one.
    """
    older = values_before(TrainConfig, given)
    flags_file = Path(config.run_dir) / FLAGS_FILE
    if resume and flags_file.exists():
        run = read_flagfile(flags_file)
        missing = (name for name, one in settings_of(TrainConfig).items() if one.before is not None)
        older = {name: getattr(run, name) for name in missing if name not in given}
    return dataclasses.replace(config, **older)


def name_run(config: TrainConfig) -> str:
    """Returns the name of a run, made of its main settings."""
    from fer.nets import default_initialiser

    texts = {name: text.replace(',', '+') for name, text in format_values(config).items()}  # fusion.py splits at commas
    rnn = '_'.join(['{rnn_cell}{rnn_layers}x{rnn_units}'.format(**texts), *_name_kinds(config)])
    fc6 = [f'fc6drop{config.fc6_dropout:g}'] * (config.fc6_dropout > 0)
    of_stage = {
        'temporal': [rnn, *fc6],
        'audio': ['hidden{hidden_units}'.format(**texts) if config.model == 'ffn' else rnn],
        'early_fusion': ['option{fusion_option}'.format(**texts), rnn, *fc6],
    }
    pooling = [f'pool{config.vgg_pooling}'] * (config.vgg_pooling != 'source')
    start = [f'init_{config.initialiser}'] * (config.initialiser not in (None, default_initialiser(config.model)))
    parts = [*of_stage.get(config.stage, []), *pooling, *start, '{classify}_{aggregate}_len{seq_len}'.format(**texts)]
    return '_'.join([*parts, f'lr{config.learning_rate:g}', '{train_epochs}ep_seed{seed}'.format(**texts)])


def _name_kinds(config: TrainConfig) -> list[str]:
    """Returns the parts of a run's name that tell kinds of recurrent networks apart."""
    parts = []
    if config.bidirectional:
        parts.append('bi' if config.bidirectional_kind == 'layers' else f'bi{config.bidirectional_kind}')
    if config.attention:
        kind = '' if config.attention_kind == 'gate' else f'_{config.attention_kind}'
        parts.append(f'attention{kind}{config.attention_length if config.attention_kind == "wrapper" else ""}')
    return parts


def make_absolute(config: TrainConfig) -> TrainConfig:
    """Returns settings with absolute paths, so that the run's flags replay it from any folder."""
    paths: dict[str, Any] = {}
    for name, one in settings_of(TrainConfig).items():
        value = getattr(config, name)
        if one.is_path and value and not str(value).startswith(STARTER_PREFIX):
            paths[name] = tuple(map(os.path.abspath, value)) if one.is_tuple else os.path.abspath(value)
    return dataclasses.replace(config, **paths)


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
