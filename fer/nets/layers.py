# SPDX-License-Identifier: Apache-2.0
"""Layers and initial weights that several networks share."""

import contextlib
import math
import zlib
from typing import NamedTuple

import numpy as np

from fer.nets.conventions import Convention
from fer.nets.initialisers import classifier_initializers, convolution_initializer
from fer.tf1 import slim, tf

RELU_GAIN = 2 / (1 - 1 / math.pi)  # 1 over the variance of a rectified standard normal variable

# Share of the old value that a moving average keeps at each step. slim's networks have 0.997 to 0.9997, for the
# hundreds of thousands of steps of ImageNet. An epoch of AFEW has two hundred steps, after which the averages should
# depend on this data rather than on their start.
BATCH_NORM_DECAY = 0.99

STEM_STRIDES = (4, 2, 1)  # the first is that of ResNet's and DenseNet's papers


def scale_channels(channels: int, width: float, multiple: int = 1) -> int:
    """Multiplies channels by `--width` and rounds to a multiple of `multiple`, at least 1 * `multiple`."""
    return multiple * max(1, round(channels * width / multiple))


def centred_initializer(gain: float):
    """Returns an initialiser of normal weights with variance gain / fan-in and mean zero over each unit's inputs.

    A ReLU's output has a positive mean. Without normalisation, each deeper layer amplifies it until all inputs look
    alike, and VGG stays at chance for its first thousand steps. Weights of mean zero do not pass it on. This is scaled
    weight standardisation (Brock et al. 2021), used for the start only.

    Args:
      gain: RELU_GAIN keeps the signal's variance after a ReLU, 1 keeps it without a ReLU.
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
    decay: float = BATCH_NORM_DECAY,
    gamma_initializer=None,
    scope: str = 'BatchNorm',
) -> tf.Tensor:
    """Normalises over the batch, with gamma and beta. Updates of the moving averages go to UPDATE_OPS, as in slim.

    In training the statistics are those of the batch. A packed batch holds real frames only, so the frame that pads a
    short window counts once. Padding the images first would count it again for each padded position. In evaluation both
    give equal results.

    `with slim.arg_scope([batch_norm], frozen=True)` around any builder trains with the statistics of evaluation.

    slim.batch_norm computes the same values and gives its variables the same names. Its time per layer grows with the
    number of variables: it needs a minute for NASNet's graph.

    Args:
      inputs: float32 [N, H, W, C].
      is_training: True normalises by the batch's statistics, False by the moving averages.
      epsilon: added to the variance.
      activation_fn: applied to the result, None for no activation.
      fused: True uses the fused op in evaluation. It must be False after a grouped convolution, because TensorFlow 2.15
        would merge both into a kernel that has no groups on a CPU.
      frozen: True normalises by the moving averages in training, too, and never changes them. Gamma and beta stay
        trainable.
      updates: True adds updates of the moving averages. If frames pass twice, only one pass has them.
      decay: share of the old value that a moving average keeps at each step, in [0, 1).
      gamma_initializer: initial value of gamma, None for ones.
      scope: scope of the variables gamma, beta, moving_mean and moving_variance, float32 [C] each.

    Returns:
      float32 [N, H, W, C].
    """
    with tf.variable_scope(scope):
        shape = [inputs.shape[3]]
        beta = slim.model_variable('beta', shape, initializer=tf.zeros_initializer())
        gamma = slim.model_variable('gamma', shape, initializer=gamma_initializer or tf.ones_initializer())
        mean = slim.model_variable('moving_mean', shape, initializer=tf.zeros_initializer(), trainable=False)
        variance = slim.model_variable('moving_variance', shape, initializer=tf.ones_initializer(), trainable=False)
        if is_training and not frozen:
            net, *statistics = tf.nn.fused_batch_norm(inputs, gamma, beta, epsilon=epsilon)
            for average, value in zip((mean, variance), statistics, strict=True) if updates else ():
                update = average.assign_sub((average - value) * (1 - decay))
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
    """Builds a convolution without biases, with He's initial weights.

    Args:
      inputs: float32 [N, H, W, C]. C is a multiple of `groups`.
      channels: channels of the output, a multiple of `groups`.
      size: height and width of the kernel, odd.
      stride: 1 or 2.
      padding: `same` or `symmetric`, which differ for stride 2 (see `Convention.padding`), or `valid` for no padding.
      groups: with more than one, output group g depends on input group g only. It is a single op, with the kernel
        [size, size, C / groups, channels], because 32 small convolutions would have 32 times the overhead.
      normalizer_fn: `batch_norm`, applied to the result, or None.
      activation_fn: applied last, or None.
      scope: scope of the variable `weights` and of the normaliser's variables.

    Returns:
      float32 [N, ceil(H / stride), ceil(W / stride), channels], smaller for `valid`.
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
        weights = slim.model_variable('weights', shape, initializer=convolution_initializer())
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
    """Builds a convolution of each channel, then a 1x1 convolution, both without biases, with He's initial weights.

    Args:
      inputs: float32 [N, H, W, C].
      channels: channels of the output.
      size: height and width of the first kernel, odd.
      stride: stride of the first convolution, 1 or 2.
      normalizer_fn: `batch_norm`, applied to the result, or None.
      activation_fn: applied last, or None.
      scope: scope of the variables `depthwise_weights` [size, size, C, 1] and `pointwise_weights` [1, 1, C, channels],
        and of the normaliser's variables.

    Returns:
      float32 [N, ceil(H / stride), ceil(W / stride), channels], padded as TensorFlow's SAME.
    """
    with tf.variable_scope(scope):
        initializer = convolution_initializer()
        depth = inputs.shape[3]
        depthwise = slim.model_variable('depthwise_weights', [size, size, depth, 1], initializer=initializer)
        pointwise = slim.model_variable('pointwise_weights', [1, 1, depth, channels], initializer=initializer)
        net = tf.nn.separable_conv2d(inputs, depthwise, pointwise, [1, stride, stride, 1], 'SAME')
        net = normalizer_fn(net) if normalizer_fn else net
        return activation_fn(net) if activation_fn else net


