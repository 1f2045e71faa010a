"""SE-ResNeXt-50 in training: grouped convolutions as one op, against the same network with 32 ops for each.

python -m tests.benchmarks.grouped

Both graphs have the same weights and get the same frames; steps alternate, and medians are compared.
"""

import statistics
import time
from unittest import mock

import numpy as np

from fer.nets import layers
from fer.nets.se_resnet import GROUPS, se_resnext50
from fer.tf1 import tf

FRAMES, SIZE, STEPS = 8, 112, 9
conv2d = tf.nn.conv2d


def split_conv2d(inputs, filters, strides, padding):
    """`tf.nn.conv2d`, but a convolution for every group."""
    if filters.shape[2] == inputs.shape[3]:
        return conv2d(inputs, filters, strides, padding)
    pairs = zip(tf.split(inputs, GROUPS, axis=3), tf.split(filters, GROUPS, axis=3), strict=True)
    return tf.concat([conv2d(maps, kernel, strides, padding) for maps, kernel in pairs], axis=3)


def training_step():
    """Adds a network to the default graph, sharing variables with the one before; returns (train op, loss)."""
    images = tf.constant(np.random.default_rng(0).uniform(-1, 1, (FRAMES, SIZE, SIZE, 3)).astype(np.float32))
    before = set(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
    _, end_points = se_resnext50(images, is_training=True)
    loss = tf.losses.sparse_softmax_cross_entropy(tf.range(FRAMES) % 7, end_points['logits'])
    updates = [op for op in tf.get_collection(tf.GraphKeys.UPDATE_OPS) if op not in before]
    with tf.control_dependencies(updates):
        return tf.train.GradientDescentOptimizer(0.0).minimize(loss), loss


def main():
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        steps = {'one grouped op': training_step()}
        with mock.patch.object(layers.tf.nn, 'conv2d', split_conv2d):
            steps['32 convolutions'] = training_step()
        session.run(tf.global_variables_initializer())
        losses = {name: session.run(step)[1] for name, step in steps.items()}  # also the warm-up
        seconds = {name: [] for name in steps}
        for _ in range(STEPS):
            for name, step in steps.items():
                began = time.perf_counter()
                session.run(step)
                seconds[name].append(time.perf_counter() - began)
    speeds = {name: FRAMES / statistics.median(times) for name, times in seconds.items()}
    for name, speed in speeds.items():
        print(f'{name}: {speed:.2f} frames/s in training, loss {losses[name]:.5f}')
    grouped, split = speeds.values()
    print(f'ratio: {grouped / split:.2f} (medians of {STEPS} steps each, {FRAMES} frames of {SIZE}x{SIZE})')


if __name__ == '__main__':
    main()
