"""A split, ready to run: its videos, their sound, its windows, and the videos it officially has.

It may be the union of several manifests: datasets of stills, or training and validation videos together.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from fer.data.audio import read_sound
from fer.data.bad_frames import Skip, leave_out_bad_frames
from fer.data.file_checks import BadFrame, check_images
from fer.data.frame_cache import CachedVideo
from fer.data.windows import Window, split_windows
from fer.errors import InputError
from fer.manifest import LedgerRow, Manifest, Video, describe_misplaced, read_ledger, read_manifest
from fer.runs.names import BAD_FRAMES_FILE
from fer.sample_rates import Rates, rates_path, read_rates


class Contents(NamedTuple):
    """What is read of a manifest; a stage of training declares it."""

    item: str  # what a line is: frame, video or still (fer/manifest.py)
    images: bool  # whether its images are used
    audio_size: int  # values of its audio CSVs, 0 if they are not used


class FrameFeatures(NamedTuple):
    """What a CNN said of every frame of a split before, to be read instead of the frame."""

    widths: tuple[tuple[str, int], ...]  # (output, values of a frame) of each of its outputs
    read: Callable[[int, slice], np.ndarray]  # of these frames of that video, float32 [n, sum of widths]


class Split(NamedTuple):
    manifests: list[Manifest]
    ledgers: list[list[LedgerRow]]  # of each manifest
    videos: list[Video]  # of all manifests, one after the other
    windows: list[Window]  # of the videos
    audio: list[np.ndarray]  # for each video float32 [frames, D]; empty where the sound is not used
    audio_names: list[str]  # of the D features
    replaced: int  # values of the sound that were NaN or infinite
    decoded: tuple[CachedVideo | None, ...] = ()  # for each video its decoded frames; none without --frame_cache
    features: FrameFeatures | None = None  # where the pipeline reads these and no image
    bad: tuple[BadFrame, ...] = ()  # lines that were left out (--on_bad_frame=skip)
    sample_rates: Rates = MappingProxyType({})  # videos by the sampling rate of their audio in Hz; empty if unknown

    @property
    def ledger(self) -> list[LedgerRow]:
        return [row for ledger in self.ledgers for row in ledger]


def dataset_names(paths: Sequence[str]) -> list[str]:
    """How several manifests are told apart: by their folders' names, or whole paths where these are the same."""
    names = [Path(path).resolve().parent.name for path in paths]
    return names if len(set(names)) == len(names) and all(names) else list(paths)


def load_split(
    paths: Sequence[str],
    data_root: str,
    seq_len: int,
    min_frames: int,
    labelled: bool,
    contents: Contents = Contents('frame', True, 0),  # noqa: B008 (immutable)
    nonfinite: str = 'error',
    skip: Skip | None = None,
) -> Split:
    """Reads manifests with their ledgers, cuts their videos into windows and checks their files.

    Args:
      paths: the manifests.
      data_root: folder that their relative paths start from; '' is each manifest's own.
      seq_len: frames a window.
      min_frames: the fewest frames a video may have.
      labelled: whether labels are required.
      contents: what is used of them.
      nonfinite: as in `read_sound`.
      skip: how frames that cannot be read are left out; None makes them an error.

    Raises:
      InputError: whatever is wrong with manifests, ledgers, images or sound; names the line.
    """
    if not paths:
        raise InputError('no manifest; expected the path of one')
    manifests, ledgers = [], []
    for path in paths:
        manifest = read_manifest(path, data_root or None, contents.item, min_frames)
        for video in manifest.videos[:1]:  # the lines of a manifest are all of one form
            lacks = (
                (contents.images and not video.frames, 'image in the line; expected [audio.csv,]face.jpg[,label]'),
                (contents.audio_size and not video.audio, 'sound in the line; expected audio.csv[,face.jpg][,label]'),
                (labelled and video.label is None, 'label in the line; expected one to train and validate on'),
            )
            for lacking, what in lacks:
                if lacking:
                    raise InputError(f'{path}:{video.lines[0]}: no {what}')
        ledger = read_ledger(manifest)
        if labelled:
            for row in ledger:
                if row.label is None:
                    raise InputError(f'{path}: its ledger has no label for video {row.video_id}; expected one for each')
        manifests.append(manifest)
        ledgers.append(ledger)
    bad: list[BadFrame] = []
    if skip:
        manifests, ledgers, bad = leave_out_bad_frames(manifests, ledgers, contents.images, contents.audio_size, skip)
    audio: list[np.ndarray] = []
    names: list[str] = []
    replaced = 0
    for manifest in manifests:
        if contents.images and not skip:
            check_images(manifest, note='; --on_bad_frame=skip leaves it out')
        elif contents.images and skip and skip.known is not None:  # else they have just been decoded
            check_images(manifest, note=f'; it is not in {BAD_FRAMES_FILE} of the run, which began with it')
        if contents.audio_size:
            sound = read_sound(manifest, contents.audio_size, nonfinite)
            if names and sound.names and sound.names != names:
                raise InputError(f'{manifest.path}: other audio features than {manifests[0].path}')
            names = names or sound.names
            audio += sound.values
            replaced += sound.replaced
    videos = [video for manifest in manifests for video in manifest.videos]
    rates: Rates = read_rates(rates_path(path) for path in paths) if contents.audio_size else {}
    windows = split_windows(videos, seq_len)
    return Split(manifests, ledgers, videos, windows, audio, names, replaced, bad=tuple(bad), sample_rates=rates)


def describe(split: Split) -> str:
    """`383 videos (4 without frames), 21000 frames in 520 windows from DATA/val.txt`."""
    frames = sum(window.length for window in split.windows)
    absent = len(split.ledger) - len(split.videos)
    bad = f', {len(split.bad)} bad frames left out' if split.bad else ''
    replaced = f', {split.replaced} NaN or infinite values of sound replaced by the mean' if split.replaced else ''
    return (
        f'{len(split.ledger)} videos ({absent} without frames), {frames} frames in {len(split.windows)} windows '
        f'from {", ".join(manifest.path for manifest in split.manifests)}{bad}{replaced}'
    )


def warnings_of(split: Split) -> list[str]:
    """Returns a line for each manifest whose folders name other emotions than its labels."""
    return [warning for manifest in split.manifests if (warning := describe_misplaced(manifest))]


def common_videos(first: Split, second: Split) -> list[str]:
    """Ids of videos that are in both splits, by the files of their first frames."""
    known = {os.path.realpath((video.frames or video.audio)[0]) for video in first.videos}
    return [v.video_id for v in second.videos if os.path.realpath((v.frames or v.audio)[0]) in known]