@contextlib.contextmanager
def batch_norm_arg_scope(is_training: bool, epsilon: float):
    """Gives convolutions built inside batch normalisation and a ReLU."""
    with (
        slim.arg_scope([batch_norm], is_training=is_training, epsilon=epsilon),
        slim.arg_scope([conv2d, separable_conv2d], normalizer_fn=batch_norm, activation_fn=tf.nn.relu),
    ):
        yield


def pool_3x3(inputs: tf.Tensor, kind: str, pool: str) -> tf.Tensor:
    """Builds a 3x3 pool of stride 2, padded by `Convention.pool`.

    Args:
      inputs: float32 [N, H, W, C]. `zeros` needs fixed H and W. `symmetric` and `after` need values from 0 (after a
        ReLU), so that the zeros around them never win a maximum.
      kind: `MAX` or `AVG`.
      pool: a value of `Convention.pool`.

    Returns:
      float32 [N, H', W', C]. H' is ceil(H / 2), and floor(H / 2) for `after`.
    """
    if pool == 'same':
        return tf.nn.pool(inputs, [3, 3], kind, 'SAME', strides=[2, 2])
    if pool == 'zeros':
        rows, columns = ([int(inputs.shape[axis]) % 2, 1] for axis in (1, 2))
    else:
        rows = columns = [{'symmetric': 1, 'after': 0}[pool], 1]
    inputs = tf.pad(inputs, [[0, 0], rows, columns, [0, 0]])
    return tf.nn.pool(inputs, [3, 3], kind, 'VALID', strides=[2, 2])


def build_stem(
    images: tf.Tensor, channels: int, convention: Convention, stride: int
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds the 7x7 convolution and the 3x3 maximum pool before the first stage.

    On faces of 48 pixels, the paper's stride of 4 leaves 12x12 to the first stage and 2x2 to the last. The variables do
    not depend on the stride, so that published weights can be restored with any.

    Args:
      images: float32 [N, H, W, 3].
      channels: of the convolution.
      convention: gives the padding of both.
      stride: 4 as in the paper, where both stride by 2. With 2 only the pool strides. With 1 there is no pool.

    Returns:
      net: float32 [N, H', W', channels], the last map.
      end_points: `conv1`, and `pool1` with a pool.
    """
    net = conv2d(images, channels, 7, 2 if stride == 4 else 1, convention.padding, scope='conv1')
    end_points = {'conv1': net}
    if stride > 1:
        net = end_points['pool1'] = pool_3x3(net, 'MAX', convention.pool)
    return net, end_points


def features_of_map(net: tf.Tensor, global_pool: bool) -> tf.Tensor:
    """Averages the last map, or keeps it flat (`--global_pool=False`, dissertation 6.1).

    A flat map keeps the place in the face at which a channel responds. It has H * W times as many features and
    classifier weights, and the classifier's shape then depends on the image size.

    Args:
      net: float32 [N, H, W, C], the last map.
      global_pool: True averages over H and W.

    Returns:
      float32 [N, C], or [N, H * W * C] in the map's own order: row, column, channel.
    """
    return tf.reduce_mean(net, [1, 2]) if global_pool else slim.flatten(net)


def classifier(inputs: tf.Tensor, num_classes: int, weights_initializer=None, scope: str = 'logits') -> tf.Tensor:
    """Builds the dense layer that gives the logits. Its start depends on the scheme (--initialiser).

    Args:
      inputs: float32 [N, D].
      num_classes: units.
      weights_initializer: initial weights of the scheme `fan_in`, None for Xavier's.
      scope: scope of the variables `weights` and `biases`.

    Returns:
      float32 [N, num_classes].
    """
    start = classifier_initializers(int(inputs.shape[1]), weights_initializer)
    return slim.fully_connected(inputs, num_classes, activation_fn=None, scope=scope, **start)


class ChunkPosition(NamedTuple):
    """Position of a chunk of frames within its batch."""

    first: tf.Tensor  # int32 [], number of frames before the chunk
    total: tf.Tensor  # int32 [], frames of the batch


@slim.add_arg_scope
def dropout(
    inputs: tf.Tensor, rate: float, is_training: bool, scope: str, chunk: ChunkPosition | None = None
) -> tf.Tensor:
    """Drops units by a mask that depends only on the run's seed, the layer's name and the step.

    slim's dropout keeps a generator inside the session, so a resumed run would have other masks than a run that was
    never stopped. Here step n has the same mask in every session.

    Args:
      inputs: float32, any shape.
      rate: share of units dropped, in [0, 1). The other units are scaled by 1 / (1 - rate).
      is_training: False returns `inputs`.
      scope: the layer's name, distinct within a network.
      chunk: position of `inputs` in a batch that is computed in chunks. The mask is then that part of the whole
        batch's mask.

    Raises:
      ValueError: there is no global step yet. A step created here would be named inside the network's scope.
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
