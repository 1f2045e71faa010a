"""Small pieces that several networks share."""

import contextlib
import math
import zlib
from typing import NamedTuple

import numpy as np

from fer.tf1 import slim, tf

RELU_GAIN = 2 / (1 - 1 / math.pi)  # 1 over the variance of a rectified standard normal variable


# Share of the old value that a moving average keeps at each step. slim's networks have 0.997 to 0.9997, made for
# ImageNet's hundreds of thousands of steps; an epoch of AFEW is two hundred, and what is evaluated after it should
# rest on this data rather than on the start.
BATCH_NORM_DECAY = 0.99


def scale_channels(channels: int, width: float, multiple: int = 1) -> int:
    """`channels` under the `--width` multiplier: the nearest multiple of `multiple`, at least one of them."""
    return multiple * max(1, round(channels * width / multiple))


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


@slim.add_arg_scope
def batch_norm(
    inputs: tf.Tensor,
    is_training: bool,
    epsilon: float,
    activation_fn=None,
    fused: bool = True,
    frozen: bool = False,
    updates: bool = True,
    scope: str = 'BatchNorm',
) -> tf.Tensor:
    """Batch normalisation with gamma and beta; updates of its moving averages go to UPDATE_OPS, slim's way.

    In training the statistics are those of the batch, and a packed batch holds real frames only: the frame that
    pads a short window is computed once and weighs once, where padding first would count it again and again. In
    evaluation it makes no difference.

    Frozen, it trains with the statistics that it will be evaluated with: `with slim.arg_scope([batch_norm],
    frozen=True)` around any builder.

    slim.batch_norm computes the same and names its variables so, but takes longer for each layer the more variables
    there are: a minute for NASNet's graph.

    Args:
      inputs: float32 [N, H, W, C].
      is_training: whether to normalise by the batch's statistics, or by the moving averages.
      epsilon: added to the variance.
      activation_fn: applied to the result; None for none.
      fused: whether evaluation uses the fused op. After a grouped convolution it must not: TensorFlow 2.15 would
        merge the two into a kernel that a CPU has without groups only.
      frozen: whether to normalise by the moving averages in training, too, and leave them as they are; gamma and beta
        stay trainable.
      updates: whether there are updates of the moving averages; where frames pass twice, one pass has them.
      scope: of the variables gamma, beta, moving_mean and moving_variance, float32 [C] each.

    Returns:
      float32 [N, H, W, C].
    """
    with tf.variable_scope(scope):
        shape = [inputs.shape[3]]
        beta = slim.model_variable('beta', shape, initializer=tf.zeros_initializer())
        gamma = slim.model_variable('gamma', shape, initializer=tf.ones_initializer())
        mean = slim.model_variable('moving_mean', shape, initializer=tf.zeros_initializer(), trainable=False)
        variance = slim.model_variable('moving_variance', shape, initializer=tf.ones_initializer(), trainable=False)
        if is_training and not frozen:
            net, *statistics = tf.nn.fused_batch_norm(inputs, gamma, beta, epsilon=epsilon)
            for average, value in zip((mean, variance), statistics, strict=True) if updates else ():
                update = average.assign_sub((average - value) * (1 - BATCH_NORM_DECAY))
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update.op)
        elif not fused:
            net = tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, epsilon)
        else:
            net, *_ = tf.nn.fused_batch_norm(inputs, gamma, beta, mean, variance, epsilon, is_training=False)
        return activation_fn(net) if activation_fn else net


