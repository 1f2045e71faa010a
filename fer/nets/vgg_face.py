"""VGG-Face: the 16 weight layers of VGG configuration D, as trained on faces.

Parkhi, Vedaldi, Zisserman, "Deep Face Recognition", BMVC 2015, table 3; dissertation 2.4.2. Layers are named as in
slim's vgg.py, under the scope `vgg_face`.

Two points the dissertation leaves open. Pooling drops an odd last row or column (VALID), as in MatConvNet, so that
112x112 ends in 3x3x512. Fresh weights are centred (fer/nets/layers.py), because sixteen layers without batch
normalisation hardly learn from Glorot's or He's.
"""

from fer.nets.layers import RELU_GAIN, centred_initializer, scale_channels
from fer.nets.layers import dropout as dropout_layer
from fer.tf1 import slim, tf

BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # (convolutions, channels), each then pooled by 2
FC_UNITS = 4096


def vgg_face_arg_scope():
    """Convolutions and dense layers: ReLU, biases from zero, centred weights."""
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
    scope: str = 'vgg_face',
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds VGG-Face.

    Args:
      images: float32 [N, H, W, 3], RGB in [-1, 1]; H and W fixed, at least 32.
      num_classes: units of the last layer, fc8.
      is_training: whether dropout acts.
      width: multiplies the channels of every layer but the last.
      dropout: rate after fc6 and fc7.
      scope: the variables' scope; variables are reused where they exist.

    Returns:
      features: float32 [N, 4096 * width], fc6 after ReLU and before dropout, which the dissertation feeds to its
        RNNs (6.3).
      end_points: `conv1/conv1_1` ... `pool5`, `fc6`, `fc7`, `logits` [N, num_classes].

    Raises:
      ValueError: the images are smaller than the five poolings allow.
    """
    height, image_width = images.shape[1], images.shape[2]
    if min(height, image_width) < 32:
        raise ValueError(f'images {images.name} are {height}x{image_width}; expected at least 32x32')
    end_points = {}
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE), vgg_face_arg_scope():
        net = images
        for block, (convolutions, channels) in enumerate(BLOCKS, start=1):
            with tf.variable_scope(f'conv{block}'):
                for layer in range(1, convolutions + 1):
                    net = slim.conv2d(net, scale_channels(channels, width), [3, 3], scope=f'conv{block}_{layer}')
                    end_points[f'conv{block}/conv{block}_{layer}'] = net
            net = slim.max_pool2d(net, [2, 2], stride=2, padding='VALID', scope=f'pool{block}')
            end_points[f'pool{block}'] = net
        net = slim.flatten(net)  # [N, (H/32) * (W/32) * 512 * width]
        features = slim.fully_connected(net, scale_channels(FC_UNITS, width), scope='fc6')
        end_points['fc6'] = features
        net = dropout_layer(features, dropout, is_training, scope='dropout6')
        net = slim.fully_connected(net, scale_channels(FC_UNITS, width), scope='fc7')
        end_points['fc7'] = net
        net = dropout_layer(net, dropout, is_training, scope='dropout7')
        logits = slim.fully_connected(
            net,
            num_classes,
            activation_fn=None,
            weights_initializer=centred_initializer(1.0),
            scope='fc8',
        )
        end_points['logits'] = logits
    return features, end_points
