# SPDX-License-Identifier: Apache-2.0
"""DenseNet-121, where each layer takes the maps of all layers before it in its block.

Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017, table 1, column
DenseNet-121 (BC: bottlenecks, compression 0.5, growth rate 32). Batch normalisation and ReLU come before each
convolution except the first. Padding is symmetric, as in the authors' Torch network. The paper uses dropout only on
small images without augmentation, so it is left out.
"""

from fer.nets.conventions import Convention, source_pixels
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

BLOCKS = (6, 12, 24, 16)  # layers of each dense block
GROWTH_RATE = 32  # channels that a layer adds
BOTTLENECK = 4  # channels of a layer's 1x1 convolution per channel that it adds
COMPRESSION = 0.5  # channels after a transition per channel before
TORCH = Convention(padding='symmetric', pool='symmetric', epsilon=1e-5)


def densenet121(
    images: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    width: float = 1.0,
    dropout: float = 0.0,
    global_pool: bool = True,
    convention: Convention = TORCH,
    scope: str = 'densenet121',
    stem_stride: int = 4,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds DenseNet-121.

    Args:
      images: float32 [N, H, W, 3], RGB in [-1, 1]. H and W are fixed, at least 32.
      num_classes: units of the last layer, logits. 0 builds no classifier.
      is_training: True normalises by the batch's statistics.
      width: multiplies the growth rate and the stem's channels, and with them every layer except the last.
      dropout: ignored, because the paper has none on images of this size.
      global_pool: True averages the last map, False keeps it flat.
      convention: the convention of the weights' source.
      scope: scope of the variables, which are reused if they exist.
      stem_stride: stride of the layers before the first block, see `build_stem`.

    Returns:
      features: float32 [N, 1024 * width], or [N, H' * W' * 1024 * width] for a flat map. H' is about H / 32: the stem
        halves twice and rounds up, the transitions halve three times and round down.
      end_points: `conv1`, `pool1`, `block1`, `transition1` ... `block4`, `norm5` (after ReLU, also as
        `last_map`), `features`, `logits` [N, num_classes].
    """
    growth = scale_channels(GROWTH_RATE, width)
    with (
        tf.variable_scope(scope, reuse=tf.AUTO_REUSE),
        batch_norm_arg_scope(is_training, convention.epsilon),
    ):
        net = source_pixels(images, convention)
        net, end_points = build_stem(net, scale_channels(64, width), convention, stem_stride)
        with slim.arg_scope([conv2d], activation_fn=None, normalizer_fn=None):
            for block, layers in enumerate(BLOCKS, start=1):
                for layer in range(1, layers + 1):
                    with tf.variable_scope(f'block{block}/layer{layer}'):
                        net = _dense_layer(net, growth)
                end_points[f'block{block}'] = net
                if block < len(BLOCKS):
                    with tf.variable_scope(f'transition{block}'):
                        net = _transition(net)
                    end_points[f'transition{block}'] = net
        net = batch_norm(net, activation_fn=tf.nn.relu, scope='norm5')
        end_points['norm5'] = end_points['last_map'] = net
        features = features_of_map(net, global_pool)
        end_points['features'] = features
        if num_classes:
            end_points['logits'] = classifier(features, num_classes)
    return features, end_points


def _dense_layer(net: tf.Tensor, growth: int) -> tf.Tensor:
    """Builds one layer: [N, H, W, C] to [N, H, W, C + growth]."""
    new = batch_norm(net, activation_fn=tf.nn.relu, scope='norm1')
    new = conv2d(new, BOTTLENECK * growth, 1, scope='conv1')
    new = batch_norm(new, activation_fn=tf.nn.relu, scope='norm2')
    new = conv2d(new, growth, 3, scope='conv2')
    return tf.concat([net, new], axis=3)


def _transition(net: tf.Tensor) -> tf.Tensor:
    """Builds a transition: [N, H, W, C] to [N, H // 2, W // 2, C * COMPRESSION]."""
    channels = int(net.shape[3] * COMPRESSION)
    net = batch_norm(net, activation_fn=tf.nn.relu, scope='norm')
    net = conv2d(net, channels, 1, scope='conv')
    return slim.avg_pool2d(net, [2, 2], stride=2, padding='VALID')
