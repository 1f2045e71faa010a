# SPDX-License-Identifier: Apache-2.0
"""VGG-Face: the 16 weight layers of VGG configuration D, as trained on faces.

Parkhi, Vedaldi, Zisserman, "Deep Face Recognition", BMVC 2015, table 3 (dissertation 2.4.2). Layers have the names of
slim's vgg.py, below the scope `vgg_face`.

The dissertation leaves two points open:

- Pooling drops an odd last row or column, as in MatConvNet, so 112x112 ends in 3x3x512. The convention's `same` keeps
  it, so that 112x112 ends in 4x4x512 (--vgg_pooling). At 224x224 both end in 7x7x512.
- Fresh weights are centred (fer/nets/layers.py), because sixteen layers without batch normalisation hardly learn from
  Glorot's or He's weights.

With `se`, an SE block follows the ReLU of every convolution, as in the VGGNet of Hu et al. (2018, section 3.3). The
dissertation names the combination as future work (ch. 10).
"""

from fer.nets.conventions import Convention, source_pixels
from fer.nets.layers import RELU_GAIN, centred_initializer, classifier, features_of_map, scale_channels
from fer.nets.layers import dropout as dropout_layer
from fer.nets.se_resnet import squeeze_excite
from fer.tf1 import slim, tf

BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # (convolutions, channels) before each pool
FC_UNITS = 4096
VGG_POOLS = {'valid': 'symmetric', 'same': 'same'}  # `Convention.pool` by --vgg_pooling
# Thirteen gates that start at one half would scale the last map by 2**-13, and no batch normalisation would scale it
# back. A bias of 3 starts each gate at 0.95, which keeps half of the restored signal after all thirteen.
SE_GATE_BIAS = 3.0


def vgg_face_arg_scope():
    """Gives convolutions and dense layers a ReLU, biases from zero and centred weights."""
    return slim.arg_scope(
        [slim.conv2d, slim.fully_connected],
        activation_fn=tf.nn.relu,
        weights_initializer=centred_initializer(RELU_GAIN),
        biases_initializer=tf.zeros_initializer(),
    )


def vgg_face(
    images: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    width: float = 1.0,
    dropout: float = 0.5,
    global_pool: bool = False,
    convention: Convention = Convention(),  # noqa: B008 (immutable)
    scope: str = 'vgg_face',
    se: bool = False,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds VGG-Face.

    Args:
      images: float32 [N, H, W, 3], RGB in [-1, 1]. H and W are fixed, at least 32.
      num_classes: units of the last layer, fc8. With 0, fc6 is the last layer.
      is_training: True turns dropout on.
      width: multiplies the channels of every layer except the last.
      dropout: share of units dropped after fc6 and fc7, in [0, 1).
      global_pool: True gives fc6 the average of pool5, False the flat map, as in the paper.
      convention: the convention of the weights' source.
      scope: scope of the variables, which are reused if they exist.
      se: True adds an SE block after each convolution.

    Returns:
      features: float32 [N, 4096 * width], fc6 after ReLU and before dropout: the input of the dissertation's RNNs
        (6.3).
      end_points: `conv1/conv1_1` (gated, with `se`) ... `pool5`, `last_map` (of conv5_3), `fc6`, `fc7`, `logits` [N,
        num_classes].

    Raises:
      ValueError: the images are too small for five pools.
    """
    height, image_width = images.shape[1], images.shape[2]
    if min(height, image_width) < 32:
        raise ValueError(f'images {images.name} are {height}x{image_width}; expected at least 32x32')
    end_points = {}
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE), vgg_face_arg_scope():
        net = source_pixels(images, convention)
        for block, (convolutions, channels) in enumerate(BLOCKS, start=1):
            for layer in range(1, convolutions + 1):
                name = f'conv{block}/conv{block}_{layer}'
                net = slim.conv2d(net, scale_channels(channels, width), [3, 3], scope=name)
                if se:
                    net = squeeze_excite(net, gate_bias=SE_GATE_BIAS, scope=f'se/conv{block}_{layer}')
                end_points[name] = net
            end_points['last_map'] = net  # of the last block in the end
            net = slim.max_pool2d(
                net, [2, 2], stride=2, padding='SAME' if convention.pool == 'same' else 'VALID', scope=f'pool{block}'
            )
            end_points[f'pool{block}'] = net
        net = features_of_map(net, global_pool)  # [N, (H/32) * (W/32) * 512 * width], or [N, 512 * width]
        features = slim.fully_connected(net, scale_channels(FC_UNITS, width), scope='fc6')
        end_points['fc6'] = features
        if not num_classes:
            return features, end_points
        net = dropout_layer(features, dropout, is_training, scope='dropout6')
        net = slim.fully_connected(net, scale_channels(FC_UNITS, width), scope='fc7')
        end_points['fc7'] = net
        net = dropout_layer(net, dropout, is_training, scope='dropout7')
        end_points['logits'] = classifier(net, num_classes, centred_initializer(1.0), scope='fc8')
    return features, end_points
