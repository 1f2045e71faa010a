# SPDX-License-Identifier: Apache-2.0
"""Augmentation of images, the same for all frames of a window, and of audio features. And test-time augmentation.

Dissertation 2.2.3, 2.3 and chapter 10 name augmentation as missing in its runs. Kinds and ranges are ours. Random
numbers follow from a seed alone, so that threads, the order of reading and resuming do not change them.
"""

from collections.abc import Collection
from typing import NamedTuple

from fer.tf1 import import_addons, tf

KINDS = ('flip', 'crop', 'rotate', 'shift', 'colour', 'cutout')

GREY = 127.5  # fills a cut-out: the middle of [0, 255], which is 0 in the network's input (dissertation 5.1.1)
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in a pixel's grey (ITU-R BT.601)


class RandomChoices(NamedTuple):
    """Random numbers of a window, each a float32 scalar. In `RANGES`, the interval of each, which is uniform."""

    mirror: tf.Tensor  # from 0.5 on, the window is mirrored
    scale: tf.Tensor  # share of height and width that a crop keeps
    left: tf.Tensor  # place of the crop: 0 at the left edge, 1 at the right
    top: tf.Tensor
    angle: tf.Tensor  # degrees, anti-clockwise
    right: tf.Tensor  # share of the width that the content moves
    down: tf.Tensor  # share of the height
    brightness: tf.Tensor  # a factor, like the next two. 1 changes nothing
    contrast: tf.Tensor
    saturation: tf.Tensor
    side: tf.Tensor  # of the cut-out square, share of the shorter side
    centre_x: tf.Tensor  # of the cut-out square, share of the width
    centre_y: tf.Tensor


RANGES = RandomChoices(
    mirror=(0.0, 1.0),  # faces are almost symmetric, and so are the seven expressions
    # A face box has a margin of about a tenth. A tighter crop would cut the brows or the chin, which carry expression.
    scale=(0.9, 1.0),
    left=(0.0, 1.0),
    top=(0.0, 1.0),
    angle=(-10.0, 10.0),  # the tilt of heads after alignment by the eyes. The corners need little filling
    right=(-0.06, 0.06),  # 7 of 112 pixels, the jitter of a detector's box from one frame to another
    down=(-0.06, 0.06),
    # Films differ in exposure and grading. Within a fifth, skin still looks like skin, and little of it saturates.
    brightness=(0.8, 1.2),
    contrast=(0.8, 1.2),
    saturation=(0.7, 1.3),  # wider, because expression is in shape, and a film may be almost grey
    # At most an eye or the mouth, never both. The centre may be at the edge, so that some faces lose almost nothing.
    side=(0.1, 0.3),
    centre_x=(0.0, 1.0),
    centre_y=(0.0, 1.0),
)


class TtaView(NamedTuple):
    """A view of test-time augmentation: the crop at `scale` whose corner is at (left, top), mirrored or not."""

    mirror: float  # 0 or 1
    scale: float  # share of height and width
    left: float  # 0 at the left edge, 1 at the right
    top: float


# The plain image replaces the centre of the classical ten crops, centre and corners (Krizhevsky et al. 2012, 4.1). So a
# run without test-time augmentation reads one of the views. Odd views are mirrors.
VIEWS = tuple(
    TtaView(mirror, *crop)
    for crop in [(1.0, 0.0, 0.0), (0.9, 0.0, 0.0), (0.9, 1.0, 0.0), (0.9, 0.0, 1.0), (0.9, 1.0, 1.0)]
    for mirror in (0.0, 1.0)
)

# Folded into the seed, so that the random numbers of audio and images are independent.
_NOISE, _TIME_MASK = 1, 2


def draw_choices(seed: tf.Tensor) -> RandomChoices:
    """Draws all random numbers of a window, so that those of one kind do not depend on which others are used.

    Args:
      seed: int32 or int64 [2].
    """
    low, high = zip(*RANGES, strict=True)
    # The algorithm is named, because the default differs between devices.
    uniform = tf.random.stateless_uniform([len(RANGES)], seed, alg='philox')
    return RandomChoices(*tf.unstack(tf.constant(low) + (tf.constant(high) - tf.constant(low)) * uniform))