@slim.add_arg_scope
def conv2d(
    inputs: tf.Tensor,
    channels: int,
    size: int,
    stride: int = 1,
    padding: str = 'same',
    groups: int = 1,
    normalizer_fn=None,
    activation_fn=None,
    scope: str = 'conv',
) -> tf.Tensor:
    """A convolution without biases, from He's weights, in groups if need be.

    Args:
      inputs: float32 [N, H, W, C].
      channels: of the output; C and `channels` are multiples of `groups`.
      size: height and width of the kernel, odd.
      stride: 1 or 2.
      padding: `same` or `symmetric`, which differ where it strides (see `Convention.padding`), or `valid` for none.
      groups: with more than one, output group g sees input group g only. That is a single op, with the kernel
        [size, size, C / groups, channels]: a convolution per group would be 32 small ones and their overhead.
      normalizer_fn: `batch_norm`, applied to the result, or None for none.
      activation_fn: applied after that; None for none.
      scope: of the variable, `weights`, and the normaliser's.

    Returns:
      float32 [N, ceil(H / stride), ceil(W / stride), channels], but for `valid`.
    """
    if padding == 'symmetric':
        around = (size - 1) // 2
        if stride > 1 and around:
            inputs = tf.pad(inputs, [[0, 0], [around, around], [around, around], [0, 0]])
            padding = 'valid'
        else:
            padding = 'same'
    with tf.variable_scope(scope):
        shape = [size, size, inputs.shape[3] // groups, channels]
        weights = slim.model_variable('weights', shape, initializer=slim.variance_scaling_initializer())
        net = tf.nn.conv2d(inputs, weights, strides=stride, padding=padding.upper())
        net = normalizer_fn(net, fused=groups == 1) if normalizer_fn else net
        return activation_fn(net) if activation_fn else net


@slim.add_arg_scope
def separable_conv2d(
    inputs: tf.Tensor,
    channels: int,
    size: int,
    stride: int = 1,
    normalizer_fn=None,
    activation_fn=None,
    scope: str = 'separable',
) -> tf.Tensor:
    """A convolution of each channel with `size` x `size`, padded SAME, then a 1x1 convolution; as `conv2d` otherwise.

    Variables: `depthwise_weights` [size, size, C, 1], `pointwise_weights` [1, 1, C, channels].
    """
    with tf.variable_scope(scope):
        initializer = slim.variance_scaling_initializer()
        depth = inputs.shape[3]
        depthwise = slim.model_variable('depthwise_weights', [size, size, depth, 1], initializer=initializer)
        pointwise = slim.model_variable('pointwise_weights', [1, 1, depth, channels], initializer=initializer)
        net = tf.nn.separable_conv2d(inputs, depthwise, pointwise, [1, stride, stride, 1], 'SAME')
        net = normalizer_fn(net) if normalizer_fn else net
        return activation_fn(net) if activation_fn else net


@contextlib.contextmanager
def batch_norm_arg_scope(is_training: bool, epsilon: float):
    """Within, convolutions are normalised over the batch, then rectified."""
    with (
        slim.arg_scope([batch_norm], is_training=is_training, epsilon=epsilon),
        slim.arg_scope([conv2d, separable_conv2d], normalizer_fn=batch_norm, activation_fn=tf.nn.relu),
    ):
        yield


def pool_3x3(inputs: tf.Tensor, kind: str, pool: str) -> tf.Tensor:
    """A 3x3 pool of stride 2 under `Convention.pool`.

    Args:
      inputs: float32 [N, H, W, C]; for `zeros` H and W fixed; for `symmetric` and `after` not negative (after a ReLU),
        so that the zeros around them never win a maximum.
      kind: `MAX` or `AVG`.
      pool: a value of `Convention.pool`.

    Returns:
      float32 [N, H', W', C]; H' is ceil(H / 2), for `after` floor(H / 2).
    """
    if pool == 'same':
        return tf.nn.pool(inputs, [3, 3], kind, 'SAME', strides=[2, 2])
    if pool == 'zeros':
        rows, columns = ([int(inputs.shape[axis]) % 2, 1] for axis in (1, 2))
    else:
        rows = columns = [{'symmetric': 1, 'after': 0}[pool], 1]
    inputs = tf.pad(inputs, [[0, 0], rows, columns, [0, 0]])
    return tf.nn.pool(inputs, [3, 3], kind, 'VALID', strides=[2, 2])


def features_of_map(net: tf.Tensor, global_pool: bool) -> tf.Tensor:
    """The features of a frame: the last map averaged, or kept flat (`--global_pool=False`, dissertation 6.1).

    Flat keeps where in the face a channel responds, at H * W times the features, and so of classifier weights; the
    image size is then part of the classifier's shape.

    Args:
      net: float32 [N, H, W, C], the last map.
      global_pool: whether to average.

    Returns:
      float32 [N, C], or [N, H * W * C] in the map's own order: row, column, channel.
    """
    return tf.reduce_mean(net, [1, 2]) if global_pool else slim.flatten(net)


class ChunkPosition(NamedTuple):
    """Position of a chunk of frames within its batch."""

    first: tf.Tensor  # int32 [], the chunk's first frame
    total: tf.Tensor  # int32 [], frames of the batch


@slim.add_arg_scope
def dropout(
    inputs: tf.Tensor, rate: float, is_training: bool, scope: str, chunk: ChunkPosition | None = None
) -> tf.Tensor:
    """Dropout whose mask follows from the run's seed, the layer's name and the step, and from nothing else.

    slim's keeps a generator inside the session, so a run that stops and resumes draws other masks than one that
    does not. Here step n has its mask whether or not the session began at step 0.

    Args:
      inputs: float32, any shape.
      rate: share of units dropped, in [0, 1); the rest are scaled by 1 / (1 - rate).
      is_training: False returns `inputs`.
      scope: the layer's name, distinct within a network.
      chunk: the position of `inputs` in a batch that passes in chunks. It drops the units that the whole batch would.

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
        shape = tf.shape(inputs)
        if chunk is None:
            uniform = tf.random.stateless_uniform(shape, seed)
        else:
            whole = tf.random.stateless_uniform(tf.concat([[chunk.total], shape[1:]], axis=0), seed)
            uniform = whole[chunk.first : chunk.first + shape[0]]
        keep = uniform >= rate
        return tf.where(keep, inputs / (1 - rate), tf.zeros_like(inputs))
