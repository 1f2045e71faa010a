"""Fine-tuning a CNN on windows of AFEW's lengths, against PyTorch: python -m tests.benchmarks.finetune

  python -m tests.benchmarks.finetune [--model=vgg_face] [--rounds=5] [--steps=3] [--seq_len=144] [--width=1.0]
  python -m tests.benchmarks.finetune --model=resnet50 --global_pool

A number of steps of an epoch, from JPEGs on disk to moved weights. PyTorch pads windows with their last frame, as the
dissertation does, in channels_last and with two loader processes that read with OpenCV; ours computes real frames only.
So its steps all cost the same, and ours as much as their windows are long: ours takes several steps a turn, to meet
windows of all lengths. With --mixed_precision, PyTorch takes turns in float32 and in bfloat16. Takes any flag of
train.py. VGG-Face's steps of 80 padded frames take PyTorch half a minute and more on two cores, and some 10 GB of
memory.
"""

import json
from pathlib import Path

from absl import flags

from fer import cli
from fer.errors import InputError
from tests.benchmarks import timing
from tests.benchmarks.runs import Training, drawn_manifest, windows_per_second

flags.DEFINE_integer('steps', 3, 'Steps of a turn of ours.', lower_bound=1)
flags.DEFINE_integer('torch_steps', 1, 'Steps of a turn of PyTorch.', lower_bound=1)
flags.DEFINE_integer('videos', 40, 'Videos drawn.', lower_bound=4)
GOALS = {80: 2.5, 144: 3.5}  # by seq_len


def main() -> None:
    values = flags.FLAGS
    manifest = drawn_manifest(values.videos, values.image_size)
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
        raise InputError(f'{config.model}: {ours.parameters} parameters, in PyTorch {theirs}; expected as many')
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
