"""Frames that cannot be read and are left out (--on_bad_frame=skip), and the file that names them.

They are found before a run begins, every image being decoded once, so that windows, steps and class weights are settled
before the first step. A resumed run leaves out what its bad_frames.csv names, mended or not; what has become bad since
is an error, as everywhere with --on_bad_frame=error.
"""

import csv
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fer.data.file_checks import BadFrame, find_bad_images, find_bad_sound
from fer.errors import InputError
from fer.files import atomic_write
from fer.manifest import AUDIO_SUFFIX, LedgerRow, Manifest
from fer.runs.names import BAD_FRAMES_FILE

_COLUMNS = ('split', 'part', 'manifest', 'line', 'video_id', 'path', 'reason')


class Skip(NamedTuple):
    """How bad frames are left out."""

    max_fraction: float  # the largest share of a split's frames that may be bad
    known: Sequence[BadFrame] | None = None  # of a run that is resumed: these are left out, and no others


def leave_out_bad_frames(
    manifests: Sequence[Manifest], ledgers: Sequence[list[LedgerRow]], images: bool, audio: int, skip: Skip
) -> tuple[list[Manifest], list[list[LedgerRow]], list[BadFrame]]:
    """A split's manifests and ledgers without its bad frames, and these.

    A frame goes with its sound and its line, and windows are cut from what is left, as if the line had never been
    there. A video that loses all its frames leaves the manifest; its row of the ledger stays, with gap `undecodable`.

    Args:
      manifests: of the split.
      ledgers: of each manifest.
      images: whether images are used.
      audio: values of the audio CSVs, 0 where they are not used.
      skip: how they are left out.

    Raises:
      InputError: more frames are bad than `skip` allows, or it knows of frames that the manifests do not have.
    """
    bad: list[BadFrame] = []
    left_manifests, left_ledgers = [], []
    for part, (manifest, ledger) in enumerate(zip(manifests, ledgers, strict=True), start=1):
        if skip.known is None:
            found = _find_bad(manifest, images, audio)
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


def _find_bad(manifest: Manifest, images: bool, audio: int) -> list[BadFrame]:
    """In the manifest's order, each line once."""
    found = list(find_bad_images(manifest, decode=True)) if images else []
    if audio:
        lines = {frame.line for frame in found}
        found += [frame for frame in find_bad_sound(manifest, audio) if frame.line not in lines]
    return sorted(found, key=lambda frame: frame.line)


def _recall(manifest: Manifest, known: Sequence[BadFrame]) -> list[BadFrame]:
    """The frames that a run left out before, where the manifest now is."""
    videos = {line: video for video in manifest.videos for line in video.lines}
    found = []
    for frame in known:
        video = videos.get(frame.line)
        if video is None or os.path.basename(video.video_id) != os.path.basename(frame.video_id):  # a still's is a path
            raise InputError(
                f'{manifest.path}:{frame.line}: no frame of video {frame.video_id}, which the run has left out '
                f'({BAD_FRAMES_FILE}); expected the manifest that it began with'
            )
        files = video.audio if frame.path.lower().endswith(AUDIO_SUFFIX) else video.frames
        path = files[video.lines.index(frame.line)] if files else frame.path
        found.append(frame._replace(manifest=manifest.path, path=path))
    return found


def leave_out_lines(manifest: Manifest, lines: Collection[int]) -> Manifest:
    """The manifest as if it had no such lines; videos that have no others are not in it."""
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
    """Writes a row per bad frame of each split; with none, the header says that there are none."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(_COLUMNS)
        for split, frames in of_splits.items():
            for frame in frames:
                row = {'split': split, **frame._asdict()}
                writer.writerow([row[name] for name in _COLUMNS])


def read_bad_frames(path: str | Path, split: str) -> list[BadFrame]:
    """The bad frames of a split. Raises InputError unless `write_bad_frames` can have written the file."""
    try:
        with open(path, encoding='utf-8', newline='') as file:
            rows = list(csv.DictReader(file))
            file.seek(0)
            if next(csv.reader(file), None) != list(_COLUMNS):
                raise ValueError('another header')
        return [
            BadFrame(row['manifest'], int(row['line']), row['video_id'], row['path'], row['reason'], int(row['part']))
            for row in rows
            if row['split'] == split
        ]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f'{path}: {error}; expected the bad frames of the run') from None
