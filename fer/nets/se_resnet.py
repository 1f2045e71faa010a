"""Squeeze-and-excitation, SE-ResNet-50 and SE-ResNeXt-50 (32x4d).

Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018, table 1; Xie et al., "Aggregated Residual Transformations
for Deep Neural Networks", CVPR 2017, for the 32 groups of 4 channels. The SE block scales what a unit adds, just
before the sum. As in the authors' Caffe networks and their public TensorFlow translation, SE-ResNet-50 strides in the
first 1x1 convolution of a stage, SE-ResNeXt-50 in its first 3x3, strided convolutions are padded symmetrically, and
the pool after the stem is not padded before but after (on a map of odd size, as the translation's SAME pads it).
"""

from fer.nets.conventions import Convention
from fer.nets.resnet import residual_network
from fer.tf1 import slim, tf

REDUCTION = 16
GROUPS = 32
CAFFE = Convention(padding='symmetric', pool='same', stride='first_1x1', epsilon=1e-5)
CAFFE_NEXT = CAFFE._replace(stride='first_3x3')


def squeeze_excite(net: tf.Tensor, reduction: int = REDUCTION, gate_bias: float = 0.0, scope: str = 'se') -> tf.Tensor:
    """Scales each channel by a gate computed from all channels' means (section 3 of the SE paper).

    Usable after any convolution: variables `reduce` and `excite`, each with weights and biases, under `scope`.

    Args:
      net: float32 [N, H, W, C].
      reduction: C / reduction units, at least one, between the means and the gates.
      gate_bias: first value of the gates' biases; 0 starts every gate near one half.
      scope: of the variables.

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
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds SE-ResNet-50: ResNet-50 with an SE block in every unit. Arguments and returns as `resnet50`."""
    return residual_network(
        images, num_classes, is_training, width, global_pool, convention, scope, refine=squeeze_excite
    )


def se_resnext50(
    images: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    width: float = 1.0,
    dropout: float = 0.0,
    global_pool: bool = True,
    convention: Convention = CAFFE_NEXT,
    scope: str = 'se_resnext50',
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds SE-ResNeXt-50 (32x4d): bottlenecks twice as wide, their 3x3 in 32 groups. As `resnet50` otherwise.

    Any width keeps the 32 groups, so that bottlenecks have multiples of 32 channels.
    """
    return residual_network(
        images,
        num_classes,
        is_training,
        width,
        global_pool,
        convention,
        scope,
        bottleneck=2,
        groups=GROUPS,
        refine=squeeze_excite,
    )
