# SPDX-License-Identifier: Apache-2.0
"""Compares phase one of a recurrent network on a frozen CNN with and without the feature cache.

  python -m tests.benchmarks.phase_one [--model=vgg_face] [--epochs=10] [--videos=12] [--rounds=2]

The time is that of all epochs of the phase, from JPEGs on disk. With the cache, each frame passes the CNN once, and
the time includes this pass. Takes any flag of train.py.
"""

import shutil
import time
from pathlib import Path

from absl import flags

from fer import cli
from tests.benchmarks import timing
from tests.benchmarks.runs import Training, synthetic_manifest

flags.DEFINE_integer('epochs', 10, 'Epochs of phase one.', lower_bound=1)
flags.DEFINE_integer('videos', 12, 'Number of synthetic videos.', lower_bound=4)
flags.FLAGS.set_default('stage', 'temporal')
flags.FLAGS.set_default('rounds', 2)
GOAL = 8.0


def main() -> None:
    values = flags.FLAGS
    manifest = synthetic_manifest(values.videos, values.image_size)
    folder = Path(values.folder) / 'feature_cache'
    without = Training(manifest, phase=1, drop_last=False, feature_cache='')
    cached = Training(manifest, phase=1, drop_last=False, feature_cache=str(folder))
    assert cached.cache, 'phase one has a frozen CNN'
    steps = values.epochs * cached.steps_per_epoch

    def train(training: Training) -> float:
        """Returns the seconds of the epochs."""
        began = time.perf_counter()
        if training.cache:
            shutil.rmtree(folder, ignore_errors=True)
            training.cache.load(training.session)
        for _ in range(steps):
            training.step()
        return time.perf_counter() - began

    cached.cache.load(cached.session)
    for training in (without, cached):
        training.step()
    found = timing.interleave(
        {'with the cache': lambda: train(cached), 'without': lambda: train(without)}, values.rounds, warm=True
    )
    ratio = 'without / with'
    frames, config = sum(len(video.frames) for video in cached.split.videos), cached.config
    timing.report(
        f'{config.model} and {config.rnn_cell}, phase one, {values.epochs} epochs of {frames} frames: s',
        {**found, ratio: timing.ratios(found, 'without', 'with the cache')},
        {ratio: GOAL},
    )


if __name__ == '__main__':
    cli.run(main)
