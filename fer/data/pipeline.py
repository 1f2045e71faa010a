"""The input pipeline: windows of a split, decoded in parallel, as packed batches."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fer.data.augmentation import augment_audio, augment_view, augment_window
from fer.data.split import Split
from fer.data.windows import pad_index
from fer.tf1 import tf

UNLABELLED = -1


class Batch(NamedTuple):
    """B windows as tensors. Only their N = sum(lengths) real frames exist; padding is an index."""

    images: tf.Tensor | None  # float32 [N, H, W, 3], RGB in [-1, 1]; None where no image is read
    audio: tf.Tensor | None  # float32 [N, D], scaled openSMILE features; None where no sound is used
    lengths: tf.Tensor  # int32 [B], real frames of each window
    pad_index: tf.Tensor  # int32 [B, T], frame of each padded position
    labels: tf.Tensor  # int32 [B], class index, UNLABELLED without labels
    windows: tf.Tensor  # int32 [B], index of each window in the list given


class Reading(NamedTuple):
    """What a pipeline makes of a window."""

    image_size: int  # height and width that images are resized to; 0 reads no image
    audio: int  # D, features of a frame's sound; 0 for none
    augment: tuple[str, ...] = ()  # of fer.data.augmentation.KINDS
    audio_noise: float = 0.0  # standard deviation of the noise added to scaled features
    audio_time_mask: float = 0.0  # largest share of a window whose sound is masked


class Pipeline(NamedTuple):
    batch: Batch
    num_batches: int  # in one epoch, the last one possibly smaller
    initializer: tf.Operation  # starts an epoch: session.run(initializer, {epoch: 3, skip: 0, view: 0})
    epoch: tf.Tensor  # int64 [], placeholder: which epoch's order
    skip: tf.Tensor  # int64 [], placeholder: batches of the epoch to leave out, for a run that resumes inside it
    view: tf.Tensor  # int64 [], placeholder, 0 if not fed: which of fer.data.augmentation.VIEWS images are seen in


def build_pipeline(
    split: Split, seq_len: int, batch_size: int, reading: Reading, shuffle_seed: int | None, views: bool = False
) -> Pipeline:
    """Adds the reading of a split to the default graph; each of its windows is visited exactly once an epoch.

    What is drawn for a window (augmentation, noise) follows from (shuffle_seed, epoch, window) alone, whatever the
    number of threads and wherever a run resumes.

    Args:
      split: with images, and its sound scaled, where `reading` wants them.
      seq_len: T, the length windows are padded to.
      batch_size: windows a batch.
      reading: what is made of a window; nothing is augmented without a shuffle_seed.
      shuffle_seed: None keeps the windows' order; else epoch e's order follows from (shuffle_seed, e) alone.
      views: whether `view` is used.
    """
    windows, videos = split.windows, split.videos
    epoch = tf.placeholder(tf.int64, [], 'epoch')
    skip = tf.placeholder(tf.int64, [], 'skip')
    view = tf.placeholder_with_default(tf.constant(0, tf.int64), [], 'view')

    def windows_of_epoch(epoch: int, skip: int, view: int) -> Iterator[tuple]:
        order = np.arange(len(windows))
        if shuffle_seed is not None:
            order = np.random.default_rng([shuffle_seed, epoch]).permutation(order)
        for index in order[skip * batch_size :]:
            window = windows[index]
            video = videos[window.video]
            label = UNLABELLED if video.label is None else video.label
            draw = np.random.SeedSequence([shuffle_seed or 0, epoch, index]).generate_state(2).astype(np.int32)
            frames = slice(window.start, window.start + window.length)
            paths = np.array([path.encode() for path in video.frames[frames]], dtype=object)
            audio = split.audio[window.video][frames] if reading.audio else np.zeros((0, 0), np.float32)
            yield index, label, draw, view, paths, audio

    def read(index, label, draw, view, paths, audio):
        parts = []
        if reading.image_size:
            images = read_images(paths, reading.image_size)
            if reading.augment and shuffle_seed is not None:
                images = augment_window(images, draw, reading.augment)
            if views:
                images = augment_view(images, view)
            parts.append(images)
        if reading.audio:
            if (reading.audio_noise or reading.audio_time_mask) and shuffle_seed is not None:
                audio = augment_audio(audio, draw, reading.audio_noise, reading.audio_time_mask)
            parts.append(audio)
        return index, label, *parts

    dataset = tf.data.Dataset.from_generator(
        windows_of_epoch,
        (tf.int32, tf.int32, tf.int32, tf.int64, tf.string, tf.float32),
        ([], [], [2], [], [None], [None, reading.audio]),
        args=(epoch, skip, view),
    )
    dataset = dataset.map(read, num_parallel_calls=tf.data.experimental.AUTOTUNE)
    # A ragged batch is the packed batch: its values are the frames of all windows, one after the other.
    dataset = dataset.apply(tf.data.experimental.dense_to_ragged_batch(batch_size)).prefetch(2)
    iterator = tf.data.make_initializable_iterator(dataset)
    index, labels, *parts = iterator.get_next()
    lengths = tf.cast(parts[0].row_lengths(), tf.int32)
    images = audio = None
    if reading.image_size:
        images = parts[0].values / 127.5 - 1.0  # dissertation 5.1.1: pixels in [-1, 1]
        images.set_shape([None, reading.image_size, reading.image_size, 3])
    if reading.audio:
        audio = parts[-1].values
        audio.set_shape([None, reading.audio])
    batch = Batch(images, audio, lengths, pad_index(lengths, seq_len), labels, index)
    return Pipeline(batch, -(-len(windows) // batch_size), iterator.initializer, epoch, skip, view)


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
