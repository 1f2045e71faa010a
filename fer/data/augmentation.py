"""Augmentation: images in one way for a whole window, audio features, and the views of test-time augmentation.

Dissertation 2.2.3, 2.3 and chapter 10 name it as what the runs lacked; kinds and ranges are ours. What is drawn follows
from a seed alone, so neither threads nor the order of reading nor a resumed run changes it.
"""

from collections.abc import Collection
from typing import NamedTuple

from fer.tf1 import import_addons, tf

KINDS = ('flip', 'crop', 'rotate', 'shift', 'colour', 'cutout')

GREY = 127.5  # fills a cut-out: the middle of [0, 255], which is 0 in the network's input (dissertation 5.1.1)
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in a pixel's grey (ITU-R BT.601)


class Draw(NamedTuple):
    """What is drawn for a window, each a float32 scalar; as `RANGES`, each the interval it is drawn from, uniformly."""

    mirror: tf.Tensor  # the window is mirrored from 0.5 on
    scale: tf.Tensor  # share of height and width that a crop keeps
    left: tf.Tensor  # where the crop lies: 0 at the left edge, 1 at the right
    top: tf.Tensor
    angle: tf.Tensor  # degrees, anti-clockwise
    right: tf.Tensor  # share of the width that the content moves
    down: tf.Tensor  # share of the height
    brightness: tf.Tensor  # factors; 1 changes nothing
    contrast: tf.Tensor
    saturation: tf.Tensor
    side: tf.Tensor  # of the cut-out square, share of the shorter side
    centre_x: tf.Tensor  # of the cut-out square, share of the width
    centre_y: tf.Tensor


RANGES = Draw(
    mirror=(0.0, 1.0),  # faces are as good as symmetric, and so are the seven expressions
    # A face box has a margin of about a tenth; a tighter crop would cut the brows or the chin, which carry expression.
    scale=(0.9, 1.0),
    left=(0.0, 1.0),
    top=(0.0, 1.0),
    angle=(-10.0, 10.0),  # what alignment by the eyes leaves, and heads tilt, without filling much of the corners
    right=(-0.06, 0.06),  # 7 of 112 pixels, the jitter of a detector's box from one frame to another
    down=(-0.06, 0.06),
    # Films differ in exposure and grading; within a fifth, skin still looks like skin and little of it saturates.
    brightness=(0.8, 1.2),
    contrast=(0.8, 1.2),
    saturation=(0.7, 1.3),  # wider: expression is in shape, and a film may be all but grey
    # At most an eye or the mouth, never both; the centre may be at the edge, so that some faces lose next to nothing.
    side=(0.1, 0.3),
    centre_x=(0.0, 1.0),
    centre_y=(0.0, 1.0),
)


class View(NamedTuple):
    """A view of test-time augmentation: the crop at `scale` whose corner is at (left, top), mirrored or not."""

    mirror: float  # 0 or 1
    scale: float  # share of height and width
    left: float  # 0 at the left edge, 1 at the right
    top: float


# The plain image and the corners in place of the classical ten crops' centre and corners (Krizhevsky et al. 2012, 4.1):
# a run without test-time augmentation sees the plain image, which so stays one of the views. Odd ones are mirrors.
VIEWS = tuple(
    View(mirror, *crop)
    for crop in [(1.0, 0.0, 0.0), (0.9, 0.0, 0.0), (0.9, 1.0, 0.0), (0.9, 0.0, 1.0), (0.9, 1.0, 1.0)]
    for mirror in (0.0, 1.0)
)

# Folded into the seed, so that what is drawn for the audio has nothing to do with what is drawn for the images.
_NOISE, _TIME_MASK = 1, 2


def draw(seed: tf.Tensor) -> Draw:
    """Draws one value of everything; what one kind gets does not depend on which others are asked for.

    Args:
      seed: int32 or int64 [2].
    """
    low, high = zip(*RANGES, strict=True)
    # Named, because the default algorithm is another one on another device.
    uniform = tf.random.stateless_uniform([len(RANGES)], seed, alg='philox')
    return Draw(*tf.unstack(tf.constant(low) + (tf.constant(high) - tf.constant(low)) * uniform))


def augment_window(images: tf.Tensor, seed: tf.Tensor, kinds: Collection[str]) -> tf.Tensor:
    """Augments the frames of a window, all with one draw, so that a video moves and is lit as one; a still is T = 1.

    The geometry is one projective transform and one bilinear interpolation, in the order flip, rotation, shift, crop;
    the crop is last because it takes away some of the border that the others fill with the nearest edge pixel. Then
    come the colours and the cut-out.

    Args:
      images: float32 [T, H, W, 3], in [0, 255].
      seed: int32 or int64 [2]; the same seed gives the same pixels.
      kinds: of `KINDS`; none returns the images as they are.

    Returns:
      float32 [T, H, W, 3], in [0, 255].
    """
    drawn, shape = draw(seed), images.shape
    height, width = _size(images)
    transforms = []
    if 'flip' in kinds:
        transforms.append(_mirror(tf.cast(drawn.mirror >= 0.5, tf.float32), width))
    if 'rotate' in kinds:
        transforms.append(_rotation(drawn.angle, height, width))
    if 'shift' in kinds:
        transforms.append(_flat(1.0, 0.0, -drawn.right * width, 0.0, 1.0, -drawn.down * height))
    if 'crop' in kinds:
        transforms.append(_crop(drawn.scale, drawn.left, drawn.top, height, width))
    if transforms:
        images = _transform(images, transforms)
    if 'colour' in kinds:
        images = _colour(images, drawn)
    if kinds:  # an interpolation may be a rounding error above the brightest pixel
        images = tf.clip_by_value(images, 0.0, 255.0)
    if 'cutout' in kinds:
        images = _cutout(images, drawn)
    images.set_shape(shape)
    return images


