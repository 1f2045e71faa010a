# SPDX-License-Identifier: Apache-2.0
"""Unreadable frames that are left out (--on_bad_frame=skip), and the file that lists them.

Every image is decoded once before a run begins, so that windows, steps and class weights are known before the first
step. A resumed run skips the frames listed in its bad_frames.csv, even if they were repaired since. A frame that has
become unreadable since is an error.
"""

import csv
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fer.data.file_checks import BadFrame, find_bad_audio, find_bad_images
from fer.errors import InputError
from fer.files import atomic_write
from fer.manifest import AUDIO_SUFFIX, LedgerRow, Manifest
from fer.runs.names import BAD_FRAMES_FILE

_COLUMNS = ('split', 'part', 'manifest', 'line', 'video_id', 'path', 'reason')


class Skip(NamedTuple):
    """Limits for leaving out unreadable frames."""

    max_fraction: float  # the largest share of a split's frames that may be unreadable
    known: Sequence[BadFrame] | None = None  # of a resumed run: exactly these are left out


def leave_out_bad_frames(
    manifests: Sequence[Manifest], ledgers: Sequence[list[LedgerRow]], *, images: bool, audio_size: int, skip: Skip
) -> tuple[list[Manifest], list[list[LedgerRow]], list[BadFrame]]:
    """Returns a split's manifests and ledgers without its unreadable frames, and these frames.

    A line goes as a whole, with its image and its audio. Windows are cut from the other lines, as if the line had never
    been there. A video without any readable frame leaves the manifest. Its row of the ledger stays, with gap
    `undecodable`.

    Args:
      manifests: of the split.
      ledgers: of each manifest.
      images: True if images are read.
      audio_size: values of the audio CSVs, 0 if they are not read.
      skip: limits.

    Raises:
      InputError: more frames are unreadable than `skip` allows, or a frame of `skip.known` is not in the manifests.
    """
    bad: list[BadFrame] = []
    left_manifests, left_ledgers = [], []
    for part, (manifest, ledger) in enumerate(zip(manifests, ledgers, strict=True), start=1):
        if skip.known is None:
            found = _find_bad(manifest, images=images, audio_size=audio_size)
        else:
            found = _recall(manifest, [frame for frame in skip.known if frame.part == part])
        left = leave_out_lines(manifest, {frame.line for frame in found})
        lost = {video.video_id for video in manifest.videos} - {video.video_id for video in left.videos}
        left_manifests.append(left)
        left_ledgers.append([row._replace(gap='undecodable') if row.video_id in lost else row for row in ledger])
        bad += [frame._replace(part=part) for frame in found]
    total = sum(len(video.lines) for manifest in manifests for video in manifest.videos)
    if skip.known is None and len(bad) > skip.max_fraction * total:
        paths = ', '.join(manifest.path for manifest in manifests)
        raise InputError(
            f'{paths}: {len(bad)} of {total} frames are bad ({len(bad) / total:.2%}), the first {bad[0]}; expected at '
            f'most --max_bad_fraction={skip.max_fraction:g} of them'
        )
    return left_manifests, left_ledgers, bad


def _find_bad(manifest: Manifest, *, images: bool, audio_size: int) -> list[BadFrame]:
    """Returns the unreadable frames in the manifest's order, each line once."""
    found = list(find_bad_images(manifest, decode=True)) if images else []
    if audio_size:
        lines = {frame.line for frame in found}
        found += [frame for frame in find_bad_audio(manifest, audio_size) if frame.line not in lines]
    return sorted(found, key=lambda frame: frame.line)


def _recall(manifest: Manifest, known: Sequence[BadFrame]) -> list[BadFrame]:
    """Returns the frames that a run left out before, with the paths that the manifest has now."""
    videos = {line: video for video in manifest.videos for line in video.lines}
    found = []
    for frame in known:
        video = videos.get(frame.line)
        if video is None or os.path.basename(video.video_id) != os.path.basename(frame.video_id):  # a still's is a path
            raise InputError(
                f'{manifest.path}:{frame.line}: no frame of video {frame.video_id}, which the run has left out '
                f'({BAD_FRAMES_FILE}); use the manifest that the run began with'
            )
        files = video.audio if frame.path.lower().endswith(AUDIO_SUFFIX) else video.frames
        path = files[video.lines.index(frame.line)] if files else frame.path
        found.append(frame._replace(manifest=manifest.path, path=path))
    return found


def leave_out_lines(manifest: Manifest, lines: Collection[int]) -> Manifest:
    """Returns the manifest without these lines, and without videos that have no others."""
    videos = []
    for video in manifest.videos:
        kept = [index for index, line in enumerate(video.lines) if line not in lines]
        if len(kept) < len(video.lines):
            video = video._replace(
                frames=[video.frames[index] for index in kept if video.frames],
                audio=[video.audio[index] for index in kept if video.audio],
                lines=[video.lines[index] for index in kept],
            )
        if kept:
            videos.append(video)
    return manifest._replace(videos=videos)


def write_bad_frames(path: str | Path, of_splits: Mapping[str, Sequence[BadFrame]]) -> None:
    """Writes a row per unreadable frame of each split. Without any, the file has just a header."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(_COLUMNS)
        for split, frames in of_splits.items():
            for frame in frames:
                row = {'split': split, **frame._asdict()}
                writer.writerow([row[name] for name in _COLUMNS])


def read_bad_frames(path: str | Path, split: str) -> list[BadFrame]:
    """Reads a split's rows of the file that `write_bad_frames` wrote. Raises InputError if it has another form."""
    try:
        with open(path, encoding='utf-8', newline='') as file:
            rows = list(csv.DictReader(file))
            file.seek(0)
            if next(csv.reader(file), None) != list(_COLUMNS):
                raise ValueError(f'its header is not {",".join(_COLUMNS)}')
        return [
            BadFrame(row['manifest'], int(row['line']), row['video_id'], row['path'], row['reason'], int(row['part']))
            for row in rows
            if row['split'] == split
        ]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f'{path}: {error}; expected the bad frames of the run') from None
