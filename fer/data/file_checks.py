# SPDX-License-Identifier: Apache-2.0
"""Finds the images and audio CSVs of a manifest that cannot be read, before training starts.

An image is unreadable if it is missing, truncated or of another format (fer/image_files.py), or if TensorFlow cannot
decode it. An image that libjpeg decodes to grey blocks with a warning counts as readable, because the decoder hides the
warning. An audio CSV is unreadable if its features differ from those of the other files. A NaN does not make it
unreadable, because --nonfinite_audio handles NaN.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from fer.data.audio import audio_problem, reference_names
from fer.data.images import decode_readable, find_undecodable
from fer.errors import InputError
from fer.image_files import display_note, image_problem
from fer.manifest import Manifest, Video
from fer.progress import progress

_DAMAGED = 'damaged inside, cannot be decoded'
_THREADS = 16  # the files are small, so that reading waits for the file system (NFS above all)


class BadFrame(NamedTuple):
    """A line of a manifest whose image or audio CSV cannot be read."""

    manifest: str
    line: int
    video_id: str
    path: str  # of the file
    reason: str
    part: int = 1  # the number of the manifest in its split, from 1. A resumed run may find manifests elsewhere

    def __str__(self) -> str:
        return f'{self.manifest}:{self.line}: {self.path}: {self.reason}'


def check_images(manifest: Manifest, *, decode: bool = False, note: str = '') -> None:
    """Checks the first and last bytes of every image of the manifest, and decodes it if `decode`.

    Raises:
      InputError: for the first unreadable image in the manifest's order. Names its line, and ends with `note`.
    """
    for frame in find_bad_images(manifest, decode=decode):
        raise InputError(f'{frame}{note}')


def find_bad_images(manifest: Manifest, *, decode: bool) -> Iterator[BadFrame]:
    """Yields the lines whose images are unreadable, in the manifest's order. Decodes every image if `decode`."""
    truncated = _find(manifest, lambda video: video.frames, image_problem, 'checking images')
    if not decode:
        yield from truncated
        return
    bad = list(truncated)
    others = other_images(manifest, bad)
    is_decoded = np.zeros(len(others), bool)
    for indices, _ in decode_readable([frame.path for frame in others], lambda content, image: ()):
        is_decoded[indices] = True
    bad += undecodable([frame for frame, done in zip(others, is_decoded, strict=True) if not done])
    yield from sorted(bad, key=lambda frame: frame.line)


def find_images_to_turn(manifest: Manifest) -> Iterator[BadFrame]:
    """Yields the lines whose images should not be shown as they are stored (`display_note`)."""
    yield from _find(manifest, lambda video: video.frames, display_note, 'checking orientation')


def other_images(manifest: Manifest, bad: Sequence[BadFrame]) -> list[BadFrame]:
    """Returns the manifest's images except the `bad` ones, with the reason that applies if they cannot be decoded."""
    lines = {frame.line for frame in bad}
    return [
        BadFrame(manifest.path, line, video.video_id, path, _DAMAGED)
        for video in manifest.videos
        for line, path in zip(video.lines, video.frames, strict=True)
        if line not in lines
    ]


def undecodable(frames: Sequence[BadFrame]) -> list[BadFrame]:
    """Returns the frames that TensorFlow cannot decode, tested one by one.

    Raises:
      InputError: a file cannot be read for another reason.
    """
    return [frames[index] for index in find_undecodable([frame.path for frame in frames])]


def find_bad_audio(manifest: Manifest, size: int) -> Iterator[BadFrame]:
    """Yields the lines whose audio CSVs are unreadable, in the manifest's order.

    Args:
      manifest: with an audio CSV in each line.
      size: values of each CSV. The first readable file sets the features that the others should have.
    """
    names = reference_names(manifest, size)
    yield from _find(
        manifest, lambda video: video.audio, lambda path: audio_problem(path, size, names), 'checking audio'
    )


def _find(
    manifest: Manifest, paths: Callable[[Video], list[str]], problem: Callable[[str], str], label: str
) -> Iterator[BadFrame]:
    """Yields the lines for which `problem` returns a reason, in the manifest's order. Reads files in parallel."""
    with ThreadPoolExecutor(_THREADS) as pool, progress(total=len(manifest.videos), label=label, unit='item') as bar:
        try:
            answers = pool.map(lambda video: [problem(path) for path in paths(video)], manifest.videos)
            for video, reasons in zip(manifest.videos, answers, strict=True):
                bar.update()
                for line, path, reason in zip(video.lines, paths(video), reasons, strict=True):
                    if reason:
                        yield BadFrame(manifest.path, line, video.video_id, path, reason)
        finally:
            pool.shutdown(cancel_futures=True)
