"""The input pipeline: windows of a split, decoded in parallel, as packed batches."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from fer.cpus import count_cpus
from fer.data.augmentation import augment_audio, augment_view, augment_window
from fer.data.frame_cache import decode, decode_content
from fer.data.parallel import map_in_parallel, read_ahead
from fer.data.split import Split
from fer.data.windows import pad_index
from fer.tf1 import tf

UNLABELLED = -1
POOL = 64  # batches that windows are dealt among, about; what pools differ in is left, 1 / sqrt(64) of the spread
_PARALLEL_BATCHES = 8  # that are read at a time, at most: each may have hundreds of megabytes
_PARALLEL_FRAMES = 2  # of a batch at a time


class Batch(NamedTuple):
    """B windows as tensors. Only their N = sum(lengths) real frames exist; padding is an index."""

    images: tf.Tensor | None  # float32 [N, H, W, 3], RGB in [-1, 1]; None where no image is read
    audio: tf.Tensor | None  # float32 [N, D], scaled openSMILE features; None where no sound is used
    lengths: tf.Tensor  # int32 [B], real frames of each window
    pad_index: tf.Tensor  # int32 [B, T], frame of each padded position
    labels: tf.Tensor  # int32 [B], class index, UNLABELLED without labels
    windows: tf.Tensor  # int32 [B], index of each window in the list given
    features: Mapping[str, tf.Tensor] | None = None  # float32 [N, D] each, of the split's `FrameFeatures`


class Reading(NamedTuple):
    """What a pipeline makes of a window."""

    image_size: int  # height and width that images are resized to; 0 reads no image
    audio: int  # D, features of a frame's sound; 0 for none
    augment: tuple[str, ...] = ()  # of fer.data.augmentation.KINDS
    audio_noise: float = 0.0  # standard deviation of the noise added to scaled features
    audio_time_mask: float = 0.0  # largest share of a window whose sound is masked
    bucket: bool = False  # whether shuffled batches are evened out, see `balanced_order`


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
      split: with images, and its sound scaled, where `reading` wants them; features are read instead of images.
      seq_len: T, the length windows are padded to.
      batch_size: windows a batch.
      reading: what is made of a window; nothing is augmented without a shuffle_seed.
      shuffle_seed: None keeps the windows' order; else epoch e's order follows from (shuffle_seed, e) alone.
      views: whether `view` is used.
    """
    windows, videos = split.windows, split.videos
    sizes = np.array([window.length for window in windows])
    widths = split.features.widths if split.features else ()
    if widths:
        reading = reading._replace(image_size=0)
    epoch = tf.placeholder(tf.int64, [], 'epoch')
    skip = tf.placeholder(tf.int64, [], 'skip')
    view = tf.placeholder_with_default(tf.constant(0, tf.int64), [], 'view')
    augments = bool(reading.augment) and shuffle_seed is not None
    masks = bool(reading.audio_noise or reading.audio_time_mask) and shuffle_seed is not None
    # Bytes, where nothing is to be done to them: what travels through the dataset is then a quarter as much.
    as_bytes = not augments and not views and _is_cached_at(split, reading.image_size)

    def batches_of_epoch(epoch: int, skip: int, view: int) -> Iterator[tuple]:
        """What is read of each batch, frames of all its windows one after the other: Python's part is once a batch."""
        if shuffle_seed is None:
            order = np.arange(len(windows))
        elif reading.bucket:
            order = balanced_order(sizes, batch_size, shuffle_seed, epoch)
        else:
            order = np.random.default_rng([shuffle_seed, epoch]).permutation(len(windows))
        for first in range(skip * batch_size, len(order), batch_size):
            index = order[first : first + batch_size]
            chosen = [windows[i] for i in index]
            labels = [videos[window.video].label for window in chosen]
            seeds = [np.random.SeedSequence([shuffle_seed or 0, epoch, i]).generate_state(2) for i in index]
            spans = [(window.video, slice(window.start, window.start + window.length)) for window in chosen]
            yield (
                index,
                [UNLABELLED if label is None else label for label in labels],
                sizes[index],
                np.array(seeds).astype(np.int32),
                view,
                *(_sources(split, spans) if reading.image_size else _NO_SOURCES),
                np.concatenate([split.audio[v][frames] for v, frames in spans]) if reading.audio else _NOTHING,
                np.concatenate([split.features.read(*span) for span in spans]) if split.features else _NOTHING,
            )

    def read(index, labels, lengths, seeds, view, paths, pixels, shapes, audio, seen):
        parts = [seen] if widths else []
        if reading.image_size:
            size = reading.image_size
            # Frame by frame where they stay as they are: a frame fits a core's cache, and a batch's no longer does.
            finish = tf.identity if augments or views else scale_pixels
            if as_bytes:
                images = tf.reshape(pixels, [-1, size, size, 3])
            elif split.decoded:
                images = read_frames(paths, pixels, shapes, size, finish)
            else:
                images = read_images(paths, size, finish)
            if augments:
                images = _map_windows(lambda x, seed: augment_window(x, seed, reading.augment), images, lengths, seeds)
            if views:
                images = augment_view(images, view)
            parts.append(scale_pixels(images) if augments or views else images)
        if reading.audio:
            if masks:
                noise, mask = reading.audio_noise, reading.audio_time_mask
                audio = _map_windows(lambda x, seed: augment_audio(x, seed, noise, mask), audio, lengths, seeds)
            parts.append(audio)
        return index, labels, lengths, *parts

    dataset = tf.data.Dataset.from_generator(
        batches_of_epoch,
        (tf.int32, tf.int32, tf.int32, tf.int32, tf.int64, tf.string, tf.uint8, tf.int32, tf.float32, tf.float32),
        (
            *([None], [None], [None], [None, 2], []),
            *([None], [None], [None, 2]),
            *([None, reading.audio], [None, sum(width for _, width in widths)]),
        ),
        args=(epoch, skip, view),
    )
    iterator = tf.data.make_initializable_iterator(
        read_ahead(map_in_parallel(dataset, read, min(_PARALLEL_BATCHES, count_cpus())))
    )
    index, labels, lengths, *parts = iterator.get_next()
    images = audio = features = None
    if widths:
        names, depths = zip(*widths, strict=True)
        features = dict(zip(names, tf.split(parts[0], depths, axis=1), strict=True))
    if reading.image_size:
        images = scale_pixels(parts[0]) if as_bytes else parts[0]
        images.set_shape([None, reading.image_size, reading.image_size, 3])
    if reading.audio:
        audio = parts[-1]
        audio.set_shape([None, reading.audio])
    batch = Batch(images, audio, lengths, pad_index(lengths, seq_len), labels, index, features)
    return Pipeline(batch, -(-len(windows) // batch_size), iterator.initializer, epoch, skip, view)


def _is_cached_at(split: Split, image_size: int) -> bool:
    """Whether every frame is decoded already, at this very size."""
    videos = split.decoded or [None]
    return all(video is not None and (video.sizes == image_size).all() for video in videos)


_NOTHING = np.zeros((0, 0), np.float32)
_NO_SOURCES = (np.zeros(0, np.bytes_), np.zeros(0, np.uint8), np.zeros((0, 2), np.int32))


def _sources(split: Split, spans: list[tuple[int, slice]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the frames of (video, frames) come from: `paths`, `pixels` and `shapes` of `read_frames`."""
    paths, pixels, shapes = [], [], []
    for video, frames in spans:
        cached = split.decoded[video] if split.decoded else None
        if cached is None:
            names = split.videos[video].frames[frames]
            paths += [name.encode() for name in names]
            shapes.append(np.zeros((len(names), 2), np.int32))
        else:
            paths += [b''] * (frames.stop - frames.start)
            pixels.append(cached.pixels[cached.offsets[frames.start] : cached.offsets[frames.stop]])
            shapes.append(cached.sizes[frames])
    return (
        np.array(paths, dtype=object),
        np.concatenate(pixels) if pixels else _NO_SOURCES[1],
        np.concatenate(shapes),
    )


def _map_windows(function: Callable, frames: tf.Tensor, lengths: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """`function(frames [T, ...], seed [2])` of each window of packed frames [N, ...], packed again."""
    ends = tf.cumsum(lengths)

    def one(arguments):
        end, length, seed = arguments
        return function(frames[end - length : end], seed)

    spec = tf.RaggedTensorSpec([None, *frames.shape[1:]], frames.dtype, ragged_rank=0)
    ragged = tf.map_fn(one, (ends, lengths, seeds), fn_output_signature=spec)
    return tf.ensure_shape(ragged.values, frames.shape)


def balanced_order(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """A shuffled order of windows whose batches have about the same number of frames each.

    Windows are shuffled, cut into pools of about `POOL` batches, and dealt within a pool in rounds, longest first: each
    round gives every batch one window, the longest to the batch with the fewest frames so far. So long windows meet
    short ones; batches of equal lengths would differ in their sums as much as windows do. Then a pool's batches are
    shuffled. The windows that no whole batch is left for are the last batch, as without.

    Each window is in one batch an epoch, as ever, and which ones it meets is drawn anew, but not uniformly: two very
    long windows meet seldom. The sum of an epoch's gradients at given weights is the same for a loss averaged over
    windows; one averaged over a batch's frames (--classify=frame) weighs all frames of an epoch more evenly.

    Args:
      lengths: int [W], frames of each window.
      batch_size: B, windows a batch.
      seed: of the run.
      epoch: the order follows from (seed, epoch) alone.

    Returns:
      int [W], a permutation; batch b is `order[b * B : (b + 1) * B]`.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    whole = len(order) - len(order) % batch_size
    parts = []
    pools = max(1, round(whole / batch_size / POOL))
    for numbers in np.array_split(np.arange(whole // batch_size), pools):  # pools of equal size, but for one batch
        pool = order[:whole].reshape(-1, batch_size)[numbers].ravel()
        rounds = pool[np.argsort(-lengths[pool], kind='stable')].reshape(batch_size, -1)  # [B, batches]
        batches = np.zeros(rounds.shape[::-1], order.dtype)  # [batches, B]
        frames = np.zeros(len(batches), np.int64)
        for number, dealt in enumerate(rounds):
            takers = np.argsort(frames, kind='stable')
            batches[takers, number] = dealt
            frames[takers] += lengths[dealt]
        parts.append(rng.permutation(batches).ravel())
    return np.concatenate([*parts, order[whole:]])


def scale_pixels(images: tf.Tensor) -> tf.Tensor:
    """Levels in [0, 255] to float32 in [-1, 1], as networks take them (dissertation 5.1.1)."""
    # A product: what TensorFlow makes of a division in a graph, but not in a dataset, and its last bits differ.
    return tf.cast(images, tf.float32) * (1 / 127.5) - 1.0


def read_images(paths: tf.Tensor, image_size: int, finish: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Decodes and resizes images.

    The resize is the dissertation's `image.resize_images` (5.1.1), TensorFlow 1's bilinear; it leaves images that
    already have this size as they are.

    Args:
      paths: string [N].
      image_size: height and width to resize to.
      finish: what is done to each then: from float32, RGB in [0, 255], to float32 of the same shape.

    Returns:
      float32 [N, image_size, image_size, 3].
    """
    return tf.map_fn(
        lambda path: finish(_resize(decode(path), image_size)),
        paths,
        fn_output_signature=tf.TensorSpec([image_size, image_size, 3], tf.float32),
        parallel_iterations=_PARALLEL_FRAMES,
    )


def decode_image(content: tf.Tensor, image_size: int) -> tf.Tensor:
    """The content of one file, a string, to float32 [image_size, image_size, 3], scaled."""
    return scale_pixels(_resize(decode_content(content), image_size))


def read_frames(
    paths: tf.Tensor,
    pixels: tf.Tensor,
    shapes: tf.Tensor,
    image_size: int,
    finish: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """As `read_images`, of frames some of which are decoded already; what those become is the same to the bit.

    Args:
      paths: string [N], '' for a decoded frame.
      pixels: uint8 [bytes], of the decoded frames, one after the other.
      shapes: int32 [N, 2], height and width of a decoded frame, 0 for others.
      image_size: height and width to resize to.
      finish: as there.

    Returns:
      float32 [N, image_size, image_size, 3].
    """
    size = shapes[0]
    bytes_of = tf.reduce_prod(tf.cast(shapes, tf.int64), axis=1) * 3
    ends = tf.cumsum(bytes_of)

    def frame(arguments):
        path, shape, end, length = arguments
        image = tf.cond(
            length > 0,
            lambda: tf.reshape(pixels[end - length : end], [shape[0], shape[1], 3]),
            lambda: decode(path),
        )
        return finish(_resize(image, image_size))

    def each():
        spec = tf.TensorSpec([image_size, image_size, 3], tf.float32)
        every = (paths, shapes, ends, bytes_of)
        return tf.map_fn(frame, every, fn_output_signature=spec, parallel_iterations=_PARALLEL_FRAMES)

    def together():
        return finish(_resize(tf.reshape(pixels, [-1, size[0], size[1], 3]), image_size))

    alike = tf.reduce_all(tf.equal(shapes, size)) & tf.reduce_all(size > 0)  # all decoded, and of one size
    return tf.cond(alike, together, each)


def _resize(images: tf.Tensor, image_size: int) -> tf.Tensor:
    """uint8 [..., H, W, 3] to float32 [..., image_size, image_size, 3]."""
    # The op takes whole numbers as they are, which spares a copy of the large image; resizing to the size that an
    # image has leaves it uint8.
    resized = tf.cast(tf.image.resize_images(images, [image_size, image_size]), tf.float32)
    return tf.ensure_shape(resized, [*images.shape[:-3], image_size, image_size, 3])
