# SPDX-License-Identifier: Apache-2.0
"""Images as tensors: decoded, resized and scaled in one place, so that every reader gets the same pixels."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fer.data.parallel import map_in_parallel, read_ahead
from fer.errors import InputError
from fer.progress import progress
from fer.tf1 import tf

DECODER = f'tensorflow {tf.__version__} INTEGER_ACCURATE'  # part of cache keys: another decoder may give other pixels
_PARALLEL_FRAMES = 2  # frames of a batch that are decoded at a time
_BATCH = 64  # images that TensorFlow hands over at a time


def decode_file(path: tf.Tensor) -> tf.Tensor:
    """Decodes the image file at a path, string [], to uint8 [H, W, 3], RGB."""
    return decode_content(tf.io.read_file(path))


def decode_content(content: tf.Tensor) -> tf.Tensor:
    """Decodes the bytes of an image file, string [], to uint8 [H, W, 3], RGB.

    INTEGER_ACCURATE gives the same pixels as OpenCV and Pillow. TensorFlow's default, INTEGER_FAST, is 1.4 grey levels
    off on average on 112x112 faces, and no faster there.
    """
    return tf.image.decode_jpeg(content, channels=3, dct_method='INTEGER_ACCURATE')


def resize(images: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes uint8 [..., H, W, 3] to float32 [..., image_size, image_size, 3].

    This is the dissertation's `image.resize_images` (5.1.1), TensorFlow 1's bilinear. Images that already have this
    size keep their pixels.
    """
    # The op takes whole numbers, which saves a copy of the large image. It returns images of this size as uint8.
    resized = tf.cast(tf.image.resize_images(images, [image_size, image_size]), tf.float32)
    return tf.ensure_shape(resized, [*images.shape[:-3], image_size, image_size, 3])


