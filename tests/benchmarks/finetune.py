# SPDX-License-Identifier: Apache-2.0
"""Compares fine-tuning a CNN on windows of AFEW's lengths with PyTorch: python -m tests.benchmarks.finetune

  python -m tests.benchmarks.finetune [--model=vgg_face] [--rounds=5] [--steps=3] [--seq_len=144] [--width=1.0]
  python -m tests.benchmarks.finetune --model=resnet50 --global_pool

A turn is some steps of an epoch, from JPEGs on disk to moved weights. PyTorch pads windows with their last frame, as
the dissertation does. It uses channels_last and two loader processes that read with OpenCV. Ours computes real frames
only. So all steps of PyTorch cost the same, and a step of ours costs as much as its windows are long. Ours takes
several steps a turn, to get windows of all lengths. With --mixed_precision, PyTorch also takes turns in bfloat16.

The command takes every flag of train.py. A step of VGG-Face on 80 padded frames takes PyTorch more than half a minute
on two cores, and about 10 GB of memory.
"""

import json
from pathlib import Path

from absl import flags

from fer import cli
from fer.errors import InputError
from tests.benchmarks import timing
from tests.benchmarks.runs import Training, synthetic_manifest, windows_per_second

flags.DEFINE_integer('steps', 3, 'Steps of one turn of ours.', lower_bound=1)
flags.DEFINE_integer('torch_steps', 1, 'Steps of one turn of PyTorch.', lower_bound=1)
flags.DEFINE_integer('videos', 40, 'Synthetic videos to read.', lower_bound=4)
GOALS = {80: 2.5, 144: 3.5}  # by seq_len


def main() -> None:
    values = flags.FLAGS
    manifest = synthetic_manifest(values.videos, values.image_size)
    ours = Training(manifest)
    config = ours.config
    rows = [
        {'frames': ours.split.videos[w.video].frames[w.start : w.start + w.length], 'label': w.video % 7}
        for w in ours.split.windows
    ]
    windows_file = Path(values.folder) / 'windows.json'
    windows_file.write_text(json.dumps(rows))
    twin = timing.TorchTwin()
    network = {'model': config.model, 'size': config.image_size, 'width': config.width}
    theirs = int(twin.ask('parameters', **network))
    if theirs != ours.parameters:
        raise InputError(
            f'{config.model}: {ours.parameters} parameters, but PyTorch has {theirs}; expected equal numbers'
        )
    settings = {**network, 'seq_len': config.seq_len, 'batch': config.batch_size}

    def torch(bfloat16: bool):
        question = {**settings, 'windows_file': str(windows_file), 'workers': 2, 'steps': values.torch_steps}
        return lambda: twin.ask('finetune', bfloat16=bfloat16, **question)

    contestants = {'ours': lambda: windows_per_second(ours, values.steps), 'PyTorch': torch(False)}
    if config.mixed_precision:
        contestants['PyTorch, bfloat16'] = torch(True)
    found = timing.interleave(contestants, values.rounds)
    twin.close()
    quotients = {f'ours / {name}': timing.ratios(found, 'ours', name) for name in contestants if name != 'ours'}
    mixed = ', --mixed_precision' if config.mixed_precision else ''
    timing.report(
        f'finetune {config.model}{mixed}, width {config.width:g}, seq_len {config.seq_len}, batches of '
        f'{config.batch_size}: windows/s',
        {**found, **quotients},
        {'ours / PyTorch': GOALS[config.seq_len]} if config.seq_len in GOALS else None,
    )


if __name__ == '__main__':
    cli.run(main)
