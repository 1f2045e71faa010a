# SPDX-License-Identifier: Apache-2.0
"""Share of a training step spent waiting for input: python -m tests.benchmarks.input_wait [--model=resnet50]

Each step has two parts: getting the batch, from JPEGs of 224x224 pixels on disk, and computing with it, while the
pipeline reads ahead as in training. A step waits for the first part. Takes any flag of train.py, such as
--frame_cache=FOLDER.
"""

import time

from absl import flags

from fer import cli
from tests.benchmarks import timing
from tests.benchmarks.runs import Training, synthetic_manifest

flags.DEFINE_integer('steps', 4, 'Number of steps in a turn.', lower_bound=1)
flags.DEFINE_integer('videos', 20, 'Number of synthetic videos.', lower_bound=4)
flags.DEFINE_integer('jpeg_size', 224, 'Height and width of the JPEGs.')
flags.FLAGS.set_default('model', 'resnet50')
GOAL = 2.0


def main() -> None:
    values = flags.FLAGS
    training = Training(synthetic_manifest(values.videos, values.jpeg_size))
    computing: list[float] = []

    def wait() -> float:
        """Returns the seconds that a step waits, the mean of a turn."""
        waited = computed = 0.0
        for _ in range(values.steps):
            began = time.perf_counter()
            batch = training.read()
            waited += time.perf_counter() - began
            computed += training.step(batch)[1]
        computing.append(computed / values.steps)
        return waited / values.steps

    waiting = timing.interleave({'waiting': wait}, values.rounds)['waiting']
    rows = {'seconds waiting for input': waiting, 'seconds computing': computing[1:]}
    share = 'waiting for input, % of a step'
    rows[share] = [100 * w / (w + c) for w, c in zip(waiting, computing[1:], strict=True)]
    config = training.config
    timing.report(
        f'{config.model}, width {config.width:g}, {values.jpeg_size}-pixel JPEGs at {config.image_size}: a step',
        rows,
        at_most={share: GOAL},
    )


if __name__ == '__main__':
    cli.run(main)
