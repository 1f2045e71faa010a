# SPDX-License-Identifier: Apache-2.0
"""Measures the cost of a step for longer windows: python -m tests.benchmarks.seq_len [--lengths=20,40,80,144]

It takes steps on AFEW-like videos cut into windows of each length, then fits a line through all steps, seconds against
real frames. Padding has no pixels, so that line explains all steps, for any padded length. The command takes every flag
of train.py.
"""

import statistics

import numpy as np
from absl import flags

from fer import cli
from tests.benchmarks import timing
from tests.benchmarks.runs import Training, synthetic_manifest

flags.DEFINE_list('lengths', ['20', '40', '80', '144'], 'Values of --seq_len to measure.')
LINEAR = 0.95
flags.DEFINE_integer('videos', 40, 'Synthetic videos to read.', lower_bound=4)


def main() -> None:
    values = flags.FLAGS
    manifest = synthetic_manifest(values.videos, values.image_size)
    runs = {length: Training(manifest, seq_len=int(length)) for length in values.lengths}
    frames: dict[str, list[int]] = {length: [] for length in runs}

    def step(length: str) -> float:
        number, seconds = runs[length].step()
        frames[length].append(number)
        return seconds

    found = timing.interleave({length: lambda length=length: step(length) for length in runs}, values.rounds)
    config = runs[values.lengths[0]].config
    rows = {}
    for length, seconds in found.items():
        real = frames[length][1:]
        rows[f'seq_len {length}: seconds a step'] = seconds
        rows[f'seq_len {length}: real frames'] = real
        rows[f'seq_len {length}: ms a real frame'] = [1e3 * s / n for s, n in zip(seconds, real, strict=True)]
        rows[f'seq_len {length}: real frames, % of padded'] = [
            100 * n / (config.batch_size * int(length)) for n in real
        ]
    every = np.array([(n, s) for length in found for n, s in zip(frames[length][1:], found[length], strict=True)]).T
    slope, intercept = np.polyfit(*every, 1)
    residual = every[1] - (slope * every[0] + intercept)
    explained = 1 - residual.var() / every[1].var()
    title = f'{config.model} {config.stage}, width {config.width:g}, batches of {config.batch_size}'
    timing.report(title, rows)
    per_frame = [statistics.median(rows[f'seq_len {length}: ms a real frame']) for length in values.lengths]
    line = {'ms a real frame': [1e3 * slope], 'ms besides': [1e3 * intercept], 'R squared': [explained]}
    line['dearest real frame / cheapest'] = [max(per_frame) / min(per_frame)]
    timing.report(f'{title}: the line through all steps', line, {'R squared': LINEAR})


if __name__ == '__main__':
    cli.run(main)
