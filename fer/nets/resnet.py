# SPDX-License-Identifier: Apache-2.0
"""ResNet-50 and ResNet-18, and the residual stages that the SE networks share.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, table 1, columns 50-layer and 18-layer.
This is v1: batch normalisation and ReLU follow each convolution, ReLU follows each sum.

By default `resnet50` is slim's resnet_v1_50. Each of the first three stages strides in the 3x3 convolution of its last
unit. The paper's Caffe network strides in the first 1x1 convolution of the next stage instead. Variables have slim's
names, below `resnet50` and without slim's `bottleneck_v1`.

ResNet-18 is not in the dissertation. It is for small images on small machines, with the details of torchvision's. Slim
has none.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from fer.nets.conventions import Convention, source_pixels
from fer.nets.initialisers import last_gamma_initializer
from fer.nets.layers import (
    batch_norm,
    batch_norm_arg_scope,
    build_stem,
    classifier,
    conv2d,
    features_of_map,
    scale_channels,
)
from fer.tf1 import slim, tf

BLOCKS = ((64, 3), (128, 4), (256, 6), (512, 3))  # (channels of a bottleneck, units)
EXPANSION = 4  # output channels of a unit per channel of its bottleneck
BASIC_UNITS = 2  # units of each stage of ResNet-18
TORCH = Convention(padding='symmetric', pool='symmetric', stride='first_3x3', epsilon=1e-5)
SLIM = Convention(padding='symmetric', pool='same', stride='last_3x3', epsilon=1e-5)


class ResidualDesign(NamedTuple):
    """The differences between ResNet-50 and its relatives."""

    bottleneck: int = 1  # multiplies the channels of every bottleneck (ResNeXt: 2)
    groups: int = 1  # groups of every 3x3 convolution except the stem's
    basic: bool = False  # units of two 3x3 convolutions, two units a stage (ResNet-18), instead of bottlenecks
    # Applied to the map that a unit adds to its shortcut: float32 [N, H, W, C] to [N, H, W, C].
    refine: Callable[[tf.Tensor], tf.Tensor] | None = None
    stem_stride: int = 4  # see `build_stem`


class ResidualUnit(NamedTuple):
    """One unit: 1x1 to `inner` channels, 3x3, 1x1 to `outer` channels, plus the shortcut.

    A basic unit is 3x3 to `outer` channels, 3x3, plus the shortcut.
    """

    name: str
    inner: int
    outer: int
    stride: int
    project: bool  # a convolution gives the shortcut `outer` channels, whatever its own number


def resnet50(
    images: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    width: float = 1.0,
    dropout: float = 0.0,
    global_pool: bool = True,
    convention: Convention = SLIM,
    scope: str = 'resnet50',
    stem_stride: int = 4,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds ResNet-50.

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
    design = ResidualDesign(stem_stride=stem_stride)
    return residual_network(images, num_classes, is_training, width, global_pool, convention, scope, design)


def resnet18(
    images: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    width: float = 1.0,
    dropout: float = 0.0,
    global_pool: bool = True,
    convention: Convention = TORCH,
    scope: str = 'resnet18',
    stem_stride: int = 4,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds ResNet-18.

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
      features: float32 [N, 512 * width], or, for a flat map, that many for each of its positions. The map is H and W
        divided by 8 * stem_stride, rounded up.
      end_points: `conv1`, `pool1`, `block1/unit_1` ... `block4/unit_2`, `last_map`, `features`, `logits` [N,
        num_classes].
    """
    design = ResidualDesign(basic=True, stem_stride=stem_stride)
    return residual_network(images, num_classes, is_training, width, global_pool, convention, scope, design)


def residual_network(
    images: tf.Tensor,
    num_classes: int,
    is_training: bool,
    width: float,
    global_pool: bool,
    convention: Convention,
    scope: str,
    design: ResidualDesign,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds the stem, the four stages and the classifier of ResNet-50 or of a relative.

    Args:
      images: float32 [N, H, W, 3], RGB in [-1, 1]. H and W are fixed, at least 32.
      num_classes: units of the last layer, logits. 0 builds no classifier.
      is_training: True normalises by the batch's statistics.
      width: multiplies the channels of every layer except the last.
      global_pool: True averages the last map, False keeps it flat.
      convention: the convention of the weights' source.
      scope: scope of the variables, which are reused if they exist.
      design: the difference from ResNet-50.

    Returns:
      features: float32 [N, 2048 * width], or [N, ceil(H / 32) * ceil(W / 32) * 2048 * width] for a flat map.
      end_points: `conv1`, `pool1`, `block1/unit_1` ... `block4/unit_3`, `last_map`, `features`, `logits` [N,
        num_classes].
    """
    with (
        tf.variable_scope(scope, reuse=tf.AUTO_REUSE),
        batch_norm_arg_scope(is_training, convention.epsilon),
    ):
        net = source_pixels(images, convention)
        net, end_points = build_stem(net, scale_channels(64, width), convention, design.stem_stride)
        for unit in _units(width, convention, design):
            with tf.variable_scope(unit.name):
                net = _build_unit(net, unit, convention, design)
            end_points[unit.name] = net
        end_points['last_map'] = net
        features = features_of_map(net, global_pool)
        end_points['features'] = features
        if num_classes:
            end_points['logits'] = classifier(features, num_classes)
    return features, end_points


def _units(width: float, convention: Convention, design: ResidualDesign) -> Iterator[ResidualUnit]:
    """Yields the units of all stages, in order."""
    expansion = 1 if design.basic else EXPANSION
    for block, (channels, bottlenecks) in enumerate(BLOCKS, start=1):
        units = BASIC_UNITS if design.basic else bottlenecks
        for unit in range(1, units + 1):
            if convention.stride == 'last_3x3':
                strides = unit == units and block < len(BLOCKS)
            else:
                strides = unit == 1 and block > 1
            yield ResidualUnit(
                name=f'block{block}/unit_{unit}',
                inner=scale_channels(channels * design.bottleneck, width, multiple=design.groups),
                outer=scale_channels(channels * expansion, width),
                stride=2 if strides else 1,
                # The first stage of ResNet-18 has as many channels as the stem.
                project=unit == 1 and not (design.basic and block == 1),
            )


def _build_unit(net: tf.Tensor, unit: ResidualUnit, convention: Convention, design: ResidualDesign) -> tf.Tensor:
    """Builds one unit: [N, H, W, C] to [N, H / stride, W / stride, outer]."""
    stride = unit.stride
    in_1x1, in_3x3 = (stride, 1) if convention.stride == 'first_1x1' else (1, stride)
    if unit.project:
        shortcut = conv2d(net, unit.outer, 1, stride=stride, activation_fn=None, scope='shortcut')
    else:
        shortcut = net[:, ::stride, ::stride] if stride > 1 else net
    last_gamma = slim.arg_scope([batch_norm], gamma_initializer=last_gamma_initializer())
    if design.basic:
        residual = conv2d(net, unit.outer, 3, stride, convention.padding, scope='conv1')
        with last_gamma:
            residual = conv2d(residual, unit.outer, 3, activation_fn=None, scope='conv2')
    else:
        residual = conv2d(net, unit.inner, 1, stride=in_1x1, scope='conv1')
        residual = conv2d(residual, unit.inner, 3, in_3x3, convention.padding, design.groups, scope='conv2')
        with last_gamma:
            residual = conv2d(residual, unit.outer, 1, activation_fn=None, scope='conv3')
    if design.refine:
        residual = design.refine(residual)
    return tf.nn.relu(shortcut + residual)
