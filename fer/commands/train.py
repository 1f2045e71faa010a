"""Trains one run: python train.py --model=vgg_face --stage=finetune --seq_len=80 --train_manifest=DATA/train.txt ...

The run, with all that replays it, is left in --run_dir. Exit code 2: bad input, nothing written.
"""

import dataclasses
import functools
import os
from typing import Any

from absl import flags

from fer import cli
from fer.runs.config import TrainConfig
from fer.training.flags import define_train_flags

define_train_flags()


def default_name(settings: dict) -> str:
    """A run's name from its main settings."""
    rnn = '{rnn_cell}{rnn_layers}x{rnn_units}'.format(**settings)
    rnn += '_bi' * settings['bidirectional'] + '_attention' * settings['attention']
    own = {
        'temporal': [rnn],
        'audio': [f'hidden{settings["hidden_units"]}' if settings['model'] == 'ffn' else rnn],
        'early_fusion': [f'option{settings["fusion_option"]}', rnn],
    }
    parts = [*own.get(settings['stage'], []), '{classify}_{aggregate}_len{seq_len}_lr{learning_rate:g}']
    name = '_'.join([*parts, '{train_epochs}ep_seed{seed}']).format(**settings)
    return name.replace(',', '+')  # a comma would part the name in fusion.py's list of results


def main() -> None:
    # Here, not above: TensorFlow takes seconds to import, and --help should not.
    from fer.data.split import split_paths
    from fer.nets import NETWORKS
    from fer.training.stages import get_stage
    from fer.training.train import train

    settings: dict[str, Any] = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(TrainConfig)}
    stage = get_stage(settings['stage'], settings['model'])
    settings['fusion_option'] = int(settings['fusion_option'])
    if settings['global_pool'] is None:
        network = NETWORKS.get(settings['model'])
        settings['global_pool'] = bool(network and network.global_pool[0])
    if settings['batch_size'] is None:
        settings['batch_size'] = stage.batch_size
    if not settings['run_dir']:
        settings['run_dir'] = os.path.join('runs', settings['stage'], settings['model'], default_name(settings))
    # Absolute, so that the run's flags replay it from any folder.
    for name in ('data_root', 'init_from', 'audio_run_dir', 'frame_cache', 'feature_cache', 'run_dir'):
        if settings[name]:
            settings[name] = os.path.abspath(settings[name])
    for name in ('train_manifest', 'val_manifest'):
        settings[name] = ','.join(os.path.abspath(path) for path in split_paths(settings[name]))
    train(TrainConfig(**settings), flags.FLAGS.resume, flags.FLAGS.overwrite)


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
