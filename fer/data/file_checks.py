"""Finds the images and audio CSVs of a manifest that cannot be read, before training starts.

An image is bad if it is missing, truncated or of another format (fer/image_files.py), or if TensorFlow cannot decode
it. An image that libjpeg decodes to grey blocks with a warning counts as good, because the decoder hides the warning.
An audio CSV is bad if its features differ from those of the other files. A NaN does not make it bad, because
--nonfinite_audio handles NaN.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from fer.data.audio import reference_names, sound_problem
from fer.data.frame_cache import decode, decode_content
from fer.data.parallel import map_in_parallel, read_ahead
from fer.errors import InputError
from fer.image_files import display_note, image_problem
from fer.manifest import Manifest, Video
from fer.progress import progress
from fer.tf1 import tf

_DAMAGED = 'damaged inside, cannot be decoded'
_THREADS = 16  # small files, so the wait is the file system's (NFS above all)
_BATCH = 64  # images that TensorFlow hands over at a time


class BadFrame(NamedTuple):
    """A line of a manifest whose image or sound cannot be read."""

    manifest: str
    line: int
    video_id: str
    path: str  # of the file
    reason: str
    part: int = 1  # which of a split's manifests it is, from 1: a resumed run may find them elsewhere

    def __str__(self) -> str:
        return f'{self.manifest}:{self.line}: {self.path}: {self.reason}'


def check_images(manifest: Manifest, decode: bool = False, note: str = '') -> None:
    """Looks at the first and last bytes of every image of the manifest, or decodes it as well.

    Raises:
      InputError: for the first bad image in the manifest's order, naming its line; `note` ends the message.
    """
    for frame in find_bad_images(manifest, decode):
        raise InputError(f'{frame}{note}')


def find_bad_images(manifest: Manifest, decode: bool) -> Iterator[BadFrame]:
    """Yields the lines whose images cannot be read, in the manifest's order; `decode`: or that TensorFlow refuses."""
    ends = _find(manifest, lambda video: video.frames, image_problem, 'checking images')
    if not decode:
        yield from ends
        return
    bad = list(ends)
    whole = whole_images(manifest, bad)
    decoded = np.zeros(len(whole), bool)
    for indices, _ in decode_each([frame.path for frame in whole], lambda content, image: ()):
        decoded[indices] = True
    yield from sorted(bad + refused([frame for frame, done in zip(whole, decoded, strict=True) if not done]), key=_line)


def find_images_to_turn(manifest: Manifest) -> Iterator[BadFrame]:
    """Yields the lines whose images are not to be shown as they are stored (`display_note`)."""
    yield from _find(manifest, lambda video: video.frames, display_note, 'checking orientation')


def whole_images(manifest: Manifest, bad: Sequence[BadFrame]) -> list[BadFrame]:
    """The manifest's images but those that are known to be bad; were they bad, it would be by damage inside."""
    lines = {frame.line for frame in bad}
    return [
        BadFrame(manifest.path, line, video.video_id, path, _DAMAGED)
        for video in manifest.videos
        for line, path in zip(video.lines, video.frames, strict=True)
        if line not in lines
    ]


def find_bad_sound(manifest: Manifest, size: int) -> Iterator[BadFrame]:
    """Yields the lines whose audio CSVs cannot be read, in the manifest's order.

    Args:
      manifest: with an audio CSV in each line.
      size: values that each has. The first whole file says which features the others have.
    """
    names = reference_names(manifest, size)
    yield from _find(
        manifest, lambda video: video.audio, lambda path: sound_problem(path, size, names), 'checking sound'
    )


def _find(
    manifest: Manifest, paths: Callable[[Video], list[str]], problem: Callable[[str], str], label: str
) -> Iterator[BadFrame]:
    """Yields the lines with a problem, '' being none, in the manifest's order; files are looked at in parallel."""
    with ThreadPoolExecutor(_THREADS) as pool, progress(total=len(manifest.videos), label=label, unit='video') as bar:
        try:
            answers = pool.map(lambda video: [problem(path) for path in paths(video)], manifest.videos)
            for video, reasons in zip(manifest.videos, answers, strict=True):
                bar.update()
                for line, path, reason in zip(video.lines, paths(video), reasons, strict=True):
                    if reason:
                        yield BadFrame(manifest.path, line, video.video_id, path, reason)
        finally:
            pool.shutdown(cancel_futures=True)


def _line(frame: BadFrame) -> int:
    return frame.line


def decode_each(
    paths: Sequence[str], look: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]], threads: int = 0
) -> Iterator[tuple[np.ndarray, ...]]:
    """Decodes image files in parallel, and passes over those that it cannot.

    Args:
      paths: of the files.
      look: (content string [], image uint8 [H, W, 3]) to tensors whose shapes are the same for all images.
      threads: that decode; as in `map_in_parallel`.

    Yields:
      Batches of (index of the image in `paths`, its height and width, what `look` gave of it), in order.
    """

    def read(index, path):
        content = tf.io.read_file(path)
        image = decode_content(content)
        return index, tf.shape(image)[:2], *look(content, image)  # what nothing is taken of is not decoded at all

    with tf.Graph().as_default(), tf.Session() as session:
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


def refused(frames: Sequence[BadFrame]) -> list[BadFrame]:
    """Those of the frames that TensorFlow refuses to decode, each by itself: only the decoder's no makes a bad frame.

    Raises:
      InputError: a file cannot be read for another reason.
    """
    found = []
    with tf.Graph().as_default(), tf.Session() as session:
        path = tf.placeholder(tf.string, [])
        image = decode(path)
        for frame in frames:
            try:
                session.run(image.op, {path: frame.path})
            except tf.errors.InvalidArgumentError:
                found.append(frame)
            except tf.errors.OpError as error:
                raise InputError(f'{frame.path}: {error.message.splitlines()[0]}; expected an image') from None
    return found
