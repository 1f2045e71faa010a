# SPDX-License-Identifier: Apache-2.0
"""openSMILE features of a split, from its audio CSVs: read once, checked to the last value, and scaled.

A split's audio is kept in memory, because AFEW's clips are 20 MB in all, and its functionals as much. So every file is
checked before a run begins, and opened once.
"""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.errors import InputError
from fer.files import atomic_write
from fer.manifest import Manifest, Video
from fer.progress import progress

LLD = 112  # values of a clip: 56 low-level descriptors and their 56 first deltas
FUNCTIONALS = -1  # of a whole video: any number, because each of openSMILE's sets has its own
SCALINGS = ('zscore', 'log', 'minmax', 'none')
NONFINITE = ('error', 'mean')
LARGEST = 10.0  # limit of scaled values, so that one outlier in a new video does not decide alone

_THREADS = 16  # the files are small, so that reading waits for the file system
_SCALING_COLUMNS = 'feature\tmean\toffset\tscale'


class AudioFeatures(NamedTuple):
    """The audio of a manifest's videos."""

    names: list[str]  # of the D features, as in the files' header
    values: list[np.ndarray]  # of each video, float32 [frames, D], not scaled. NaN stands for the mean
    replaced: int  # values that were NaN or infinite and are NaN now


class Scaling(NamedTuple):
    """Numbers that turn features into a network's input: (value - offset) / scale, within +-LARGEST unless `none`.

    `log` is followed by the logarithm of `compress`.
    """

    kind: str  # one of SCALINGS
    names: list[str]
    mean: np.ndarray  # float64 [D], of the training split. Replaces values that are not finite
    offset: np.ndarray  # float64 [D]
    scale: np.ndarray  # float64 [D], above 0


def read_audio(manifest: Manifest, size: int, nonfinite: str = 'error') -> AudioFeatures:
    """Reads the audio CSVs of a manifest: a header of feature names and one line of values each.

    Args:
      manifest: with an audio CSV in each line.
      size: values of each CSV: LLD, or FUNCTIONALS for as many as the first file has.
      nonfinite: treatment of NaN and infinity, which openSMILE writes for a statistic without enough values. `error`,
        or `mean`: the training split's mean replaces them, and they are counted.

    Raises:
      InputError: for the first bad file in the manifest's order, naming its line.
    """
    if nonfinite not in NONFINITE:
        raise InputError(f'--nonfinite_audio={nonfinite}: expected one of {", ".join(NONFINITE)}')
    first = manifest.videos[:1]
    names: list[str] = []
    for video in first:
        with _located(manifest.path, video.lines[0], video.audio[0]):
            names = _read_names(video.audio[0], size)

    def read(video: Video) -> tuple[np.ndarray, int]:
        return _read_video(manifest.path, video, names, nonfinite)

    values, replaced = [], 0
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        progress(total=len(manifest.videos), label='reading audio', unit='item') as bar,
    ):
        try:
            for array, count in pool.map(read, manifest.videos):
                bar.update()
                values.append(array)
                replaced += count
        except InputError:
            pool.shutdown(cancel_futures=True)
            raise
    return AudioFeatures(names, values, replaced)


def reference_names(manifest: Manifest, size: int) -> list[str]:
    """Returns the features of the manifest's first readable audio CSV of this size, or an empty list."""
    for path in (path for video in manifest.videos for path in video.audio):
        with contextlib.suppress(ValueError):
            names = _read_names(path, size)
            _read_values(path, names)
            return names
    return []


def audio_problem(path: str, size: int, names: Sequence[str]) -> str:
    """Returns why an audio CSV does not hold features of this size and these names, or ''. NaN counts as a value."""
    try:
        _read_values(path, names or _read_names(path, size))
    except ValueError as error:
        return str(error)
    return ''


@contextlib.contextmanager
def _located(manifest_path: str, line: int, path: str) -> Iterator[None]:
    """Turns a ValueError about a file into an InputError that names the manifest's line."""
    try:
        yield
    except ValueError as error:
        raise InputError(f'{manifest_path}:{line}: {path}: {error}') from None


def _read_video(manifest_path: str, video: Video, names: list[str], nonfinite: str) -> tuple[np.ndarray, int]:
    """Returns float32 [frames, D], and how many of its values were replaced by NaN."""
    rows = np.empty((len(video.audio), len(names)), np.float32)
    for row, line, path in zip(rows, video.lines, video.audio, strict=True):
        with _located(manifest_path, line, path):
            row[:] = _read_values(path, names)
    bad = ~np.isfinite(rows)
    if bad.any() and nonfinite == 'error':
        frame, column = np.argwhere(bad)[0]
        raise InputError(
            f'{manifest_path}:{video.lines[frame]}: {video.audio[frame]}: {names[column]} is {rows[frame, column]}; '
            "expected a finite number (--nonfinite_audio=mean takes the training split's mean instead)"
        )
    rows[bad] = np.nan
    return rows, int(bad.sum())


def _read_names(path: str, size: int) -> list[str]:
    """Returns the names of an audio CSV's features. Raises ValueError unless their number fits `size`."""
    names = _read_lines(path)[0].split(',')
    if size == FUNCTIONALS and len(names) == LLD:
        raise ValueError(f'{LLD} features, as of a clip; expected the functionals of a whole video')
    if size not in (FUNCTIONALS, len(names)):
        raise ValueError(f'{len(names)} features; expected {size}')
    return names


