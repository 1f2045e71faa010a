"""The input pipeline: windows of a manifest, decoded in parallel, as packed batches."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fer.data.split import Split
from fer.data.windows import pad_index
from fer.tf1 import tf

UNLABELLED = -1


class Batch(NamedTuple):
    """B windows as tensors. Only their N = sum(lengths) real frames exist; padding is an index."""

    images: tf.Tensor  # float32 [N, H, W, 3], RGB in [-1, 1]
    lengths: tf.Tensor  # int32 [B], real frames of each window
    pad_index: tf.Tensor  # int32 [B, T], frame of each padded position
    labels: tf.Tensor  # int32 [B], class index, UNLABELLED without labels
    windows: tf.Tensor  # int32 [B], index of each window in the list given


class Pipeline(NamedTuple):
    batch: Batch
    num_batches: int  # in one epoch, the last one possibly smaller
    initializer: tf.Operation  # starts an epoch: session.run(initializer, {epoch: 3, skip: 0})
    epoch: tf.Tensor  # int64 [], placeholder: which epoch's order
    skip: tf.Tensor  # int64 [], placeholder: batches of the epoch to leave out, for a run that resumes inside it


def build_pipeline(split: Split, seq_len: int, batch_size: int, image_size: int, shuffle_seed: int | None) -> Pipeline:
    """Adds the reading of a split to the default graph; each of its windows is visited exactly once an epoch.

    Args:
      split: visual or audio-visual.
      seq_len: T, the length windows are padded to.
      batch_size: windows a batch.
      image_size: height and width that images are resized to.
      shuffle_seed: None keeps the windows' order; else epoch e's order follows from (shuffle_seed, e) alone.
    """
    manifest, windows, _ = split
    epoch = tf.placeholder(tf.int64, [], 'epoch')
    skip = tf.placeholder(tf.int64, [], 'skip')

    def windows_of_epoch(epoch: int, skip: int) -> Iterator[tuple[int, int, np.ndarray]]:
        order = np.arange(len(windows))
        if shuffle_seed is not None:
            order = np.random.default_rng([shuffle_seed, epoch]).permutation(order)
        for index in order[skip * batch_size :]:
            window = windows[index]
            video = manifest.videos[window.video]
            paths = video.frames[window.start : window.start + window.length]
            label = UNLABELLED if video.label is None else video.label
            yield index, label, np.array([path.encode() for path in paths], dtype=object)

    dataset = tf.data.Dataset.from_generator(
        windows_of_epoch, (tf.int32, tf.int32, tf.string), ([], [], [None]), args=(epoch, skip)
    )
    dataset = dataset.map(
        lambda index, label, paths: (index, label, read_images(paths, image_size)),
        num_parallel_calls=tf.data.experimental.AUTOTUNE,
    )
    # A ragged batch is the packed batch: its values are the frames of all windows, one after the other.
    dataset = dataset.apply(tf.data.experimental.dense_to_ragged_batch(batch_size)).prefetch(2)
    iterator = tf.data.make_initializable_iterator(dataset)
    index, labels, ragged = iterator.get_next()
    images = ragged.values / 127.5 - 1.0  # dissertation 5.1.1: pixels in [-1, 1]
    images.set_shape([None, image_size, image_size, 3])
    lengths = tf.cast(ragged.row_lengths(), tf.int32)
    batch = Batch(images, lengths, pad_index(lengths, seq_len), labels, index)
    return Pipeline(batch, -(-len(windows) // batch_size), iterator.initializer, epoch, skip)


def read_images(paths: tf.Tensor, image_size: int) -> tf.Tensor:
    """Decodes and resizes images: string [N] to float32 [N, image_size, image_size, 3], RGB in [0, 255].

    The resize is the dissertation's `image.resize_images` (5.1.1), TensorFlow 1's bilinear; it leaves images that
    already have this size as they are.
    """

    # TensorFlow's default transform, INTEGER_FAST, is 1.4 grey levels off on average on 112x112 faces and no faster
    # there; this one gives the same pixels as OpenCV and Pillow.
    def read(path):
        image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3, dct_method='INTEGER_ACCURATE')
        return tf.image.resize_images(tf.cast(image, tf.float32), [image_size, image_size])

    return tf.map_fn(read, paths, fn_output_signature=tf.TensorSpec([image_size, image_size, 3], tf.float32))