def augment_window(images: tf.Tensor, seed: tf.Tensor, kinds: Collection[str]) -> tf.Tensor:
    """Augments the frames of a window, all with the same random numbers, so that a video moves and is lit as one.

    The geometry is one projective transform and one bilinear interpolation, in the order flip, rotation, shift, crop.
    The crop is last, because it removes some of the border that the others fill with the nearest edge pixel. Then
    follow the colours and the cut-out.

    Args:
      images: float32 [T, H, W, 3], in [0, 255]. A still is T = 1.
      seed: int32 or int64 [2]. The same seed gives the same pixels.
      kinds: of `KINDS`. Without any, the images are returned unchanged.

    Returns:
      float32 [T, H, W, 3], in [0, 255].
    """
    chosen, shape = draw_choices(seed), images.shape
    height, width = _size(images)
    transforms = []
    if 'flip' in kinds:
        transforms.append(_mirror(tf.cast(chosen.mirror >= 0.5, tf.float32), width))
    if 'rotate' in kinds:
        transforms.append(_rotation(chosen.angle, height, width))
    if 'shift' in kinds:
        transforms.append(_flat(1.0, 0.0, -chosen.right * width, 0.0, 1.0, -chosen.down * height))
    if 'crop' in kinds:
        transforms.append(_crop(chosen.scale, chosen.left, chosen.top, height, width))
    if transforms:
        images = _transform(images, transforms)
    if 'colour' in kinds:
        images = _colour(images, chosen)
    if kinds:  # an interpolation may be a rounding error above the brightest pixel
        images = tf.clip_by_value(images, 0.0, 255.0)
    if 'cutout' in kinds:
        images = _cutout(images, chosen)
    images.set_shape(shape)
    return images


def augment_view(images: tf.Tensor, view: int | tf.Tensor) -> tf.Tensor:
    """Returns one of `VIEWS` of images.

    View 0 is the images unchanged, 1 their mirror, and 2 to 9 are the corners at 0.9 and their mirrors.

    Args:
      images: float32 [T, H, W, 3], of any range, which the result keeps.
      view: int scalar, in [0, len(VIEWS)). It may be a placeholder, for one graph of all views.

    Returns:
      float32 [T, H, W, 3].
    """
    height, width = _size(images)
    chosen = TtaView(*tf.unstack(tf.gather(tf.constant(VIEWS), view)))
    crop = _crop(chosen.scale, chosen.left, chosen.top, height, width)
    viewed = _transform(images, [crop, _mirror(chosen.mirror, width)])
    viewed.set_shape(images.shape)
    return viewed


def augment_audio(features: tf.Tensor, seed: tf.Tensor, noise: float, time_mask: float) -> tf.Tensor:
    """Adds noise to standardised features and sets a span of frames to their mean (SpecAugment, Park et al. 2019, 2).

    Args:
      features: float32 [T, D], standardised on the training set, so that 0 is its mean and 1 its standard deviation.
      seed: int32 or int64 [2]. The same seed gives the same features.
      noise: standard deviation of the Gaussian noise, at least 0. 0 adds no noise.
      time_mask: in [0, 1), the longest span as a share of T. The span's length is random, from 0 to that. It never
        covers the whole window, so that a single frame is never masked.

    Returns:
      float32 [T, D].
    """
    fold_in, uniform = tf.random.experimental.stateless_fold_in, tf.random.stateless_uniform
    if noise:
        seed_of_noise = fold_in(seed, tf.cast(_NOISE, seed.dtype))
        features += noise * tf.random.stateless_normal(tf.shape(features), seed_of_noise, alg='philox')
    if time_mask:
        frames = tf.shape(features)[0]
        # In float32, a share just below 1 may be rounded to 1.
        longest = tf.minimum(tf.cast(time_mask * tf.cast(frames, tf.float32), tf.int32), frames - 1)
        length, start = tf.unstack(uniform([2], fold_in(seed, tf.cast(_TIME_MASK, seed.dtype)), alg='philox'))
        length = tf.cast(length * tf.cast(longest + 1, tf.float32), tf.int32)  # 0..longest
        start = tf.cast(start * tf.cast(frames - length + 1, tf.float32), tf.int32)  # 0..frames - length
        frame = tf.range(frames)
        masked = (frame >= start) & (frame < start + length)  # [T]
        features = tf.where_v2(masked[:, tf.newaxis], 0.0, features)
    return features


