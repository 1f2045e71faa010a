# SPDX-License-Identifier: Apache-2.0
"""Conventions: choices of an implementation that neither a network's paper nor its variables show.

Implementations of one paper differ in the place of strided windows, the convolution of a stage that strides, the
epsilon of batch normalisation, and the scale of pixels. Weights work only under the convention they were trained with,
so every network is built from a `Convention`. A network's module names its default.
"""

from typing import NamedTuple

from fer.tf1 import tf

PADDINGS = ('same', 'symmetric')
POOLS = ('same', 'symmetric', 'zeros', 'after')
STRIDES = ('first_1x1', 'first_3x3', 'last_3x3')

_LUMA = (0.299, 0.587, 0.114)  # of R, G and B, as in ITU-R BT.601, JPEG and OpenCV


class Convention(NamedTuple):
    """The convention of one source of weights. A network ignores the fields that concern none of its layers."""

    # Padding of convolutions above 1x1 that stride.
    #   `same`: TensorFlow's SAME. An odd row of padding comes after the map.
    #   `symmetric`: (size - 1) // 2 rows before and after (Caffe, PyTorch, Keras, slim's conv2d_same).
    padding: str = 'symmetric'
    # Padding of pools of stride 2, except a DenseNet's transitions.
    #   `same`: TensorFlow's SAME. The padding never wins a maximum.
    #   `symmetric`: (size - 1) // 2 rows before and after, none for 2x2 pools. The padding never wins a maximum.
    #   `zeros`: SAME's extent, but the padding counts as zeros in maxima and averages (Keras' NASNet).
    #   `after`: one row below and one column to the right (Caffe's rounding up, PyTorch's ceil_mode). On even maps this
    #     equals SAME.
    pool: str = 'symmetric'
    # The convolution in which a stage of a residual network halves the map.
    #   `first_1x1`: the first unit's 1x1 (He et al.'s Caffe, Keras).
    #   `first_3x3`: the first unit's 3x3 (Torch).
    #   `last_3x3`: the 3x3 of the last unit of the previous stage (slim).
    stride: str = 'first_3x3'
    epsilon: float = 1e-5  # added to the variance by batch normalisation
    # The network's input is (pixel - mean) / std for pixels from 0 to 255. `order` is the order of the channels of the
    # input, `mean` and `std`.
    order: str = 'RGB'
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)
    # Whether the network has learned from images without colour. It then gets the luma of an image in each channel.
    grey: bool = False


def check_convention(convention: Convention) -> None:
    """Raises ValueError if a field has an unknown value."""
    for name, known in (('padding', PADDINGS), ('pool', POOLS), ('stride', STRIDES), ('order', ('RGB', 'BGR'))):
        if getattr(convention, name) not in known:
            raise ValueError(f'convention {name}={getattr(convention, name)!r}; expected one of {", ".join(known)}')


def source_pixels(images: tf.Tensor, convention: Convention) -> tf.Tensor:
    """Converts the project's images to the channel order and scale of a source of weights.

    The default convention is the project's own [-1, 1], the input of every network of the dissertation. It adds no op.

    Args:
      images: float32 [N, H, W, 3], RGB in [-1, 1].
      convention: the convention of the source.

    Returns:
      float32 [N, H, W, 3], in the source's channel order and scale.
    """
    check_convention(convention)
    own = Convention()
    if convention.grey:
        images = tf.tensordot(images, tf.constant([[weight] * 3 for weight in _LUMA], tf.float32), axes=1)
    net = images if convention.order == 'RGB' else tf.reverse(images, axis=[3])
    if (convention.mean, convention.std) == (own.mean, own.std):
        return net
    # (pixel - mean) / std with pixel = 127.5 * (image + 1)
    scale = tf.constant([127.5 / std for std in convention.std], tf.float32)
    shift = tf.constant([(127.5 - m) / s for m, s in zip(convention.mean, convention.std, strict=True)], tf.float32)
    return net * scale + shift
