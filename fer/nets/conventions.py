"""What a network computes beyond its architecture and its weights.

Implementations of one paper differ in points that no variable shows: where strided windows lie, which convolution of
a stage strides, batch normalisation's epsilon, and what the pixels were. Weights work only under the conventions they
were trained with, so every network is built from a row of these; a network's module names the row it has of itself.
"""

from typing import NamedTuple

from fer.tf1 import tf

PADDINGS = ('same', 'symmetric')
POOLS = ('same', 'symmetric', 'zeros', 'after')
STRIDES = ('first_1x1', 'first_3x3', 'last_3x3')


class Convention(NamedTuple):
    """How one source of weights computes. A network ignores the fields it has no layer for."""

    # Convolutions larger than 1x1 that stride. `same`: TensorFlow's SAME, whose odd row of padding comes after.
    # `symmetric`: (size - 1) // 2 before and after (Caffe, PyTorch, Keras, slim's conv2d_same).
    padding: str = 'symmetric'
    # Pools of stride 2, but for a DenseNet's transitions. `same` and `symmetric` as above, padding never winning (on
    # 2x2 pools `symmetric` is none); `zeros`: SAME's extent, but the padding counts as zeros, in maxima and averages
    # (Keras' NASNet); `after`: one row below and one column to the right (Caffe's rounding up, PyTorch's ceil_mode),
    # which is SAME on even maps.
    pool: str = 'symmetric'
    # The convolution with which a stage of a residual network halves the map: the first unit's 1x1 (He et al.'s
    # Caffe, Keras), the first unit's 3x3 (Torch), or the 3x3 of the last unit of the stage before (slim).
    stride: str = 'first_3x3'
    epsilon: float = 1e-5  # of batch normalisation
    # A pixel, 0 to 255, enters as (pixel - mean) / std, with its channels, and those of mean and std, in this order.
    order: str = 'RGB'
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)


def check_convention(convention: Convention) -> None:
    """Raises ValueError for a field with a value that no network knows."""
    for name, known in (('padding', PADDINGS), ('pool', POOLS), ('stride', STRIDES), ('order', ('RGB', 'BGR'))):
        if getattr(convention, name) not in known:
            raise ValueError(f'convention {name}={getattr(convention, name)!r}; expected one of {", ".join(known)}')


def source_pixels(images: tf.Tensor, convention: Convention) -> tf.Tensor:
    """Turns the project's images into what the source's network was trained on.

    The default row is the project's own [-1, 1], which the dissertation feeds to every network; it adds no op.

    Args:
      images: float32 [N, H, W, 3], RGB in [-1, 1].
      convention: the source.

    Returns:
      float32 [N, H, W, 3], in the source's channel order and scale.
    """
    check_convention(convention)
    own = Convention()
    net = images if convention.order == 'RGB' else tf.reverse(images, axis=[3])
    if (convention.mean, convention.std) == (own.mean, own.std):
        return net
    # (pixel - mean) / std with pixel = 127.5 * (image + 1)
    scale = tf.constant([127.5 / std for std in convention.std], tf.float32)
    shift = tf.constant([(127.5 - m) / s for m, s in zip(convention.mean, convention.std, strict=True)], tf.float32)
    return net * scale + shift
