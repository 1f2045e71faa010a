# SPDX-License-Identifier: Apache-2.0
"""Squeeze-and-excitation, SE-ResNet-50 and SE-ResNeXt-50 (32x4d).

Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018, table 1. The 32 groups of 4 channels are those of Xie et
al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017. The SE block scales the map that a unit
adds, just before the sum.

The details are those of the authors' Caffe networks and of their public TensorFlow translation:

- SE-ResNet-50 strides in the first 1x1 convolution of a stage, SE-ResNeXt-50 in the first 3x3.
- Strided convolutions are padded symmetrically.
- The pool after the stem is padded after the map only. A map of odd size is padded as the translation's SAME does.
"""

from fer.nets.conventions import Convention
from fer.nets.resnet import ResidualDesign, residual_network
from fer.tf1 import slim, tf

REDUCTION = 16
GROUPS = 32
CAFFE = Convention(padding='symmetric', pool='same', stride='first_1x1', epsilon=1e-5)
CAFFE_NEXT = CAFFE._replace(stride='first_3x3')


def squeeze_excite(net: tf.Tensor, reduction: int = REDUCTION, gate_bias: float = 0.0, scope: str = 'se') -> tf.Tensor:
    """Scales each channel by a gate computed from all channels' means (section 3 of the SE paper).

    The block may follow any convolution. Its variables are the weights and biases of `reduce` and `excite`.

    Args:
      net: float32 [N, H, W, C].
      reduction: the layer between the means and the gates has max(1, C // reduction) units.
      gate_bias: initial value of the gates' biases. 0 starts every gate near one half.
      scope: scope of the variables.

    Returns:
      float32 [N, H, W, C].
    """
    channels = int(net.shape[3])
    with tf.variable_scope(scope):
        gate = tf.reduce_mean(net, [1, 2])  # [N, C]
        gate = slim.fully_connected(gate, max(1, channels // reduction), activation_fn=tf.nn.relu, scope='reduce')
        gate = slim.fully_connected(
            gate,
            channels,
            activation_fn=tf.nn.sigmoid,
            biases_initializer=tf.constant_initializer(gate_bias),
            scope='excite',
        )
        return net * gate[:, None, None, :]


def se_resnet50(
    images: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    width: float = 1.0,
    dropout: float = 0.0,
    global_pool: bool = True,
    convention: Convention = CAFFE,
    scope: str = 'se_resnet50',
    stem_stride: int = 4,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds SE-ResNet-50: ResNet-50 with an SE block in every unit.

    Args:
      images: float32 [N, H, W, 3], RGB in [-1, 1]. H and W are fixed, at least 32.
      num_classes: units of the last layer, logits. 0 builds no classifier.
      is_training: True normalises by the batch's statistics.
      width: multiplies the channels of every layer except the last.
      dropout: ignored, because the paper has none.
      global_pool: True averages the last map, False keeps it flat.
      convention: the convention of the weights' source.
      scope: scope of the variables, which are reused if they exist.
      stem_stride: stride of the layers before the first stage, see `build_stem`.

    Returns:
      features: float32 [N, 2048 * width], or [N, ceil(H / 32) * ceil(W / 32) * 2048 * width] for a flat map. With
        another `stem_stride`, 8 * stem_stride replaces 32.
      end_points: `conv1`, `pool1`, `block1/unit_1` ... `block4/unit_3`, `last_map`, `features`, `logits` [N,
        num_classes].
    """
    design = ResidualDesign(refine=squeeze_excite, stem_stride=stem_stride)
    return residual_network(images, num_classes, is_training, width, global_pool, convention, scope, design)


def se_resnext50(
    images: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    width: float = 1.0,
    dropout: float = 0.0,
    global_pool: bool = True,
    convention: Convention = CAFFE_NEXT,
    scope: str = 'se_resnext50',
    stem_stride: int = 4,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds SE-ResNeXt-50 (32x4d): SE-ResNet-50 with bottlenecks twice as wide and their 3x3 in 32 groups.

    Args:
      images: float32 [N, H, W, 3], RGB in [-1, 1]. H and W are fixed, at least 32.
      num_classes: units of the last layer, logits. 0 builds no classifier.
      is_training: True normalises by the batch's statistics.
      width: multiplies the channels of every layer except the last. Bottlenecks keep multiples of 32 channels.
      dropout: ignored, because the paper has none.
      global_pool: True averages the last map, False keeps it flat.
      convention: the convention of the weights' source.
      scope: scope of the variables, which are reused if they exist.
      stem_stride: stride of the layers before the first stage, see `build_stem`.

    Returns:
      features: float32 [N, 2048 * width], or [N, ceil(H / 32) * ceil(W / 32) * 2048 * width] for a flat map. With
        another `stem_stride`, 8 * stem_stride replaces 32.
      end_points: `conv1`, `pool1`, `block1/unit_1` ... `block4/unit_3`, `last_map`, `features`, `logits` [N,
        num_classes].
    """
    design = ResidualDesign(bottleneck=2, groups=GROUPS, refine=squeeze_excite, stem_stride=stem_stride)
    return residual_network(images, num_classes, is_training, width, global_pool, convention, scope, design)
