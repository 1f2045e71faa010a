# SPDX-License-Identifier: Apache-2.0
"""Compares grouped convolutions as one op with 32 ops for each, in the training of SE-ResNeXt-50.

  python -m tests.benchmarks.grouped [--frames=1,8,32] [--rounds=3]

Each graph trains in a process of its own, as a run does, and the processes take turns. All have equal weights and
frames, so their printed losses are equal. The graph `none` has no grouped convolution at all. An op without any cost
would be as fast, so its ratio to the 32 ops is the upper bound.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from unittest import mock

import numpy as np
from absl import flags

from fer import cli

SIZE, WARM_UP, STEPS = 112, 2, 5
GOAL = 1.5  # frames/s of one op over those of 32
# Name: form of the grouped convolutions, and TF_ENABLE_ONEDNN_OPTS. TensorFlow 2.15 turns oneDNN off on processors
# without certain instructions. Grouped convolutions then have no gradients on a CPU, and 32 ops would be the only way.
# fer/tf1.py therefore turns it on.
GRAPHS = {
    'one op': ('grouped', '1'),
    '32 ops': ('split', '1'),
    '32 ops, without oneDNN': ('split', '0'),
    'none': ('none', '1'),
}

flags.DEFINE_list('frames', ['1', '8', '32'], f'Frames of {SIZE}x{SIZE} pixels in a step, a table for each.')
flags.DEFINE_integer('rounds', 3, 'Processes of each graph.', lower_bound=1)
flags.DEFINE_string('measure', None, 'Used by the benchmark itself: the graph that this process trains.')


def main() -> None:
    if flags.FLAGS.measure:
        print(json.dumps(measure(flags.FLAGS.measure, int(flags.FLAGS.frames[0]))))
        return
    for frames in flags.FLAGS.frames:
        speeds: dict[str, list[float]] = {name: [] for name in GRAPHS}
        losses = {}
        for _ in range(flags.FLAGS.rounds):
            for name, (kind, onednn) in GRAPHS.items():
                command = [sys.executable, '-m', 'tests.benchmarks.grouped', f'--measure={kind}', f'--frames={frames}']
                environment = {**os.environ, 'TF_ENABLE_ONEDNN_OPTS': onednn}
                done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                seconds, losses[name] = json.loads(done.stdout)
                speeds[name].append(int(frames) / seconds)
        print(f'{frames} frames of {SIZE}x{SIZE} a step, {flags.FLAGS.rounds} processes each, medians of {STEPS} steps')
        print(f'{"":<36}{"frames/s: median":>17}{"lowest":>9}{"highest":>9}{"loss":>11}')
        for name, values in speeds.items():
            print(
                f'{name:<36}{statistics.median(values):>17.2f}{min(values):>9.2f}{max(values):>9.2f}{losses[name]:>11.5f}'
            )
        print(f'{"ratio within a round":<36}{"median":>17}{"lowest":>9}{"highest":>9}')
        for above, below in (
            ('one op', '32 ops'),
            ('one op', '32 ops, without oneDNN'),
            ('none', '32 ops'),
        ):
            ratios = [a / b for a, b in zip(speeds[above], speeds[below], strict=True)]
            goal = f'   goal: {GOAL}' if above == 'one op' else '   bound'
            ratio = f'{above} / {below}'
            print(f'{ratio:<45}{statistics.median(ratios):>8.2f}{min(ratios):>9.2f}{max(ratios):>9.2f}{goal}')


def measure(kind: str, frames: int) -> tuple[float, float]:
    """Returns the median seconds of a training step of one graph, and its first loss."""
    from fer.nets import layers
    from fer.nets.se_resnet import GROUPS, se_resnext50
    from fer.tf1 import tf

    conv2d = tf.nn.conv2d

    def without_grouped(inputs, filters, strides, padding):
        """Computes `tf.nn.conv2d` with another form of grouped convolutions."""
        if filters.shape[2] == inputs.shape[3]:
            return conv2d(inputs, filters, strides, padding)
        if kind == 'none':
            inputs = inputs[:, 1:-1, 1:-1] if padding == 'VALID' else inputs
            return inputs[:, ::strides, ::strides]
        pairs = zip(tf.split(inputs, GROUPS, axis=3), tf.split(filters, GROUPS, axis=3), strict=True)
        return tf.concat([conv2d(maps, kernel, strides, padding) for maps, kernel in pairs], axis=3)

    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        images = np.random.default_rng(0).uniform(-1, 1, (frames, SIZE, SIZE, 3)).astype(np.float32)
        with mock.patch.object(layers.tf.nn, 'conv2d', conv2d if kind == 'grouped' else without_grouped):
            _, end_points = se_resnext50(tf.constant(images), is_training=True)
        loss = tf.losses.sparse_softmax_cross_entropy(tf.range(frames) % 7, end_points['logits'])
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            step = tf.train.GradientDescentOptimizer(0.0).minimize(loss), loss
        session.run(tf.global_variables_initializer())
        losses = [float(session.run(step)[1]) for _ in range(WARM_UP)]
        seconds = []
        for _ in range(STEPS):
            began = time.perf_counter()
            session.run(step)
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), losses[0]


if __name__ == '__main__':
    cli.run(main)
