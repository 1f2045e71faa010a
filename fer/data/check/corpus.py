"""Checks of manifests and their files that list every problem, where training stops at the first."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.data.audio import FUNCTIONALS, LLD, read_audio
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


class Checked(NamedTuple):
    """The results of one manifest."""

    manifest: Manifest  # empty if it cannot be read
    ledger: list[LedgerRow]
    sizes: Counter[tuple[int, int]]  # how many images have a (width, height)
    fingerprints: ImageFingerprints  # of the readable images
    audio: list[np.ndarray]  # of each of `audio_videos`, float32 [frames, D]
    audio_videos: list[Video]  # those with readable audio CSVs
    audio_names: list[str]  # of the D features
    quantities: dict[str, np.ndarray]  # by name, float [V], a value for each video, to find drift
    sample_rates: Counter[int]  # videos by the sampling rate of their audio in Hz. Empty if unknown


class CorpusReport(NamedTuple):
    """The results of all manifests."""

    manifests: list[Checked]
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
    problems: list[Problem] = []
    manifests = [
        _check_manifest(path, data_root, item, min_frames, image_size, nonfinite, jobs, problems)
        for path in dict.fromkeys(paths)
    ]
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


def _check_manifest(
    path: str,
    data_root: str,
    item: str,
    min_frames: int,
    image_size: int,
    nonfinite: str,
    jobs: int,
    problems: list[Problem],
) -> Checked:
    """Checks one manifest, and adds what is wrong to `problems`."""
    try:
        manifest = read_manifest(path, data_root or None, item, min_frames=1)
    except InputError as error:
        problems.append(Problem('manifest', path, 0, '', '', str(error)))
        return Checked(Manifest(path, []), [], Counter(), ImageFingerprints.empty(), [], [], [], {}, Counter())
    try:
        ledger = read_ledger(manifest)
        problems += _compare_ledger(manifest, ledger, item)
    except InputError as error:
        problems.append(Problem('ledger', path, 0, '', '', str(error)))
        ledger = []
    if item == 'frame':
        problems += _check_order(manifest, min_frames)
    sizes: Counter[tuple[int, int]] = Counter()
    fingerprints, audio, audio_videos, names = ImageFingerprints.empty(), [], [], []
    quantities: dict[str, np.ndarray] = {}
    rates: Counter[int] = Counter()
    if manifest.videos and manifest.videos[0].frames:
        fingerprints, by_line, quantities = _check_images(manifest, jobs, problems)
        sizes.update(by_line.values())
        problems += _check_sizes(manifest, by_line, image_size)
    if manifest.videos and manifest.videos[0].audio:
        size = FUNCTIONALS if item == 'video' else LLD
        bad = list(find_bad_audio(manifest, size))
        problems += [Problem('sound', path, frame.line, frame.video_id, frame.path, frame.reason) for frame in bad]
        readable = leave_out_lines(manifest, {frame.line for frame in bad})
        features = read_audio(readable, size, 'mean')
        audio, audio_videos, names = features.values, readable.videos, features.names
        if nonfinite == 'error':
            problems += _check_finite(readable, audio, names)
        quantities['loudness'] = measure_loudness(audio, names)
        try:
            rates = read_rates([rates_path(path)])
        except InputError as error:
            problems.append(Problem('sound', path, 0, '', '', str(error)))
    return Checked(manifest, ledger, sizes, fingerprints, audio, audio_videos, names, quantities, rates)


def _compare_ledger(manifest: Manifest, ledger: Sequence[LedgerRow], item: str) -> Iterator[Problem]:
    videos = {video.video_id: video for video in manifest.videos}
    for row in ledger:
        video = videos.get(row.video_id)
        if video is None and not row.gap:
            what = 'no line in the manifest, and no gap in the ledger that explains it'
            yield Problem('ledger', manifest.path, 0, row.video_id, '', what)
        elif video and item == 'frame' and row.frames_kept != len(video.lines):
            what = f'{len(video.lines)} frames; its ledger counts {row.frames_kept}'
            yield Problem('ledger', manifest.path, video.lines[0], row.video_id, '', what)


def _check_order(manifest: Manifest, min_frames: int) -> Iterator[Problem]:
    """Yields videos with too few frames, and frames whose numbers do not ascend."""
    for video in manifest.videos:
        if len(video.lines) < min_frames:
            what = f'{len(video.lines)} frames; expected at least {min_frames} (--min_frames)'
            yield Problem('frames', manifest.path, video.lines[0], video.video_id, '', what)
        stems = [Path(path).stem for path in video.frames or video.audio]
        if not all(stem.isdecimal() for stem in stems):
            continue
        for before, stem, line in zip(stems, stems[1:], video.lines[1:], strict=False):
            if int(stem) <= int(before):
                what = f'frame {stem} after {before}; expected a later one'
                yield Problem('order', manifest.path, line, video.video_id, '', what)


def _check_images(
    manifest: Manifest, jobs: int, problems: list[Problem]
) -> tuple[ImageFingerprints, dict[int, tuple[int, int]], dict[str, np.ndarray]]:
    """Decodes every image, and adds unreadable ones to `problems`.

    Returns:
      Fingerprints, (width, height) by line, and quantities for `find_drift`.
    """
    bad = list(find_bad_images(manifest, decode=False))
    others = other_images(manifest, bad)
    problems += [
        Problem('display', manifest.path, f.line, f.video_id, f.path, f'{f.reason}; python -m fer.prepare applies it')
        for f in find_images_to_turn(manifest)
    ]
    video_of = {line: index for index, video in enumerate(manifest.videos) for line in video.lines}
    left, sizes, parts = dict(enumerate(others)), {}, [ImageFingerprints.empty()]
    measured = [np.zeros((0, 1 + len(IMAGE_QUANTITIES)), np.float32)]
    paths = [frame.path for frame in others]
    for indices, shapes, digests, thumbnails, values in decode_readable(paths, _fingerprint_and_measure, jobs):
        frames = [left.pop(int(index)) for index in indices]
        sizes.update({f.line: (int(width), int(height)) for f, (height, width) in zip(frames, shapes, strict=True)})
        parts.append(ImageFingerprints(np.array([video_of[frame.line] for frame in frames]), digests, thumbnails))
        measured.append(np.concatenate([shapes.min(axis=1, keepdims=True), values], axis=1))
    bad += undecodable(list(left.values()))
    problems += [Problem('image', manifest.path, f.line, f.video_id, f.path, f.reason) for f in bad]
    fingerprints = ImageFingerprints(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    means = mean_by_video(fingerprints.videos, np.concatenate(measured))
    return fingerprints, sizes, dict(zip(('size', *IMAGE_QUANTITIES), means.T, strict=True))


def _fingerprint_and_measure(content: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, ...]:
    return *fingerprint_image(content, image), measure_image(image)


def _check_sizes(manifest: Manifest, sizes: dict[int, tuple[int, int]], image_size: int) -> Iterator[Problem]:
    for video in manifest.videos:
        found = Counter(sizes[line] for line in video.lines if line in sizes)
        if not found:
            continue
        expected = (image_size, image_size) if image_size else found.most_common(1)[0][0]
        for line, path in zip(video.lines, video.frames, strict=True):
            if sizes.get(line, expected) != expected:
                what = '{}x{} pixels; expected {}x{}'.format(*sizes[line], *expected)
                yield Problem('size', manifest.path, line, video.video_id, path, what)


def _check_finite(manifest: Manifest, audio: Sequence[np.ndarray], names: Sequence[str]) -> Iterator[Problem]:
    for video, values in zip(manifest.videos, audio, strict=True):
        for row, line, path in zip(np.isnan(values), video.lines, video.audio, strict=True):
            if row.any():
                what = f'{row.sum()} values are NaN or infinite, the first {names[int(row.argmax())]}'
                yield Problem('nonfinite', manifest.path, line, video.video_id, path, what)


def _compare_features(first: Checked, second: Checked) -> Iterator[Problem]:
    if first.audio_names and second.audio_names and first.audio_names != second.audio_names:
        path = second.manifest.path
        yield Problem('sound', path, 0, '', '', f'{path}: other audio features than {first.manifest.path}')


def _duplicates(first: Checked, second: Checked) -> Iterator[Problem]:
    """Yields videos of the first manifest that share images or audio with one of the second."""
    there = second.manifest.path
    for pair in find_duplicates(first.fingerprints, second.fingerprints):
        ours, theirs = first.manifest.videos[pair.first], second.manifest.videos[pair.second]
        what = (
            f'{pair.frames} of its {len(ours.lines)} images are in {there} as well, {pair.copies} of them to the byte: '
            f'video {theirs.video_id} (line {theirs.lines[0]})'
        )
        yield Problem('duplicate', first.manifest.path, ours.lines[0], ours.video_id, '', what + _labels(ours, theirs))
    for one, other in find_equal_audio(first.audio, second.audio):
        ours, theirs = first.audio_videos[one], second.audio_videos[other]
        what = f'has the audio of video {theirs.video_id} of {there} (line {theirs.lines[0]}), to the last value'
        yield Problem('duplicate', first.manifest.path, ours.lines[0], ours.video_id, '', what + _labels(ours, theirs))


def _labels(ours: Video, theirs: Video) -> str:
    if ours.label == theirs.label:
        return ''
    here, there = (UNKNOWN if video.label is None else EMOTIONS[video.label] for video in (ours, theirs))
    return f'; {here} here, {there} there'
