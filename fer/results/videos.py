# SPDX-License-Identifier: Apache-2.0
"""Combines the logits of windows into one answer per official video.

Dissertation 5.8 splits a video into windows. EmotiW counts one prediction for every video of the split.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer import emotions
from fer.errors import InputError
from fer.files import read_object
from fer.manifest import LedgerRow
from fer.results.results_file import UNKNOWN, Results
from fer.runs.names import CLASS_COUNTS_FILE


def class_counts(ledger: Sequence[LedgerRow]) -> np.ndarray:
    """Counts the official videos of each class, including those without a face, int64 [7]."""
    labels = [row.label for row in ledger if row.label is not None]
    return np.bincount(labels, minlength=emotions.NUM_CLASSES)


def prior_logits(counts: np.ndarray) -> np.ndarray:
    """Returns log class frequencies, float64 [7]. One video is added to each class, so that all are finite."""
    return np.log((counts + 1) / (counts + 1).sum())


def read_class_counts(run_dir: str | Path) -> np.ndarray:
    """Reads the number of training videos of each class from a run folder, int64 [7]. `--fallback=prior` uses it."""
    path = Path(run_dir) / CLASS_COUNTS_FILE
    try:
        counts = read_object(path)
        if sorted(counts) == sorted(emotions.EMOTIONS) and list(counts) != list(emotions.EMOTIONS):
            raise InputError(
                f'{path}: classes in the order {", ".join(counts)}; expected {", ".join(emotions.EMOTIONS)}'
            )
        numbers = [counts[name] for name in emotions.EMOTIONS]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f'numbers {numbers}')
        return np.array(numbers)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path}: {error}; expected the number of training videos of each class') from None


def combine_windows(logits: np.ndarray, weights: np.ndarray, video: np.ndarray, num_videos: int) -> np.ndarray:
    """Returns the weighted mean of each video's window logits.

    Args:
      logits: float [W, 7], a row per window.
      weights: int [W], above 0: real frames of each window, or 1 for equal windows.
      video: int [W], index of each window's video.
      num_videos: V. Every video has at least one window.

    Returns:
      float64 [V, 7].
    """
    total = np.zeros((num_videos, logits.shape[1]))
    np.add.at(total, video, logits.astype(np.float64) * weights[:, np.newaxis])
    weight = np.bincount(video, weights=weights, minlength=num_videos)
    return total / weight[:, np.newaxis]


def combine_frames(logits: np.ndarray, counts: np.ndarray, video: np.ndarray, num_videos: int) -> np.ndarray:
    """Returns the median of each video's frame logits, class by class.

    The median of an even number of frames is the mean of the middle two.

    Args:
      logits: float [F, 7], a row per frame.
      counts: int [F], how often each frame counts.
      video: int [F], index of each frame's video.
      num_videos: V. Every video has at least one frame.

    Returns:
      float64 [V, 7].
    """
    order = np.argsort(video, kind='stable')
    repeated = np.repeat(order, counts[order])  # rows of frames, video by video
    edges = np.searchsorted(video[repeated], np.arange(num_videos + 1))
    combined = np.empty((num_videos, logits.shape[1]))
    for index in range(num_videos):
        rows = repeated[edges[index] : edges[index + 1]]
        combined[index] = np.median(logits[rows].astype(np.float64), axis=0)
    return combined


def answer_ledger(
    ledger: Sequence[LedgerRow],
    video_ids: Sequence[str],
    logits: np.ndarray,
    frames: Sequence[int],
    fallback: np.ndarray,
) -> Results:
    """Returns results for every row of the ledger, in its order.

    Args:
      ledger: the split's official videos, with their labels.
      video_ids: the V videos that the model answers, each of them in the ledger.
      logits: float [V, 7], the model's answers.
      frames: real frames of the V videos.
      fallback: float [7], logits of a video without frames. Its row has the reason in column `fallback`.
    """
    answered = {video_id: index for index, video_id in enumerate(video_ids)}
    rows = [answered.get(row.video_id) for row in ledger]
    all_logits = np.array([fallback if i is None else logits[i] for i in rows])
    return Results(
        video_ids=[row.video_id for row in ledger],
        logits=all_logits,
        predictions=all_logits.argmax(axis=1),
        labels=np.array([-1 if row.label is None else row.label for row in ledger]),
        frames=np.array([0 if i is None else frames[i] for i in rows]),
        fallback=[(row.gap or 'missing') if i is None else UNKNOWN for row, i in zip(ledger, rows, strict=True)],
    )


def answer_from(results: Results, other: Results, path: str) -> tuple[Results, int]:
    """Replaces fallbacks by the answers of another model, unless the other answer is a fallback as well.

    Args:
      results: the answers of the model itself.
      other: the answers of the other model.
      path: the file of `other`, for errors.

    Returns:
      The results, whose `fallback` keeps the reason why the model has no answer, and the number of replaced answers.

    Raises:
      InputError: a video with a fallback is missing from `other`.
    """
    row_of = {video_id: row for row, video_id in enumerate(other.video_ids)}
    logits, taken = results.logits.copy(), 0
    for row, (video_id, reason) in enumerate(zip(results.video_ids, results.fallback, strict=True)):
        if reason == UNKNOWN:
            continue
        if video_id not in row_of:
            raise InputError(f'{path}: no video {video_id}; expected the videos of the split')
        if other.fallback[row_of[video_id]] == UNKNOWN:
            logits[row] = other.logits[row_of[video_id]]
            taken += 1
    return results._replace(logits=logits, predictions=logits.argmax(axis=1)), taken
