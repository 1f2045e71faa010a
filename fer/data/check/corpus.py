# SPDX-License-Identifier: Apache-2.0
"""Checks of manifests and their files that list every problem, where training stops at the first."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.data.audio import FUNCTIONALS, LLD, AudioFeatures, read_audio
from fer.data.bad_frames import leave_out_lines
from fer.data.check.drift import (
    IMAGE_QUANTITIES,
    Drift,
    find_drift,
    mean_by_video,
    measure_image,
    measure_loudness,
)
from fer.data.check.duplicates import ImageFingerprints, find_duplicates, find_equal_audio, fingerprint_image
from fer.data.file_checks import (
    decode_readable,
    find_bad_audio,
    find_bad_images,
    find_images_to_turn,
    other_images,
    undecodable,
)
from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.manifest import UNKNOWN, LedgerRow, Manifest, Video, describe_misplaced, read_ledger, read_manifest
from fer.sample_rates import compare_rates, rates_path, read_rates
from fer.tf1 import tf

KINDS = {
    'manifest': 'the manifest cannot be read to its end',
    'ledger': 'the ledger cannot be read, or contradicts the manifest',
    'frames': 'a video has fewer frames than --min_frames',
    'order': "a video's frames are not in the order of their numbers",
    'image': 'an image is missing, truncated, damaged, or of another format',
    'display': 'an image should be shown turned or on a background, but training reads it as it is stored',
    'size': 'an image has another size than --image_size, or than most of its video',
    'sound': 'an audio CSV is missing, or differs from the others in form',
    'nonfinite': 'an audio CSV has a NaN or an infinity',
    'duplicate': 'a video is in another manifest as well, or frames of it are',
}


class Problem(NamedTuple):
    kind: str  # of KINDS
    manifest: str
    line: int  # 0 if the problem does not belong to one line
    video_id: str
    path: str  # of the file, '' if the problem does not belong to one file
    what: str

    def __str__(self) -> str:
        if not (self.line or self.video_id):  # of a whole manifest, which the text names
            return self.what
        where = f'{self.manifest}:{self.line}' if self.line else self.manifest
        return f'{where}: {self.path or self.video_id}: {self.what}'


@dataclass
class CheckedManifest:
    """The results of one manifest."""

    manifest: Manifest  # empty if it cannot be read
    item: str  # what a line is: frame, video or still
    problems: list[Problem] = field(default_factory=list)
    ledger: list[LedgerRow] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # how many images have a (width, height)
    fingerprints: ImageFingerprints = field(default_factory=ImageFingerprints.empty)  # of the readable images
    audio: AudioFeatures = field(default_factory=lambda: AudioFeatures([], [], 0))  # of `audio_videos`
    audio_videos: list[Video] = field(default_factory=list)  # those with readable audio CSVs
    quantities: dict[str, np.ndarray] = field(default_factory=dict)  # by name, float [V], per video, to find drift
    sample_rates: Counter[int] = field(default_factory=Counter)  # videos by the sampling rate in Hz. Empty if unknown

    def add(self, kind: str, what: str, line: int = 0, video_id: str = '', path: str = '') -> None:
        """Adds a problem."""
        self.problems.append(Problem(kind, self.manifest.path, line, video_id, path, what))


class CorpusReport(NamedTuple):
    """The results of all manifests."""

    manifests: list[CheckedManifest]
    problems: list[Problem]  # in the order of KINDS, then of manifests and lines
    drift: list[Drift]  # differences between the manifests, which are not problems by themselves
    warnings: list[str]  # possible mistakes, a line each


def check_corpus(
    paths: Sequence[str],
    data_root: str = '',
    item: str = 'frame',
    min_frames: int = 2,
    image_size: int = 0,
    nonfinite: str = 'error',
    jobs: int = 0,
) -> CorpusReport:
    """Checks each manifest by itself, and compares every two.

    Args:
      paths: of the manifests.
      data_root: folder that their relative paths start from. '' for each manifest's own folder.
      item: meaning of a line: `frame`, `video` or `still` (see `read_manifest`).
      min_frames: the fewest frames that a video should have.
      image_size: height and width that every image should have. 0: the frames of a video should have one size.
      nonfinite: `error` if a NaN in the audio is a problem, `mean` if not.
      jobs: images decoded at a time, 0 for as many as there are CPUs.

    Raises:
      InputError: a setting is out of its range, or there is no manifest.
    """
    if not paths:
        raise InputError('--manifest: expected the path of one')
    for name, value in (('min_frames', min_frames), ('image_size', image_size), ('jobs', jobs)):
        if value < 0:
            raise InputError(f'--{name}={value}: expected 0 or more')
    settings = _Settings(data_root, item, min_frames, image_size, nonfinite, jobs)
    manifests = [_check_manifest(path, settings) for path in dict.fromkeys(paths)]
    problems = [problem for checked in manifests for problem in checked.problems]
    drift = []
    for number, first in enumerate(manifests):
        for second in manifests[number + 1 :]:
            problems += [*_compare_features(first, second), *_duplicates(first, second)]
            drift += find_drift(first.manifest.path, first.quantities, second.manifest.path, second.quantities)
    warnings = [
        *(describe_misplaced(checked.manifest) for checked in manifests),
        compare_rates({checked.manifest.path: checked.sample_rates for checked in manifests}),
    ]
    rank = {kind: number for number, kind in enumerate(KINDS)}
    order = {path: number for number, path in enumerate(paths)}
    problems.sort(key=lambda problem: (rank[problem.kind], order[problem.manifest], problem.line))
    return CorpusReport(manifests, problems, drift, [warning for warning in warnings if warning])


class _Settings(NamedTuple):
    """Settings of `check_corpus`."""

    data_root: str
    item: str
    min_frames: int
    image_size: int
    nonfinite: str
    jobs: int


def _check_manifest(path: str, settings: _Settings) -> CheckedManifest:
    checked = CheckedManifest(Manifest(path, []), settings.item)
    try:
        checked.manifest = read_manifest(path, settings.data_root or None, settings.item, min_frames=1)
    except InputError as error:
        checked.add('manifest', str(error))
        return checked
    _check_ledger(checked, settings.item)
    if settings.item == 'frame':
        _check_order(checked, settings.min_frames)
    for video in checked.manifest.videos[:1]:  # all lines of a manifest have the same columns
        if video.frames:
            _check_images(checked, settings)
        if video.audio:
            _check_audio(checked, settings)
    return checked


def _check_ledger(checked: CheckedManifest, item: str) -> None:
    """Reads the ledger, and compares it with the manifest."""
    try:
        checked.ledger = read_ledger(checked.manifest)
    except InputError as error:
        checked.add('ledger', str(error))
        return
    videos = {video.video_id: video for video in checked.manifest.videos}
    for row in checked.ledger:
        video = videos.get(row.video_id)
        if video is None and not row.gap:
            what = 'no line in the manifest, and no gap in the ledger that explains it'
            checked.add('ledger', what, video_id=row.video_id)
        elif video and item == 'frame' and row.frames_kept != len(video.lines):
            what = f'{len(video.lines)} frames; its ledger counts {row.frames_kept}'
            checked.add('ledger', what, video.lines[0], video.video_id)


def _check_order(checked: CheckedManifest, min_frames: int) -> None:
    """Finds videos with too few frames, and frames whose numbers do not ascend."""
    for video in checked.manifest.videos:
        if len(video.lines) < min_frames:
            what = f'{len(video.lines)} frames; expected at least {min_frames} (--min_frames)'
            checked.add('frames', what, video.lines[0], video.video_id)
        stems = [Path(path).stem for path in video.frames or video.audio]
        if not all(stem.isdecimal() for stem in stems):
            continue
        for before, stem, line in zip(stems, stems[1:], video.lines[1:], strict=False):
            if int(stem) <= int(before):
                checked.add('order', f'frame {stem} after {before}; expected a later one', line, video.video_id)


def _check_images(checked: CheckedManifest, settings: _Settings) -> None:
    """Decodes every image, takes its fingerprint and measures it. Finds unreadable images and odd sizes."""
    manifest = checked.manifest
    bad = list(find_bad_images(manifest, decode=False))
    for frame in find_images_to_turn(manifest):
        what = f'{frame.reason}; python -m fer.prepare applies it'
        checked.add('display', what, frame.line, frame.video_id, frame.path)
    video_of = {line: index for index, video in enumerate(manifest.videos) for line in video.lines}
    others = other_images(manifest, bad)
    left, sizes, parts = dict(enumerate(others)), {}, [ImageFingerprints.empty()]
    measured = [np.zeros((0, 1 + len(IMAGE_QUANTITIES)), np.float32)]
    paths = [frame.path for frame in others]
    for indices, shapes, digests, thumbnails, values in decode_readable(paths, _fingerprint_and_measure, settings.jobs):
        frames = [left.pop(int(index)) for index in indices]
        sizes.update({f.line: (int(width), int(height)) for f, (height, width) in zip(frames, shapes, strict=True)})
        parts.append(ImageFingerprints(np.array([video_of[frame.line] for frame in frames]), digests, thumbnails))
        measured.append(np.concatenate([shapes.min(axis=1, keepdims=True), values], axis=1))
    for frame in bad + undecodable(list(left.values())):
        checked.add('image', frame.reason, frame.line, frame.video_id, frame.path)
    checked.fingerprints = ImageFingerprints(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    means = mean_by_video(checked.fingerprints.videos, np.concatenate(measured))
    checked.quantities |= zip(('size', *IMAGE_QUANTITIES), means.T, strict=True)
    checked.sizes.update(sizes.values())
    _check_sizes(checked, sizes, settings.image_size)


def _fingerprint_and_measure(content: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, ...]:
    return *fingerprint_image(content, image), measure_image(image)


def _check_sizes(checked: CheckedManifest, sizes: dict[int, tuple[int, int]], image_size: int) -> None:
    """Finds images of odd sizes. `sizes`: (width, height) by line."""
    for video in checked.manifest.videos:
        found = Counter(sizes[line] for line in video.lines if line in sizes)
        if not found:
            continue
        expected = (image_size, image_size) if image_size else found.most_common(1)[0][0]
        for line, path in zip(video.lines, video.frames, strict=True):
            if sizes.get(line, expected) != expected:
                what = '{}x{} pixels; expected {}x{}'.format(*sizes[line], *expected)
                checked.add('size', what, line, video.video_id, path)


def _check_audio(checked: CheckedManifest, settings: _Settings) -> None:
    """Reads every audio CSV and the sampling rates. Finds unreadable files and values that are not finite."""
    manifest = checked.manifest
    size = FUNCTIONALS if settings.item == 'video' else LLD
    bad = list(find_bad_audio(manifest, size))
    for frame in bad:
        checked.add('sound', frame.reason, frame.line, frame.video_id, frame.path)
    readable = leave_out_lines(manifest, {frame.line for frame in bad})
    checked.audio, checked.audio_videos = read_audio(readable, size, 'mean'), readable.videos
    if settings.nonfinite == 'error':
        _check_finite(checked)
    checked.quantities['loudness'] = measure_loudness(checked.audio.values, checked.audio.names)
    try:
        checked.sample_rates = read_rates([rates_path(manifest.path)])
    except InputError as error:
        checked.add('sound', str(error))


def _check_finite(checked: CheckedManifest) -> None:
    """Finds audio CSVs with NaN or infinite values."""
    for video, values in zip(checked.audio_videos, checked.audio.values, strict=True):
        for row, line, path in zip(np.isnan(values), video.lines, video.audio, strict=True):
            if row.any():
                first = checked.audio.names[int(row.argmax())]
                what = f'{row.sum()} values are NaN or infinite, the first {first}'
                checked.add('nonfinite', what, line, video.video_id, path)


def _compare_features(first: CheckedManifest, second: CheckedManifest) -> Iterator[Problem]:
    if first.audio.names and second.audio.names and first.audio.names != second.audio.names:
        path = second.manifest.path
        yield Problem('sound', path, 0, '', '', f'{path}: other audio features than {first.manifest.path}')


def _duplicates(first: CheckedManifest, second: CheckedManifest) -> Iterator[Problem]:
    """Yields videos of the first manifest that share images or audio with one of the second."""
    there = second.manifest.path
    for pair in find_duplicates(first.fingerprints, second.fingerprints):
        ours, theirs = first.manifest.videos[pair.first], second.manifest.videos[pair.second]
        what = (
            f'{pair.frames} of its {len(ours.lines)} images are in {there} as well, {pair.copies} of them to the byte: '
            f'video {theirs.video_id} (line {theirs.lines[0]})'
        )
        yield Problem('duplicate', first.manifest.path, ours.lines[0], ours.video_id, '', what + _labels(ours, theirs))
    for one, other in find_equal_audio(first.audio.values, second.audio.values):
        ours, theirs = first.audio_videos[one], second.audio_videos[other]
        what = f'has the audio of video {theirs.video_id} of {there} (line {theirs.lines[0]}), to the last value'
        yield Problem('duplicate', first.manifest.path, ours.lines[0], ours.video_id, '', what + _labels(ours, theirs))


def _labels(ours: Video, theirs: Video) -> str:
    if ours.label == theirs.label:
        return ''
    here, there = (UNKNOWN if video.label is None else EMOTIONS[video.label] for video in (ours, theirs))
    return f'; {here} here, {there} there'