# A transform is float32 [8], as tf.raw_ops.ImageProjectiveTransformV3 takes it: the rows (a0, a1, a2) and (b0, b1, b2)
# of the affine map from a pixel of the result to one of the image, and two zeros (c0, c1). Pixel (x, y) is a square
# whose centre is at (x, y), so that an image reaches from -0.5 to width - 0.5.
def _flat(a0, a1, a2, b0, b1, b2) -> tf.Tensor:
    return tf.stack([tf.cast(value, tf.float32) for value in (a0, a1, a2, b0, b1, b2, 0.0, 0.0)])


def _mirror(mirror: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    return _flat(1.0 - 2.0 * mirror, 0.0, mirror * (width - 1.0), 0.0, 1.0, 0.0)


def _rotation(degrees: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    angle = degrees * (3.141592653589793 / 180.0)
    cos, sin = tf.cos(angle), tf.sin(angle)
    x, y = (width - 1.0) / 2.0, (height - 1.0) / 2.0
    return _flat(cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)


def _crop(scale: tf.Tensor, left: tf.Tensor, top: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    room = 1.0 - scale  # share of each side outside the crop
    x = (
        left * room * width + (scale - 1.0) / 2.0
    )  # the second term, because edges are half a pixel outside of the centres
    y = top * room * height + (scale - 1.0) / 2.0
    return _flat(scale, 0.0, x, 0.0, scale, y)


def _size(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    height, width = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32))
    return height, width


def _colour(images: tf.Tensor, chosen: RandomChoices) -> tf.Tensor:
    """Changes saturation around each pixel's grey, contrast around the window's mean grey, then brightness."""
    grey = tf.tensordot(images, tf.constant(LUMA), 1)[..., tf.newaxis]  # [T, H, W, 1]
    images = grey + chosen.saturation * (images - grey)
    mean = tf.reduce_mean(grey)  # of all frames, because a mean per frame would flicker
    return chosen.brightness * (mean + chosen.contrast * (images - mean))


def _cutout(images: tf.Tensor, chosen: RandomChoices) -> tf.Tensor:
    """Fills the pixels whose centre is within the square.

    The cut-out of tensorflow-addons raises in graph mode: its check that a side is even compares a tensor with `!=`,
    which is always true without eager execution.
    """
    height, width = _size(images)
    half = chosen.side * tf.minimum(height, width) / 2.0
    rows = tf.abs(tf.range(height) + 0.5 - chosen.centre_y * height) < half
    columns = tf.abs(tf.range(width) + 0.5 - chosen.centre_x * width) < half
    inside = rows[:, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis]  # [H, W, 1]
    return tf.where_v2(inside, GREY, images)


def _transform(images: tf.Tensor, transforms: list[tf.Tensor]) -> tf.Tensor:
    """Applies transforms in their order with one interpolation.

    Uses tensorflow-addons on the stack that has them (`fer/stack.py`), and TensorFlow's own op on the other. Pixels are
    the same.
    """
    addons = import_addons()
    if addons is None:
        return _project(images, transforms)
    return addons.transform(
        images, addons.compose_transforms(transforms), interpolation='bilinear', fill_mode='nearest'
    )


def _project(images: tf.Tensor, transforms: list[tf.Tensor]) -> tf.Tensor:
    product = tf.eye(3)
    for transform in transforms:
        product = product @ tf.reshape(tf.concat([transform, [1.0]], 0), [3, 3])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.reshape(product, [1, 9])[:, :8],
        output_shape=tf.shape(images)[1:3],
        interpolation='BILINEAR',
        fill_mode='NEAREST',
        fill_value=0.0,
    )
