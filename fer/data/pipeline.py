# SPDX-License-Identifier: Apache-2.0
"""The input pipeline: windows of a split, decoded in parallel, as packed batches."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fer.cpus import count_cpus
from fer.data.augmentation import augment_audio, augment_view, augment_window
from fer.data.images import read_frames, read_images, scale_pixels
from fer.data.parallel import map_in_parallel, read_ahead
from fer.data.sampling import Draws, Sampler, make_sampler
from fer.data.split import Split
from fer.data.windows import Window, pad_index
from fer.tf1 import tf

_PARALLEL_BATCHES = 8  # read at a time, at most. Each may have hundreds of megabytes


class Batch(NamedTuple):
    """B windows as tensors. Only their N = sum(lengths) real frames exist, because padding is an index."""

    images: tf.Tensor | None  # float32 [N, H, W, 3], RGB in [-1, 1]. None if no images are read
    audio: tf.Tensor | None  # float32 [N, D], scaled openSMILE features. None if no audio is read
    lengths: tf.Tensor  # int32 [B], real frames of each window
    pad_index: tf.Tensor  # int32 [B, T], frame of each padded position
    labels: tf.Tensor  # int32 [B], class index, UNLABELLED without labels
    windows: tf.Tensor  # int32 [B], index of each window in `Split.windows`
    features: Mapping[str, tf.Tensor] | None = None  # float32 [N, D] each, of the split's `FrameFeatures`


class Reading(NamedTuple):
    """Settings for reading a window."""

    image_size: int  # height and width that images are resized to. 0 reads no images
    audio_size: int  # D, audio features of a frame. 0 reads no audio
    augment: tuple[str, ...] = ()  # of fer.data.augmentation.KINDS
    audio_noise: float = 0.0  # standard deviation of the noise added to scaled features
    audio_time_mask: float = 0.0  # largest share of a window whose audio is masked
    bucket: bool = False  # shuffled batches get about the same number of frames, see `even_order`
    sampling: str = 'all'  # which windows an epoch has, of fer.data.sampling.SAMPLINGS
    augmented: str = 'all'  # which of them are augmented, of fer.data.sampling.AUGMENTED


class Pipeline(NamedTuple):
    """A split's batches in a graph."""

    batch: Batch
    num_batches: int  # in one epoch, the last one possibly smaller
    initializer: tf.Operation  # starts an epoch: session.run(initializer, {epoch: 3, skip: 0, view: 0})
    epoch: tf.Tensor  # int64 [], placeholder: which epoch's order
    skip: tf.Tensor  # int64 [], placeholder: batches of the epoch to skip, for a run that resumes inside it
    view: tf.Tensor  # int64 [], placeholder, 0 if not fed: which of fer.data.augmentation.VIEWS to read images in


