# SPDX-License-Identifier: Apache-2.0
"""A split, ready to run: its videos, their audio, its windows, and the videos it officially has.

It may be the union of several manifests: datasets of stills, or training and validation videos together.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from fer.data.audio import LLD, AudioFeatures, read_audio
from fer.data.bad_frames import Skip, leave_out_bad_frames
from fer.data.file_checks import BadFrame, check_images
from fer.data.frame_cache import CachedVideo
from fer.data.windows import Window, split_windows
from fer.errors import InputError
from fer.manifest import LedgerRow, Manifest, Video, describe_misplaced, read_ledger, read_manifest
from fer.prepare_flags import PrepareFlags, clip_contexts, read_prepare_flags
from fer.runs.names import BAD_FRAMES_FILE
from fer.sample_rates import Rates, rates_path, read_rates
from fer.wording import Words, words_for

UNLABELLED = -1  # the class of a video without a label


class Contents(NamedTuple):
    """The parts of a manifest that a stage of training reads."""

    item: str  # what a line is: frame, video or still (fer/manifest.py)
    images: bool  # True if its images are read
    audio_size: int  # values of its audio CSVs: LLD, FUNCTIONALS for any number, 0 if they are not read

    @property
    def words(self) -> Words:
        """Returns the words for the items on screens."""
        return words_for(self.item, images=self.images, audio=bool(self.audio_size))


class FrameFeatures(NamedTuple):
    """Outputs that a CNN computed before for every frame of a split, to read instead of the frames."""

    widths: tuple[tuple[str, int], ...]  # (output, values of a frame) of each of its outputs
    read: Callable[[int, slice], np.ndarray]  # of these frames of that video, float32 [n, sum of widths]


class Split(NamedTuple):
    """The contents of one or more manifests, cut into windows."""

    manifests: list[Manifest]
    ledgers: list[list[LedgerRow]]  # of each manifest
    videos: list[Video]  # of all manifests, one after the other
    seq_len: int  # T, most frames of a window, which is padded to so many
    windows: list[Window]  # of the videos
    audio: list[np.ndarray]  # of each video, float32 [frames, D]. Empty if audio is not read
    audio_names: list[str]  # of the D features
    replaced: int  # values of the audio that were NaN or infinite
    decoded: tuple[CachedVideo | None, ...] = ()  # of each video, its decoded frames. Empty without --frame_cache
    features: FrameFeatures | None = None  # if given, the pipeline reads these instead of images
    bad: tuple[BadFrame, ...] = ()  # lines that were left out (--on_bad_frame=skip)
    sample_rates: Rates = MappingProxyType({})  # videos by the sampling rate of their audio in Hz. Empty if unknown
    prepare_flags: PrepareFlags = MappingProxyType({})  # of each manifest
    contents: Contents = Contents('frame', True, 0)

    @property
    def ledger(self) -> list[LedgerRow]:
        return [row for ledger in self.ledgers for row in ledger]

    @property
    def clip_contexts(self) -> set[str]:
        """Returns the values of --clip_context that its clips were made with. Empty if unknown, or without clips."""
        return clip_contexts(self.prepare_flags) if len(self.audio_names) == LLD else set()


def dataset_names(paths: Sequence[str]) -> list[str]:
    """Returns names that tell manifests apart: those of their folders, or whole paths if two folders share a name."""
    names = [Path(path).resolve().parent.name for path in paths]
    return names if len(set(names)) == len(names) and all(names) else list(paths)


def load_split(
    paths: Sequence[str],
    data_root: str,
    seq_len: int,
    min_frames: int,
    *,
    labelled: bool,
    contents: Contents = Contents('frame', True, 0),  # noqa: B008 (immutable)
    nonfinite: str = 'error',
    skip: Skip | None = None,
) -> Split:
    """Reads manifests with their ledgers, checks their files and cuts their videos into windows.

    Args:
      paths: the manifests.
      data_root: folder that their relative paths start from. '' for each manifest's own folder.
      seq_len: T, most frames of a window.
      min_frames: the fewest frames a video may have.
      labelled: True if labels are required.
      contents: the parts of the manifests to read.
      nonfinite: treatment of NaN and infinite audio values, `error` or `mean` (see `read_audio`).
      skip: limits for leaving out unreadable frames. None makes an unreadable frame an error.

    Raises:
      InputError: manifests, ledgers, images or audio are wrong. Names the line.
    """
    if not paths:
        raise InputError('no manifest; expected the path of one')
    manifests, ledgers = [], []
    for path in paths:
        manifests.append(_read_manifest(path, data_root, min_frames, contents, labelled=labelled))
        ledgers.append(_read_ledger(manifests[-1], labelled=labelled))
    bad: list[BadFrame] = []
    if skip:
        manifests, ledgers, bad = leave_out_bad_frames(
            manifests, ledgers, images=contents.images, audio_size=contents.audio_size, skip=skip
        )
    if contents.images:
        _check_images(manifests, skip)
    audio = _read_audio(manifests, contents.audio_size, nonfinite) if contents.audio_size else AudioFeatures([], [], 0)
    rates: Rates = read_rates(rates_path(path) for path in paths) if contents.audio_size else {}
    videos = [video for manifest in manifests for video in manifest.videos]
    return Split(
        manifests=manifests,
        ledgers=ledgers,
        videos=videos,
        seq_len=seq_len,
        windows=split_windows(videos, seq_len),
        audio=audio.values,
        audio_names=audio.names,
        replaced=audio.replaced,
        bad=tuple(bad),
        sample_rates=rates,
        prepare_flags={path: read_prepare_flags(path) for path in paths},
        contents=contents,
    )


def _read_manifest(path: str, data_root: str, min_frames: int, contents: Contents, *, labelled: bool) -> Manifest:
    """Raises InputError unless the manifest has the columns that are needed."""
    manifest = read_manifest(path, data_root or None, contents.item, min_frames)
    for video in manifest.videos[:1]:  # all lines of a manifest have the same columns
        for is_missing, column in (
            (contents.images and not video.frames, 'image in the line; expected [audio.csv,]face.jpg[,label]'),
            (contents.audio_size and not video.audio, 'audio in the line; expected audio.csv[,face.jpg][,label]'),
            (labelled and video.label is None, 'label in the line; expected one to train and validate on'),
        ):
            if is_missing:
                raise InputError(f'{path}:{video.lines[0]}: no {column}')
    return manifest


def _read_ledger(manifest: Manifest, *, labelled: bool) -> list[LedgerRow]:
    """Raises InputError if a label is needed and missing."""
    ledger = read_ledger(manifest)
    for row in ledger:
        if labelled and row.label is None:
            raise InputError(
                f'{manifest.path}: its ledger has no label for video {row.video_id}; expected one for each'
            )
    return ledger


def _check_images(manifests: Sequence[Manifest], skip: Skip | None) -> None:
    """Raises InputError for the first unreadable image, unless unreadable ones have just been left out."""
    if skip and skip.known is None:
        return  # every image has just been decoded
    note = '; --on_bad_frame=skip leaves it out'
    if skip:
        note = f'; it was readable when the run began, so {BAD_FRAMES_FILE} does not list it'
    for manifest in manifests:
        check_images(manifest, note=note)


def _read_audio(manifests: Sequence[Manifest], size: int, nonfinite: str) -> AudioFeatures:
    """Reads the audio of all manifests. Raises InputError if their features differ."""
    names: list[str] = []
    values: list[np.ndarray] = []
    replaced = 0
    for manifest in manifests:
        audio = read_audio(manifest, size, nonfinite)
        if names and audio.names and audio.names != names:
            raise InputError(
                f'{manifest.path}: other audio features than {manifests[0].path}; prepare both with the same features'
            )
        names = names or audio.names
        values += audio.values
        replaced += audio.replaced
    return AudioFeatures(names, values, replaced)


def describe(split: Split) -> str:
    """Returns `383 videos (4 without frames), 21000 frames in 520 windows from DATA/val.txt`, or such a text."""
    words = split.contents.words
    frames = sum(window.length for window in split.windows)
    lines = f', {frames} {words.lines} in {len(split.windows)} windows' if words.lines else ''
    absent = len(split.ledger) - len(split.videos)
    bad = f', {len(split.bad)} bad frames left out' if split.bad else ''
    replaced = f', {split.replaced} NaN or infinite values of audio replaced by the mean' if split.replaced else ''
    return (
        f'{len(split.ledger)} {words.items} ({absent} {words.without}){lines} '
        f'from {", ".join(manifest.path for manifest in split.manifests)}{bad}{replaced}'
    )


def warnings_of(split: Split) -> list[str]:
    """Returns a line for each manifest whose folders name other emotions than its labels."""
    return [warning for manifest in split.manifests if (warning := describe_misplaced(manifest))]


def common_videos(first: Split, second: Split) -> list[str]:
    """Returns the ids of videos that are in both splits, compared by the files of their first frames."""
    known = {os.path.realpath((video.frames or video.audio)[0]) for video in first.videos}
    return [v.video_id for v in second.videos if os.path.realpath((v.frames or v.audio)[0]) in known]