def resize_exactly(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes the axes on which the result is whole numbers: uint8 [H, W, 3] to uint8 [H', W', 3].

    TensorFlow 1's bilinear takes its samples at multiples of H / image_size. Where that is a whole number, the samples
    lie on pixels and are not interpolated: a 224x224 image at 112x112 is every other pixel. The other axes keep their
    length, so that `resize` of the result equals `resize` of the image.
    """
    sides = tf.shape(image)[:2]
    exact = tf.equal(sides % image_size, 0)
    # The resize op itself, because a slice with steps takes 0.2 ms more of a 224x224 image.
    resized = tf.cond(
        tf.reduce_any(exact),
        lambda: tf.cast(tf.image.resize_images(image, tf.where_v2(exact, image_size, sides)), tf.uint8),
        lambda: image,
    )
    return tf.ensure_shape(resized, [None, None, 3])


def scale_pixels(images: tf.Tensor) -> tf.Tensor:
    """Scales levels in [0, 255] to float32 in [-1, 1], the range of a network's input (dissertation 5.1.1)."""
    # A product, because TensorFlow turns a division into one in a graph but not in a dataset. The last bits differ.
    return tf.cast(images, tf.float32) * (1 / 127.5) - 1.0


def content_to_input(content: tf.Tensor, image_size: int) -> tf.Tensor:
    """Turns the bytes of an image file, string [], into float32 [image_size, image_size, 3] in [-1, 1]."""
    return scale_pixels(resize(decode_content(content), image_size))


def read_images(paths: tf.Tensor, image_size: int, finish: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Decodes and resizes image files.

    Args:
      paths: string [N].
      image_size: height and width to resize to.
      finish: applied to each resized image, float32 [image_size, image_size, 3], RGB in [0, 255]. Keeps the shape.

    Returns:
      float32 [N, image_size, image_size, 3].
    """
    return tf.map_fn(
        lambda path: finish(resize(decode_file(path), image_size)),
        paths,
        fn_output_signature=tf.TensorSpec([image_size, image_size, 3], tf.float32),
        parallel_iterations=_PARALLEL_FRAMES,
    )


def read_frames(
    paths: tf.Tensor,
    pixels: tf.Tensor,
    shapes: tf.Tensor,
    image_size: int,
    finish: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Resizes frames, some of which are decoded already. The result equals that of `read_images` to the bit.

    Args:
      paths: string [N], '' for a decoded frame.
      pixels: uint8 [bytes], the decoded frames, one after the other.
      shapes: int32 [N, 2], height and width of a decoded frame, 0 for the others.
      image_size: height and width to resize to.
      finish: applied to resized images, float32 [..., image_size, image_size, 3], RGB in [0, 255]. Keeps the shape.

    Returns:
      float32 [N, image_size, image_size, 3].
    """
    first = shapes[0]
    sizes = tf.reduce_prod(tf.cast(shapes, tf.int64), axis=1) * 3  # [N], bytes
    ends = tf.cumsum(sizes)

    def read_frame(arguments):
        path, shape, end, size = arguments
        image = tf.cond(
            size > 0,
            lambda: tf.reshape(pixels[end - size : end], [shape[0], shape[1], 3]),
            lambda: decode_file(path),
        )
        return finish(resize(image, image_size))

    def read_one_by_one():
        spec = tf.TensorSpec([image_size, image_size, 3], tf.float32)
        frames = (paths, shapes, ends, sizes)
        return tf.map_fn(read_frame, frames, fn_output_signature=spec, parallel_iterations=_PARALLEL_FRAMES)

    def read_together():
        return finish(resize(tf.reshape(pixels, [-1, first[0], first[1], 3]), image_size))

    all_decoded_at_one_size = tf.reduce_all(tf.equal(shapes, first)) & tf.reduce_all(first > 0)
    return tf.cond(all_decoded_at_one_size, read_together, read_one_by_one)


def _open_session() -> tf.Session:
    """Opens a session of the default graph on the CPU.

    Images are decoded there, as in the pipeline. With other GPUs than the run's, TensorFlow would refuse the session.
    """
    return tf.Session(config=tf.ConfigProto(device_count={'GPU': 0}))


def decode_all(paths: Sequence[str], image_size: int) -> Iterator[np.ndarray]:
    """Decodes image files in parallel and yields them in order, resized by `resize_exactly`: uint8 [H, W, 3].

    Raises:
      tf.errors.OpError: a file cannot be read or decoded.
    """

    def decode_flat(path):
        image = resize_exactly(decode_file(path), image_size)
        return tf.reshape(image, [-1]), tf.shape(image)

    with tf.Graph().as_default(), _open_session() as session:
        names = tf.placeholder(tf.string, [None])
        dataset = map_in_parallel(tf.data.Dataset.from_tensor_slices(names), decode_flat)
        dataset = read_ahead(dataset.apply(tf.data.experimental.dense_to_ragged_batch(_BATCH)))
        iterator = tf.data.make_initializable_iterator(dataset)
        pixels, shapes = iterator.get_next()
        fetches = pixels.values, shapes
        session.run(iterator.initializer, {names: list(paths)})
        with contextlib.suppress(tf.errors.OutOfRangeError):
            while True:
                values, found = session.run(fetches)
                ends = np.cumsum(found.prod(axis=1))
                for image, shape in zip(np.split(values, ends[:-1]), found, strict=True):
                    yield image.reshape(shape)


def decode_readable(
    paths: Sequence[str], measure: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]], threads: int = 0
) -> Iterator[tuple[np.ndarray, ...]]:
    """Decodes image files in parallel and skips those that TensorFlow cannot decode.

    Args:
      paths: image files.
      measure: turns the content, string [], and the image, uint8 [H, W, 3], into tensors of one shape for all images.
      threads: images decoded at a time, 0 for as many as the process has CPUs.

    Yields:
      Batches, in order: the image's index in `paths`, its height and width, and the results of `measure`.
    """

    def read(index, path):
        content = tf.io.read_file(path)
        image = decode_content(content)
        return index, tf.shape(image)[:2], *measure(content, image)  # the shape makes TensorFlow decode every image

    with tf.Graph().as_default(), _open_session() as session:
        names = tf.placeholder(tf.string, [None])
        dataset = tf.data.Dataset.from_tensor_slices((tf.range(tf.size(names)), names))
        dataset = map_in_parallel(dataset, read, threads).apply(tf.data.experimental.ignore_errors())
        dataset = read_ahead(dataset.batch(_BATCH))
        iterator = tf.data.make_initializable_iterator(dataset)
        batch = iterator.get_next()
        session.run(iterator.initializer, {names: list(paths)})
        with (
            progress(total=len(paths), label='decoding images', unit='image') as bar,
            contextlib.suppress(tf.errors.OutOfRangeError),
        ):
            while True:
                values = session.run(batch)
                bar.update(len(values[0]))
                yield values


def find_undecodable(paths: Sequence[str]) -> list[int]:
    """Returns the indices of the files that TensorFlow cannot decode, tested one by one.

    Raises:
      InputError: a file cannot be read for another reason.
    """
    found = []
    with tf.Graph().as_default(), _open_session() as session:
        name = tf.placeholder(tf.string, [])
        image = decode_file(name)
        for index, path in enumerate(paths):
            try:
                session.run(image.op, {name: path})
            except tf.errors.InvalidArgumentError:
                found.append(index)
            except tf.errors.OpError as error:
                raise InputError(f'{path}: {error.message.splitlines()[0]}; expected an image') from None
    return found
