# SPDX-License-Identifier: Apache-2.0
"""Compares VGG-Face's speed with a matrix product's: python -m tests.benchmarks.flops [--width=1.0]

The figure is the floating-point operations per second of a forward pass over those of a product of two square matrices.
fer.nets.summary counts the operations of VGG-Face's convolutions and dense layers.
"""

import time

import numpy as np
from absl import flags

from fer import cli
from tests.benchmarks import timing

flags.DEFINE_integer('frames', 16, 'Frames of a pass.', lower_bound=1)
flags.DEFINE_integer('matrix', 4096, 'Rows and columns of the matrices.', lower_bound=16)
flags.DEFINE_float('width', 1.0, 'Channel multiplier.')
SIZE, CLASSES = 112, 7
GOAL = 0.9


def main() -> None:
    from fer.nets import get_network
    from fer.nets.summary import summarise
    from fer.tf1 import tf

    values = flags.FLAGS
    network = get_network('vgg_face')
    work = 2 * values.frames * summarise(network, SIZE, CLASSES, False, width=values.width).multiply_adds
    rng = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.get_variable('images', initializer=rng.normal(size=(values.frames, SIZE, SIZE, 3)).astype('f4'))
        _, end_points = network.build(images, num_classes=CLASSES, width=values.width, global_pool=False)
        matrices = [
            tf.get_variable(f'matrix_{k}', initializer=rng.normal(size=(values.matrix, values.matrix)).astype('f4'))
            for k in range(2)
        ]
        product = tf.matmul(*matrices)
        session.run(tf.global_variables_initializer())

        def speed(tensor: tf.Tensor, operations: float):
            def measure() -> float:
                began = time.perf_counter()
                session.run(tensor.op)
                return operations / (time.perf_counter() - began) / 1e9

            return measure

        found = timing.interleave(
            {'VGG-Face forward': speed(end_points['logits'], work), 'matmul': speed(product, 2.0 * values.matrix**3)},
            values.rounds,
        )
    ratio = 'VGG-Face forward / matmul'
    found[ratio] = timing.ratios(found, 'VGG-Face forward', 'matmul')
    timing.report(f'{values.frames} frames of {SIZE}x{SIZE}, width {values.width:g}; GFLOP/s', found, {ratio: GOAL})


if __name__ == '__main__':
    cli.run(main)
