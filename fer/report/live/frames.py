# SPDX-License-Identifier: Apache-2.0
"""Finds the pictures of a video, where the reader of the pages has allowed a folder of prepared data."""

import functools
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.manifest import IMAGE_SUFFIXES, existing_ledger, read_manifest
from fer.report.live.folders import MOST_BYTES, Root, Signature, sign

_PICTURES = 5  # of a video
CONTENT_TYPES = {'.jpg': 'image/jpeg', '.jpeg': 'image/jpeg', '.png': 'image/png'}  # of IMAGE_SUFFIXES


class Frames(NamedTuple):
    """The frames of a split's videos, or the reason why they cannot be shown."""

    of_video: dict[str, list[str]]  # paths on this machine, which may lie anywhere
    reason: str  # empty if they can be shown
    source: str = ''  # the manifest that was read


class Picture(NamedTuple):
    """A frame that may be shown."""

    name: str  # relative to the root of the data
    number: int  # of the frame in its video, from 1


def find_frames(data: Root | None, manifest: object, root: str, item: str) -> Frames:
    """Returns the frames that a manifest lists. Data may have moved: the root of the data may hold a file of its name.

    Args:
      data: the folder whose pictures may be shown, None for none.
      manifest: the manifest of the results, as their metrics name it.
      root: the run's --data_root, empty for the manifest's own folder.
      item: what a line of the manifest is, as `read_manifest` takes it.
    """
    if data is None:
        return Frames({}, 'start it with --data_root=FOLDER, a folder of prepared data whose pictures may be shown')
    if not isinstance(manifest, str) or not manifest:
        return Frames({}, 'the metrics file names no manifest')
    path = data.inside(manifest) or data.inside(data.path / Path(manifest).name)
    if path is None:
        return Frames({}, f'no manifest {manifest} below --data_root={data.path}')
    try:
        signature = sign(path)
        if signature[1] > MOST_BYTES or not path.is_file():
            return Frames({}, f'the manifest {manifest} is not a file, or larger than {MOST_BYTES // 2**20} MiB')
        ledger = existing_ledger(str(path))  # it is read if the manifest is empty
        if ledger is not None and data.inside(ledger) is None:
            return Frames({}, f'{ledger}: a link that leads out of {data.path}')
        return _read_frames(path, signature, root or str(path.parent), item)
    except OSError as error:
        return Frames({}, f'the manifest {manifest}: {error.strerror}')


@functools.lru_cache(maxsize=8)
def _read_frames(manifest: Path, signature: Signature, root: str, item: str) -> Frames:
    """Reads a manifest, once for the same signature."""
    try:
        videos = read_manifest(manifest, root, item, min_frames=1).videos
    except InputError as error:
        return Frames({}, str(error))
    if not any(video.frames for video in videos):
        return Frames({}, f'the manifest {manifest} lists no pictures')
    return Frames({video.video_id: video.frames for video in videos}, '', str(manifest))


def choose_pictures(data: Root, frames: list[str]) -> list[Picture]:
    """Returns up to five frames of a video, evenly spaced, of those that exist below the root of the data."""
    count = min(_PICTURES, len(frames))
    numbers = [round(index * (len(frames) - 1) / max(count - 1, 1)) for index in range(count)]
    found = []
    for number in numbers:
        path = find_picture(data, frames[number])
        if path is not None:
            found.append(Picture(path.relative_to(data.path).as_posix(), number + 1))
    return found


def find_picture(data: Root, path: str | Path) -> Path | None:
    """Returns a picture of this machine, absolute and without links. None if it is not a picture below the root."""
    real = data.inside(path)
    is_picture = real is not None and real.suffix.lower() in IMAGE_SUFFIXES and real.is_file()
    return real if is_picture else None
