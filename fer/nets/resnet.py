"""ResNet-50, and the residual stages that the SE networks share.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, table 1, column 50-layer (v1: batch
normalisation and ReLU after each convolution, ReLU after each sum). `resnet50` is slim's resnet_v1_50 unless told
otherwise: each of the first three stages strides in the 3x3 convolution of its last unit, where the paper's Caffe
network strides in the first 1x1 of the stage that follows. Variables are named as in slim, under `resnet50`, without
its `bottleneck_v1`.
"""

from collections.abc import Callable

from fer.nets.conventions import Convention, source_pixels
from fer.nets.layers import (
    batch_norm_arg_scope,
    conv2d,
    features_of_map,
    pool_3x3,
    scale_channels,
)
from fer.tf1 import slim, tf

BLOCKS = ((64, 3), (128, 4), (256, 6), (512, 3))  # (channels of a bottleneck, units)
EXPANSION = 4  # channels of a unit's output per channel of its bottleneck
SLIM = Convention(padding='symmetric', pool='same', stride='last_3x3', epsilon=1e-5)


def resnet50(
    images: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    width: float = 1.0,
    dropout: float = 0.0,
    global_pool: bool = True,
    convention: Convention = SLIM,
    scope: str = 'resnet50',
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds ResNet-50.

    Args:
      images: float32 [N, H, W, 3], RGB in [-1, 1]; H and W fixed, at least 32.
      num_classes: units of the last layer, logits.
      is_training: whether batch normalisation takes the batch's statistics.
      width: multiplies the channels of every layer but the last.
      dropout: ignored; the paper has none.
      global_pool: whether the features are the last map's average or the flat map.
      convention: of the weights' source.
      scope: the variables' scope; variables are reused where they exist.

    Returns:
      features: float32 [N, 2048 * width], or [N, ceil(H / 32) * ceil(W / 32) * 2048 * width].
      end_points: `conv1`, `pool1`, `block1/unit_1` ... `block4/unit_3`, `features`, `logits` [N, num_classes].
    """
    return residual_network(images, num_classes, is_training, width, global_pool, convention, scope)


def residual_network(
    images: tf.Tensor,
    num_classes: int,
    is_training: bool,
    width: float,
    global_pool: bool,
    convention: Convention,
    scope: str,
    bottleneck: int = 1,
    groups: int = 1,
    refine: Callable[[tf.Tensor], tf.Tensor] = lambda residual: residual,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """ResNet-50's stem, four stages and classifier, for it and for its relatives.

    Args:
      images: as in `resnet50`, like the six that follow; returns are as there, too.
      num_classes: units of the last layer.
      is_training: for batch normalisation.
      width: channel multiplier.
      global_pool: average or flat map.
      convention: of the weights' source.
      scope: the variables' scope.
      bottleneck: multiplies the channels of every bottleneck (ResNeXt: 2).
      groups: of every 3x3 convolution but the stem's.
      refine: applied to what a unit adds to its shortcut, float32 [N, H, W, C] to the same.
    """
    end_points = {}
    with (
        tf.variable_scope(scope, reuse=tf.AUTO_REUSE),
        batch_norm_arg_scope(is_training, convention.epsilon),
    ):
        net = source_pixels(images, convention)
        net = conv2d(net, scale_channels(64, width), 7, 2, convention.padding, scope='conv1')
        end_points['conv1'] = net
        net = pool_3x3(net, 'MAX', convention.pool)
        end_points['pool1'] = net
        for block, (channels, units) in enumerate(BLOCKS, start=1):
            inner = scale_channels(channels * bottleneck, width, multiple=groups)
            outer = scale_channels(channels * EXPANSION, width)
            for unit in range(1, units + 1):
                if convention.stride == 'last_3x3':
                    stride = 2 if unit == units and block < len(BLOCKS) else 1
                else:
                    stride = 2 if unit == 1 and block > 1 else 1
                name = f'block{block}/unit_{unit}'
                with tf.variable_scope(name):
                    net = _unit(net, inner, outer, unit == 1, stride, convention, groups, refine)
                end_points[name] = net
        features = features_of_map(net, global_pool)
        end_points['features'] = features
        if num_classes:
            end_points['logits'] = slim.fully_connected(features, num_classes, activation_fn=None, scope='logits')
    return features, end_points


def _unit(
    net: tf.Tensor,
    inner: int,
    outer: int,
    project: bool,
    stride: int,
    convention: Convention,
    groups: int,
    refine: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """1x1 to `inner` channels, 3x3, 1x1 to `outer`, plus shortcut: [N, H, W, C] to [N, H/stride, W/stride, outer].

    The shortcut of a stage's first unit is projected to `outer` channels, whatever it has at a small width.
    """
    in_1x1, in_3x3 = (stride, 1) if convention.stride == 'first_1x1' else (1, stride)
    if project:
        shortcut = conv2d(net, outer, 1, stride=stride, activation_fn=None, scope='shortcut')
    else:
        shortcut = net[:, ::stride, ::stride] if stride > 1 else net
    residual = conv2d(net, inner, 1, stride=in_1x1, scope='conv1')
    residual = conv2d(residual, inner, 3, in_3x3, convention.padding, groups, scope='conv2')
    residual = conv2d(residual, outer, 1, activation_fn=None, scope='conv3')
    return tf.nn.relu(shortcut + refine(residual))