def augment_view(images: tf.Tensor, view: int | tf.Tensor) -> tf.Tensor:
    """One of `VIEWS` of images: 0 is the images unchanged, 1 their mirror, 2 to 9 the corners at 0.9 and their mirrors.

    Args:
      images: float32 [T, H, W, 3], of any range, which the result keeps.
      view: int scalar, in [0, len(VIEWS)); a tensor may be a placeholder, for one graph of all views.

    Returns:
      float32 [T, H, W, 3].
    """
    height, width = _size(images)
    chosen = View(*tf.unstack(tf.gather(tf.constant(VIEWS), view)))
    crop = _crop(chosen.scale, chosen.left, chosen.top, height, width)
    viewed = _transform(images, [crop, _mirror(chosen.mirror, width)])
    viewed.set_shape(images.shape)
    return viewed


def augment_audio(features: tf.Tensor, seed: tf.Tensor, noise: float, time_mask: float) -> tf.Tensor:
    """Adds noise to standardised features and sets a span of frames to their mean (SpecAugment, Park et al. 2019, 2).

    Args:
      features: float32 [T, D], standardised on the training set, so that 0 is its mean and 1 its standard deviation.
      seed: int32 or int64 [2]; the same seed gives the same features.
      noise: standard deviation of the Gaussian noise, at least 0; 0 adds none.
      time_mask: in [0, 1): the longest span as a share of T. The span's length is drawn from 0 to that, and it never
        covers the whole window; a single frame is never masked.

    Returns:
      float32 [T, D].
    """
    fold_in, uniform = tf.random.experimental.stateless_fold_in, tf.random.stateless_uniform
    if noise:
        seed_of_noise = fold_in(seed, tf.cast(_NOISE, seed.dtype))
        features += noise * tf.random.stateless_normal(tf.shape(features), seed_of_noise, alg='philox')
    if time_mask:
        frames = tf.shape(features)[0]
        # In float32, a share just below 1 may be rounded to the whole window.
        longest = tf.minimum(tf.cast(time_mask * tf.cast(frames, tf.float32), tf.int32), frames - 1)
        length, start = tf.unstack(uniform([2], fold_in(seed, tf.cast(_TIME_MASK, seed.dtype)), alg='philox'))
        length = tf.cast(length * tf.cast(longest + 1, tf.float32), tf.int32)  # 0..longest
        start = tf.cast(start * tf.cast(frames - length + 1, tf.float32), tf.int32)  # 0..frames - length
        frame = tf.range(frames)
        masked = (frame >= start) & (frame < start + length)  # [T]
        features = tf.where_v2(masked[:, tf.newaxis], 0.0, features)
    return features


# A transform is the rows (a0, a1, a2), (b0, b1, b2) of the affine map from a pixel of the result to one of the image,
# and two zeros (c0, c1): float32 [8], as tf.raw_ops.ImageProjectiveTransformV3 takes it. Pixel (x, y) is a square whose
# centre is at (x, y), so that an image reaches from -0.5 to width - 0.5.
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
    room = 1.0 - scale  # share of each side that the crop leaves to lie in
    x = left * room * width + (scale - 1.0) / 2.0  # the second term: edges are half a pixel outside of the centres
    y = top * room * height + (scale - 1.0) / 2.0
    return _flat(scale, 0.0, x, 0.0, scale, y)


def _size(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    height, width = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32))
    return height, width


def _colour(images: tf.Tensor, drawn: Draw) -> tf.Tensor:
    """Saturation away from each pixel's grey, contrast away from the window's mean grey, then brightness."""
    grey = tf.tensordot(images, tf.constant(LUMA), 1)[..., tf.newaxis]  # [T, H, W, 1]
    images = grey + drawn.saturation * (images - grey)
    mean = tf.reduce_mean(grey)  # of all frames: one of its own for each would flicker
    return drawn.brightness * (mean + drawn.contrast * (images - mean))


def _cutout(images: tf.Tensor, drawn: Draw) -> tf.Tensor:
    """Fills the pixels whose centre is within the square. Ours, because the addons' raises in graph mode.

    (Their check that a side is even compares a tensor with `!=`, which without eager execution is always true.)
    """
    height, width = _size(images)
    half = drawn.side * tf.minimum(height, width) / 2.0
    rows = tf.abs(tf.range(height) + 0.5 - drawn.centre_y * height) < half
    columns = tf.abs(tf.range(width) + 0.5 - drawn.centre_x * width) < half
    inside = rows[:, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis]  # [H, W, 1]
    return tf.where_v2(inside, GREY, images)


def _transform(images: tf.Tensor, transforms: list[tf.Tensor]) -> tf.Tensor:
    """Applies transforms in their order with one interpolation, by tensorflow-addons or TensorFlow's own op.

    Both give the same pixels. The addons exist on one of the two stacks only (`fer/stack.py`).
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
