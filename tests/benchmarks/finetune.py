"""Fine-tuning VGG-Face on windows of AFEW's lengths, against PyTorch: python -m tests.benchmarks.finetune

  python -m tests.benchmarks.finetune [--rounds=5] [--steps=3] [--seq_len=144] [--width=1.0]

A number of steps of an epoch, from JPEGs on disk to moved weights. PyTorch pads windows with their last frame, as the
dissertation does, in channels_last and with two loader processes that read with OpenCV; ours computes real frames only.
Takes any flag of train.py. At full width a step of 80 frames a window takes a minute or two on two cores, and some
10 GB of memory.
"""

import json
from pathlib import Path

from absl import flags

from fer import cli
from tests.benchmarks import timing
from tests.benchmarks.runs import Training, drawn_manifest, windows_per_second

flags.DEFINE_integer('steps', 3, 'Steps of a turn.', lower_bound=1)
flags.DEFINE_integer('videos', 40, 'Videos drawn.', lower_bound=4)
GOAL = 1.5


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
    settings = {'seq_len': config.seq_len, 'batch': config.batch_size, 'size': config.image_size, 'width': config.width}
    found = timing.interleave(
        {
            'ours': lambda: windows_per_second(ours, values.steps),
            'PyTorch': lambda: twin.ask(
                'finetune', windows_file=str(windows_file), workers=2, steps=values.steps, **settings
            ),
        },
        values.rounds,
    )
    twin.close()
    ratio = 'ours / PyTorch'
    timing.report(
        f'finetune {config.model}, width {config.width:g}, seq_len {config.seq_len}, batches of {config.batch_size}: '
        'windows/s',
        {**found, ratio: timing.ratios(found, 'ours', 'PyTorch')},
        {ratio: GOAL},
    )


if __name__ == '__main__':
    cli.run(main)
