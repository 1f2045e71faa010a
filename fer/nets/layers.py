"""Small pieces that several networks share."""

import math
import zlib

import numpy as np

from fer.tf1 import tf

RELU_GAIN = 2 / (1 - 1 / math.pi)  # 1 over the variance of a rectified standard normal variable


def scale_channels(channels: int, width: float) -> int:
    """`channels` under the `--width` multiplier, at least 1."""
    return max(1, round(channels * width))


def centred_initializer(gain: float):
    """Normal weights with a mean of exactly zero over each output unit's inputs, and variance gain / fan-in.

    What a ReLU lets through has a positive mean, which every deeper layer of a network without normalisation
    amplifies until all inputs look alike; VGG then stays at chance for its first thousand steps. Weights without a
    mean do not pass it on (scaled weight standardisation, Brock et al. 2021, used here for the start only).

    Args:
      gain: RELU_GAIN keeps the signal's variance after a ReLU; 1 keeps it without.
    """

    def initialise(shape, dtype=tf.float32, partition_info=None):
        inputs = list(range(len(shape) - 1))
        fan_in = int(np.prod(shape[:-1]))
        weights = tf.random.normal(shape, stddev=math.sqrt(gain / fan_in), dtype=dtype)
        return weights - tf.reduce_mean(weights, axis=inputs, keepdims=True)

    return initialise


def dropout(inputs: tf.Tensor, rate: float, is_training: bool, scope: str) -> tf.Tensor:
    """Dropout whose mask follows from the run's seed, the layer's name and the step, and from nothing else.

    slim's keeps a generator inside the session, so a run that stops and resumes draws other masks than one that
    does not. Here step n has its mask whether or not the session began at step 0.

    Args:
      inputs: float32, any shape.
      rate: share of units dropped, in [0, 1); the rest are scaled by 1 / (1 - rate).
      is_training: False returns `inputs`.
      scope: the layer's name, distinct within a network.

    Raises:
      ValueError: there is no global step yet. (Made here, it would get the name of the network around it.)
    """
    if not is_training or rate == 0:
        return inputs
    with tf.name_scope(scope):
        graph_seed = tf.get_default_graph().seed or 0
        step = tf.train.get_global_step()
        if step is None:
            raise ValueError(f'dropout {scope}: no global step; call tf.train.get_or_create_global_step() first')
        seed = tf.stack([tf.constant(graph_seed + zlib.crc32(scope.encode()), tf.int64), tf.cast(step, tf.int64)])
        keep = tf.random.stateless_uniform(tf.shape(inputs), seed) >= rate
        return tf.where(keep, inputs / (1 - rate), tf.zeros_like(inputs))
