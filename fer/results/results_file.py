# SPDX-License-Identifier: Apache-2.0
"""Results files: a line per video with its logits, prediction and label, separated by tabs.

The header is `video_id logit_Neutral ... logit_Surprise prediction label frames fallback`. Columns are found by their
names. The last two may be missing, and further columns are ignored.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer import emotions
from fer.errors import InputError
from fer.files import atomic_write

UNKNOWN = '-'
LOGIT_COLUMNS = tuple(f'logit_{name}' for name in emotions.EMOTIONS)
COLUMNS = ('video_id', *LOGIT_COLUMNS, 'prediction', 'label', 'frames', 'fallback')
OPTIONAL_COLUMNS = ('frames', 'fallback')


class Results(NamedTuple):
    """The answers for the V videos of a split."""

    video_ids: list[str]
    logits: np.ndarray  # float64 [V, 7]
    predictions: np.ndarray  # int64 [V], class indices
    labels: np.ndarray  # int64 [V], class indices, -1 where unknown
    frames: np.ndarray  # int64 [V], real frames behind the answer, 0 for a fallback, -1 where the file has no column
    fallback: list[str]  # reason why the model has no answer, '-' where it has one


def write_results(path: str | Path, results: Results) -> None:
    """Writes a results file. Nine significant digits restore every float32 to the bit."""
    with atomic_write(path) as file:
        file.write('\t'.join(COLUMNS) + '\n')
        for row, video_id in enumerate(results.video_ids):
            label = int(results.labels[row])
            fields = [
                video_id,
                *(f'{value:.9g}' for value in results.logits[row]),
                emotions.EMOTIONS[results.predictions[row]],
                UNKNOWN if label < 0 else emotions.EMOTIONS[label],
                str(results.frames[row]),
                results.fallback[row],
            ]
            file.write('\t'.join(fields) + '\n')


def read_results(path: str | Path) -> Results:
    """Reads a results file of this project or of another.

    Raises:
      InputError: the file is missing, empty or malformed, lists a video twice, or has a logit that is not finite. The
        message names the line.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8-sig').split('\n')
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'not UTF-8 text'
        raise InputError(f'{path}: {reason}; expected a results file') from None
    if lines == ['']:
        raise InputError(f'{path}: empty; expected a header and one line per video')
    header = lines[0].split('\t')
    missing = [name for name in COLUMNS if name not in header and name not in OPTIONAL_COLUMNS]
    if missing:
        raise InputError(f'{path}:1: no column {", ".join(missing)}; found {", ".join(header)}')
    rows: dict[str, tuple] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        fields = dict(zip(header, line.split('\t'), strict=False))
        try:
            if len(fields) != len(header):
                raise ValueError(f'{len(fields)} fields; expected {len(header)}')
            video_id, *row = _parse_row(fields)
            if video_id in rows:
                raise ValueError(f'video {video_id} is listed a second time; remove one of the lines')
        except ValueError as error:
            raise InputError(f'{path}:{number}: {error}') from None
        rows[video_id] = tuple(row)
    if not rows:
        raise InputError(f'{path}: no videos under the header')
    logits, predictions, labels, frames, fallback = zip(*rows.values(), strict=True)
    return Results(list(rows), np.array(logits), np.array(predictions), np.array(labels), np.array(frames), [*fallback])


def take_rows(results: Results, rows: Sequence[int]) -> Results:
    """Returns some of the answers, in the order of `rows`."""
    return Results(
        [results.video_ids[row] for row in rows],
        results.logits[rows],
        results.predictions[rows],
        results.labels[rows],
        results.frames[rows],
        [results.fallback[row] for row in rows],
    )


def classes_of(path: str | Path) -> list[str]:
    """Returns the seven classes in the order of the header of a results file that `read_results` accepts."""
    with open(path, encoding='utf-8-sig') as file:
        header = file.readline().rstrip('\n').split('\t')
    return [name.removeprefix('logit_') for name in header if name in LOGIT_COLUMNS]


def _parse_row(fields: dict[str, str]) -> tuple[str, list[float], int, int, int, str]:
    logits = [float(fields[name]) for name in LOGIT_COLUMNS]
    if not all(map(math.isfinite, logits)):
        raise ValueError(f'logits {logits}: expected finite numbers')
    label = -1 if fields['label'] == UNKNOWN else emotions.from_name(fields['label'])
    return (
        fields['video_id'],
        logits,
        emotions.from_name(fields['prediction']),
        label,
        int(fields.get('frames', '-1')),
        fields.get('fallback', UNKNOWN),
    )