def build_pipeline(
    split: Split, batch_size: int, reading: Reading, shuffle_seed: int | None, *, views: bool = False
) -> Pipeline:
    """Adds the reading of a split to the default graph. Each window is visited exactly once an epoch.

    With `reading.sampling`, windows of some classes are visited more than once.

    The random numbers of a window (augmentation, noise) follow from (shuffle_seed, epoch, window) alone, and from how
    often the epoch had the window before. Neither the number of threads nor the step at which a run resumes changes
    them.

    Args:
      split: with images and scaled audio, if `reading` asks for them. Its features are read instead of images.
      batch_size: windows a batch.
      reading: how to read a window. Nothing is augmented without a shuffle_seed.
      shuffle_seed: None keeps the windows' order. Otherwise epoch e's order follows from (shuffle_seed, e) alone.
      views: True if `view` is used.
    """
    if shuffle_seed is None:
        reading = Reading(reading.image_size, reading.audio_size)
    if split.features:
        reading = reading._replace(image_size=0)
    sampler = make_sampler(split, reading.sampling, reading.augmented)
    reader = _SplitReader(split, batch_size, reading, shuffle_seed, views, sampler)
    epoch = tf.placeholder(tf.int64, [], 'epoch')
    skip = tf.placeholder(tf.int64, [], 'skip')
    view = tf.placeholder_with_default(tf.constant(0, tf.int64), [], 'view')
    dataset = tf.data.Dataset.from_generator(
        reader.load_epoch, _LOADED_TYPES, reader.loaded_shapes(), args=(epoch, skip, view)
    )
    dataset = read_ahead(map_in_parallel(dataset, reader.decode, min(_PARALLEL_BATCHES, count_cpus())))
    iterator = tf.data.make_initializable_iterator(dataset)
    batch = reader.to_batch(iterator.get_next())
    return Pipeline(batch, -(-sampler.size // batch_size), iterator.initializer, epoch, skip, view)


class _Loaded(NamedTuple):
    """A batch as Python loads it, with the frames of all windows in a row. Inside the dataset, arrays are tensors."""

    windows: tf.Tensor  # int32 [B]
    labels: tf.Tensor  # int32 [B]
    lengths: tf.Tensor  # int32 [B]
    seeds: tf.Tensor  # int32 [B, 2], of each window's random numbers
    augmented: tf.Tensor  # bool [B]
    view: tf.Tensor  # int64 []
    paths: tf.Tensor  # string [N], as `read_frames` takes it. Empty without images, like the next two
    pixels: tf.Tensor  # uint8 [bytes]
    shapes: tf.Tensor  # int32 [N, 2]
    audio: tf.Tensor  # float32 [N, D]. Empty without audio
    features: tf.Tensor  # float32 [N, sum of widths]. Empty without features


_LOADED_TYPES = _Loaded(
    *(tf.int32, tf.int32, tf.int32, tf.int32, tf.bool, tf.int64),
    *(tf.string, tf.uint8, tf.int32, tf.float32, tf.float32),
)
_EMPTY = np.zeros((0, 0), np.float32)
_NO_IMAGES = (np.zeros(0, np.bytes_), np.zeros(0, np.uint8), np.zeros((0, 2), np.int32))


@dataclass(frozen=True)
class _SplitReader:
    """The steps from a split to batches: Python loads, the dataset's threads decode, and the graph completes."""

    split: Split
    batch_size: int
    reading: Reading
    shuffle_seed: int | None
    views: bool
    sampler: Sampler

    def loaded_shapes(self) -> _Loaded:
        widths = self.split.features.widths if self.split.features else ()
        return _Loaded(
            *([None], [None], [None], [None, 2], [None], []),
            *([None], [None], [None, 2]),
            *([None, self.reading.audio_size], [None, sum(width for _, width in widths)]),
        )

    def load_epoch(self, epoch: int, skip: int, view: int) -> Iterator[_Loaded]:
        """Loads the batches of an epoch, without the first `skip`."""
        draws = self.sampler.draw(self.shuffle_seed, epoch, self.batch_size if self.reading.bucket else 0)
        for first in range(skip * self.batch_size, self.sampler.size, self.batch_size):
            batch = slice(first, first + self.batch_size)
            yield self.load_batch(Draws(*(part[batch] for part in draws)), epoch, view)

    def load_batch(self, draws: Draws, epoch: int, view: int) -> _Loaded:
        """Loads the windows of a batch."""
        split, windows = self.split, [self.split.windows[i] for i in draws.windows]
        seeds = [
            np.random.SeedSequence([self.shuffle_seed or 0, epoch, i, copy]).generate_state(2)
            for i, copy in zip(draws.windows, draws.copies, strict=True)
        ]
        spans = [(window.video, slice(window.start, window.start + window.length)) for window in windows]
        paths, pixels, shapes = load_images(split, windows) if self.reading.image_size else _NO_IMAGES
        return _Loaded(
            draws.windows,
            self.sampler.labels[draws.windows],
            [window.length for window in windows],
            np.array(seeds).astype(np.int32),
            draws.augmented,
            view,
            paths,
            pixels,
            shapes,
            np.concatenate([split.audio[video][frames] for video, frames in spans])
            if self.reading.audio_size
            else _EMPTY,
            np.concatenate([split.features.read(*span) for span in spans]) if split.features else _EMPTY,
        )

    def decode(self, loaded: _Loaded) -> dict[str, tf.Tensor]:
        """Decodes and augments a batch, in the dataset's threads. Returns only the parts that are read."""
        parts = {'windows': loaded.windows, 'labels': loaded.labels, 'lengths': loaded.lengths}
        if self.split.features:
            parts['features'] = loaded.features
        if self.reading.image_size:
            parts['images'] = self.decode_images(loaded)
        if self.reading.audio_size:
            parts['audio'] = self.augment_audio(loaded)
        return parts

    def decode_images(self, loaded: _Loaded) -> tf.Tensor:
        """Returns float32 [N, H, W, 3] in [-1, 1], or uint8 that `scale_pixels` completes in the graph."""
        size, augment = self.reading.image_size, self.reading.augment
        if self.passes_bytes():
            return tf.reshape(loaded.pixels, [-1, size, size, 3])
        # Without later steps, scaled frame by frame, because a frame fits a core's cache, and a batch does not.
        scale_first = not (augment or self.views)
        finish = scale_pixels if scale_first else tf.identity
        if self.split.decoded:
            images = read_frames(loaded.paths, loaded.pixels, loaded.shapes, size, finish)
        else:
            images = read_images(loaded.paths, size, finish)
        if augment:
            images = self.map_windows(lambda frames, seed: augment_window(frames, seed, augment), images, loaded)
        if self.views:
            images = augment_view(images, loaded.view)
        return images if scale_first else scale_pixels(images)

    def passes_bytes(self) -> bool:
        """Returns True if frames are decoded at their final size and stay as they are.

        They travel through the dataset as bytes then, a quarter of float32.
        """
        if self.reading.augment or self.views or not self.split.decoded:
            return False
        size = self.reading.image_size
        return all(video is not None and (video.sizes == size).all() for video in self.split.decoded)

    def augment_audio(self, loaded: _Loaded) -> tf.Tensor:
        """Returns float32 [N, D], with noise and masks if `reading` asks for them."""
        noise, mask = self.reading.audio_noise, self.reading.audio_time_mask
        if not (noise or mask):
            return loaded.audio
        return self.map_windows(lambda values, seed: augment_audio(values, seed, noise, mask), loaded.audio, loaded)

    def map_windows(self, function: Callable, frames: tf.Tensor, loaded: _Loaded) -> tf.Tensor:
        """Applies `function(frames [T, ...], seed [2])` to each augmented window of packed frames [N, ...].

        Returns:
          The frames of all windows, packed.
        """
        ends = tf.cumsum(loaded.lengths)

        def apply_to_window(arguments):
            end, length, seed, is_augmented = arguments
            window = frames[end - length : end]
            if self.reading.augmented == 'all':
                return function(window, seed)
            return tf.cond(is_augmented, lambda: function(window, seed), lambda: window)

        spec = tf.RaggedTensorSpec([None, *frames.shape[1:]], frames.dtype, ragged_rank=0)
        arguments = (ends, loaded.lengths, loaded.seeds, loaded.augmented)
        ragged = tf.map_fn(apply_to_window, arguments, fn_output_signature=spec)
        return tf.ensure_shape(ragged.values, frames.shape)

    def to_batch(self, parts: Mapping[str, tf.Tensor]) -> Batch:
        """Completes a decoded batch in the graph."""
        images, audio, features = parts.get('images'), parts.get('audio'), None
        if self.split.features:
            names, widths = zip(*self.split.features.widths, strict=True)
            features = dict(zip(names, tf.split(parts['features'], widths, axis=1), strict=True))
        if images is not None:
            images = scale_pixels(images) if images.dtype == tf.uint8 else images
            images.set_shape([None, self.reading.image_size, self.reading.image_size, 3])
        if audio is not None:
            audio.set_shape([None, self.reading.audio_size])
        padding = pad_index(parts['lengths'], self.split.seq_len)
        return Batch(images, audio, parts['lengths'], padding, parts['labels'], parts['windows'], features)


def load_images(split: Split, windows: list[Window]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns `paths`, `pixels` and `shapes` of the windows' frames, as `read_frames` takes them."""
    paths, pixels, shapes = [], [_NO_IMAGES[1]], []
    for video, start, length in windows:
        cached = split.decoded[video] if split.decoded else None
        if cached is None:
            paths += [name.encode() for name in split.videos[video].frames[start : start + length]]
            shapes.append(np.zeros((length, 2), np.int32))
        else:
            paths += [b''] * length
            pixels.append(cached.pixels[cached.offsets[start] : cached.offsets[start + length]])
            shapes.append(cached.sizes[start : start + length])
    return np.array(paths, dtype=object), np.concatenate(pixels), np.concatenate(shapes)
