# SPDX-License-Identifier: Apache-2.0
"""Prepares one split: its videos, stills or folders of faces, then its manifests and the lines on screen."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fer.prepare.layout import SourceStill, SourceVideo
from fer.prepare.prepared import CLIPS, FUNCTIONALS, MANIFESTS, Prepared, write_split
from fer.prepare.settings import Settings
from fer.prepare.still_faces import detect_stills
from fer.prepare.stills import link_faces, prepare_stills
from fer.prepare.summary import report, report_share
from fer.prepare.videos import Shard, prepare_videos
from fer.prepare.workers import Workers

Items = Sequence[SourceVideo | SourceStill]


class Job(NamedTuple):
    """One call of `python -m fer.prepare`."""

    source: Path
    output: Path
    settings: Settings
    shard: Shard
    workers: Workers


def prepare_split(split: str, items: Items, job: Job) -> tuple[list[Prepared], bool]:
    """Prepares a job's share of a split. Writes the manifests if all shares are finished.

    Returns:
      The results of this share, or of all shares if they are finished, and True if they are finished.
    """
    results = _prepare_items(split, items, job)
    prepared = [result for result in results if result]
    if len(prepared) < len(items):
        own = [item for item, result in zip(items, results, strict=True) if result]
        report_share(split, own, prepared, f'{job.shard.number}/{job.shard.total}')
        return prepared, False
    audio = job.settings.audio_features if need_decoding(items) else ()
    write_split(split, prepared, job.output, audio, faces=not are_audio(items))
    report(split, items, prepared, job.output, _name_main_manifest(items, job.settings))
    return prepared, True


def _prepare_items(split: str, items: Items, job: Job) -> Sequence[Prepared | None]:
    """Returns the result of each item, None for items of other shards while any of them is not finished."""
    videos = [item for item in items if isinstance(item, SourceVideo)]
    stills = [item for item in items if isinstance(item, SourceStill)]
    if stills and job.settings.detector != 'none':
        return detect_stills(split, stills, job.output, job.workers)
    if need_decoding(items):
        return prepare_videos(split, videos, job.output, job.workers, job.shard)
    if videos:
        return link_faces(split, videos, job.output)
    return prepare_stills(split, stills, job.source, job.output)


def need_decoding(items: Items) -> bool:
    """Returns True for videos and audio. Images and folders of faces are used unchanged."""
    videos = [item for item in items if isinstance(item, SourceVideo)]
    return bool(videos) and not any(video.path.is_dir() for video in videos)


def are_audio(items: Items) -> bool:
    """Returns True for recordings without pictures."""
    return any(isinstance(item, SourceVideo) and item.audio_only for item in items)


def _name_main_manifest(items: Items, settings: Settings) -> str:
    """Returns the manifest that the summary names: of faces, or of audio if there are no pictures."""
    if not are_audio(items):
        return MANIFESTS[0]
    return next((FUNCTIONALS[name] for name in settings.audio_features if name in FUNCTIONALS), CLIPS)
