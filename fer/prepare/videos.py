# SPDX-License-Identifier: Apache-2.0
"""Prepares videos in parallel. A finished video is not prepared again.

Written for each video:
- faces/<folder>/00001.jpg and so on, numbered by time. Frame n is at (n - 1) x 0.04 s, so a gap in the numbers is a gap
  in time.
- faces/<folder>/frames.csv, with a row for every frame, kept or not
- wav/<folder>.wav
- clips/<folder>/00001.csv, the features of the 0.04 s of audio that begin with frame 1. Only kept frames have such a
  file, so a face and a clip of the same number are of the same instant.
- functionals/<folder>.csv, the features of all its audio, and functionals_<set>/<folder>.csv for other sets
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fer.manifest import LedgerRow
from fer.prepare.layout import SourceVideo
from fer.prepare.media import MediaError
from fer.prepare.prepared import Prepared, without_audio
from fer.prepare.processes import process_state
from fer.prepare.records import key_of, load_record, record_path, save_record
from fer.prepare.video_files import write_recording, write_video
from fer.prepare.workers import Workers
from fer.progress import progress


class Shard(NamedTuple):
    """The part of a split's videos that a job prepares: share `number`, from 1, of `total`."""

    number: int
    total: int


def prepare_videos(
    split: str, videos: Sequence[SourceVideo], output: Path, workers: Workers, shard: Shard
) -> list[Prepared | None]:
    """Prepares this shard's videos of one split.

    A video that cannot be decoded, or shows no face, has a row in the ledger and does not stop the rest.

    Returns:
      The result of each video of the split. Until all videos of the other shards are finished, their results are None.

    Raises:
      OSError: a file cannot be written, for example because the disk is full.
    """
    results: list[Prepared | None] = [None] * len(videos)
    mine = range(shard.number - 1, len(videos), shard.total)
    running = workers.map(_prepare_video, [videos[index] for index in mine], _report_crash)
    bar = progress(running, label=f'preparing {split}', unit='video', total=len(mine))
    for index, prepared in zip(mine, bar, strict=True):
        results[index] = prepared
    others = [index for index in range(len(videos)) if index not in mine]
    if all(_may_be_finished(videos[index], output) for index in others):
        finished = list(workers.map(_load_finished, [videos[index] for index in others], _report_crash))
        if None not in finished:
            for index, loaded in zip(others, finished, strict=True):
                results[index] = loaded
    return results


def _may_be_finished(video: SourceVideo, output: Path) -> bool:
    unreadable = bool(video.problem) or not os.access(video.path, os.R_OK)
    return unreadable or record_path(output, video.folder).exists()


def _report_crash(video: SourceVideo) -> Prepared:
    problem = 'the process that prepared it crashed, and crashed again with this video alone'
    return _make_unusable(video, 'undecodable', problem)


def _prepare_video(video: SourceVideo) -> Prepared:
    """Writes all files of one video, and its record last. Does nothing if the video is finished."""
    prepared = _load_finished(video)
    if prepared is None:
        state = process_state()
        key = key_of(video.path, state.settings)
        record_path(state.output, video.folder).unlink(missing_ok=True)
        try:
            write = write_recording if video.audio_only else write_video
            prepared, files = write(video, state)
        except MediaError as error:
            prepared, files = _make_unusable(video, 'undecodable', str(error)), []
        save_record(state.output, video.folder, key, files, prepared)
    return prepared


def _load_finished(video: SourceVideo) -> Prepared | None:
    """Returns the result of a finished or unreadable video, with its current label. None if it must be prepared."""
    if video.problem:
        return _make_unusable(video, 'missing', video.problem)
    state = process_state()
    try:
        prepared = load_record(state.output, video.folder, key_of(video.path, state.settings))
    except OSError as error:
        return _make_unusable(video, 'undecodable', error.strerror or str(error))
    return prepared and prepared._replace(row=prepared.row._replace(video_id=video.video_id, label=video.label))


def _make_unusable(video: SourceVideo, gap: str, problem: str) -> Prepared:
    return without_audio(LedgerRow(video.video_id, video.label, 0, 0, None, gap), [], problem)