def _read_values(path: str, names: Sequence[str]) -> np.ndarray:
    """Returns float32 [D], the values of an audio CSV. Raises ValueError unless its features are `names`."""
    header, text = _read_lines(path)
    fields = text.split(',')
    if len(fields) != len(names):
        raise ValueError(f'{len(fields)} values; expected {len(names)}')
    if header.split(',') != list(names):
        raise ValueError('its header has other features than the first file of the manifest')
    try:
        with np.errstate(over='ignore'):  # values beyond float32 become infinite
            return np.array(fields, np.float64).astype(np.float32)
    except ValueError as error:
        raise ValueError(f'{error}; expected numbers') from None


def _read_lines(path: str) -> list[str]:
    """Returns the header and the line of values of an audio CSV. Raises ValueError unless the file has just these."""
    try:
        lines = Path(path).read_text(encoding='utf-8-sig').split('\n')
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'not UTF-8 text'
        raise ValueError(f'{reason}; expected an audio CSV') from None
    lines = [text.strip() for text in lines if text.strip()]
    if len(lines) != 2:
        raise ValueError(f'{len(lines)} lines; expected a header and one line of values')
    return lines


def fit_scaling(names: Sequence[str], values: Sequence[np.ndarray], kind: str) -> Scaling:
    """Computes the scaling of a training split's features. Each frame weighs the same, and NaN is ignored.

    Args:
      names: of the D features.
      values: float32 [frames, D] of each video.
      kind: `zscore` gives mean 0 and deviation 1. `log` does the same and then compresses large values. `minmax` maps
        the smallest value to 0 and the largest to 1. `none` keeps values. A feature that never changes is only shifted.
    """
    if kind not in SCALINGS:
        raise InputError(f'--audio_scaling={kind}: expected one of {", ".join(SCALINGS)}')
    frames = np.ma.masked_invalid(np.concatenate(values).astype(np.float64))
    mean = np.ma.filled(frames.mean(axis=0), 0.0)
    if kind in ('zscore', 'log'):
        offset, scale = mean, frames.std(axis=0)
    elif kind == 'minmax':
        offset = frames.min(axis=0)
        scale = frames.max(axis=0) - offset
    else:
        offset, scale = np.zeros(len(names)), np.ones(len(names))
    offset, scale = np.ma.filled(offset, 0.0), np.ma.filled(scale, 0.0)
    # A deviation at the level of float32's rounding counts as constant.
    constant = scale <= 1e-6 * np.maximum(np.abs(offset), 1e-30)
    return Scaling(kind, list(names), mean, offset, np.where(constant, 1.0, scale))


def scale_features(values: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Returns scaled values, float32 [frames, D]. The training split's mean replaces NaN."""
    scaled = (np.where(np.isnan(values), scaling.mean, values) - scaling.offset) / scaling.scale
    scaled = scaled if scaling.kind == 'none' else np.clip(scaled, -LARGEST, LARGEST)
    return (compress(scaled) if scaling.kind == 'log' else scaled).astype(np.float32)


def compress(values: np.ndarray) -> np.ndarray:
    """Returns sign(v) log(1 + |v|). Many functionals, such as variances, have a few values that are very large."""
    return np.sign(values) * np.log1p(np.abs(values))


def check_names(found: Sequence[str], scaling: Scaling, where: str) -> None:
    """Raises InputError unless a split's features are those that a run was trained on."""
    if list(found) == scaling.names:
        return
    differing = next((f'{a} where the run has {b}' for a, b in zip(found, scaling.names, strict=False) if a != b), '')
    raise InputError(
        f'{where}: {len(found)} audio features{": " if differing else ""}{differing}; expected the '
        f'{len(scaling.names)} of the run'
    )


def write_scaling(path: Path, scaling: Scaling) -> None:
    """Writes the kind, then a line per feature, tab separated. 17 digits restore every float64 to the bit."""
    with atomic_write(path) as file:
        file.write(f'# {scaling.kind}\n{_SCALING_COLUMNS}\n')
        for name, *numbers in zip(*scaling[1:], strict=True):
            file.write('\t'.join([name, *(f'{number:.17g}' for number in numbers)]) + '\n')


def read_scaling(path: Path) -> Scaling:
    """Reads a scaling. Raises InputError unless the file has the form that `write_scaling` gives it."""
    try:
        kind, header, *lines = path.read_text(encoding='utf-8').removesuffix('\n').split('\n')
        if kind.removeprefix('# ') not in SCALINGS or header != _SCALING_COLUMNS:
            raise ValueError('another header')
        names, *columns = zip(*(line.split('\t') for line in lines), strict=True)
        mean, offset, scale = np.array(columns, np.float64)
        if not np.isfinite([mean, offset, scale]).all() or (scale <= 0).any():
            raise ValueError('numbers that are not finite, or a scale of 0')
    except (OSError, ValueError) as error:
        raise InputError(f'{path}: {error}; expected the scaling of the run') from None
    return Scaling(kind.removeprefix('# '), list(names), mean, offset, scale)
