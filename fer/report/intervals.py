# SPDX-License-Identifier: Apache-2.0
"""A metric over the seeds of a run: mean, spread, and an interval to compare a printed number with."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fer.emotions import NUM_CLASSES
from fer.report.seeds import SplitResults

METRICS = ('accuracy', 'f1')
SAMPLES = 1000  # of the bootstrap
_ROUNDING = 0.05  # the dissertation's numbers have one decimal

COVERED, ABOVE, BELOW, MISSING = 'covered', 'printed above', 'printed below', 'missing'


class Estimate(NamedTuple):
    """A metric over seeds, in percent."""

    mean: float
    spread: float | None  # standard deviation over seeds (n - 1), None for one seed
    low: float  # of the 95% interval of the mean
    high: float


def estimate(results: Sequence[SplitResults]) -> dict[str, Estimate]:
    """Returns accuracy and F1 over seeds, with bootstrap intervals (Efron 1979, percentiles).

    Each bootstrap sample takes as many videos as there are, with replacement, and as many seeds. All seeds of a sample
    get the same videos, because a video that is hard for one seed is hard for all. More seeds are not more videos. A
    single seed is not resampled. A few seeds show little of the spread of all seeds, so their interval is too short.

    Args:
      results: of one dataset, one per seed, at least one. If their videos differ, each seed is sampled separately.
    """
    together = same_videos(results)
    exact, sampled = [], []
    for index, one in enumerate(results):
        counts = _sample_counts(len(one.ids), 0 if together else index)
        exact.append(_scores(np.ones((1, len(one.ids)), np.float32), one)[:, 0])
        sampled.append(_scores(counts, one))
    values, samples = np.stack(exact, axis=1), np.stack(sampled, axis=2)  # [2, S], [2, SAMPLES, S]
    seeds = len(results)
    chosen = np.random.default_rng(1).integers(0, seeds, (SAMPLES, seeds))
    means = np.take_along_axis(samples, chosen[np.newaxis], axis=2).mean(axis=2)
    bounds = np.percentile(means, [2.5, 97.5], axis=1)
    return {
        metric: Estimate(
            100 * float(values[row].mean()),
            100 * float(values[row].std(ddof=1)) if seeds > 1 else None,
            100 * float(bounds[0, row]),
            100 * float(bounds[1, row]),
        )
        for row, metric in enumerate(METRICS)
    }


def same_videos(results: Sequence[SplitResults]) -> bool:
    """Returns whether all seeds have the same videos with the same labels."""
    return all(one.ids == results[0].ids and np.array_equal(one.labels, results[0].labels) for one in results[1:])


@functools.lru_cache(maxsize=8)
def _sample_counts(videos: int, seed: int) -> np.ndarray:
    """Returns how often each bootstrap sample contains each video, float32 [SAMPLES, V]."""
    rng = np.random.default_rng((seed, videos))
    counts = np.empty((SAMPLES, videos), np.float32)
    for row in counts:
        row[:] = np.bincount(rng.integers(0, videos, videos), minlength=videos)
    return counts


def _scores(weights: np.ndarray, results: SplitResults) -> np.ndarray:
    """Returns accuracy and F1 in [0, 1] of R samples, float64 [2, R].

    Args:
      weights: float32 [R, V], how often each sample contains each video.
      results: of the V videos.
    """
    classes = np.arange(NUM_CLASSES)
    true = results.labels[:, np.newaxis] == classes
    predicted = results.predictions[:, np.newaxis] == classes
    # One matrix product counts the hits, labels and predictions of each class in each sample. These are the diagonal
    # and the margins of the sample's confusion matrix. Counts are exact in float32 up to 2^24.
    counts = (weights @ np.concatenate([true & predicted, true, predicted], axis=1).astype(np.float32)).astype(
        np.float64
    )
    hits, support, answers = np.split(counts, 3, axis=1)
    f1 = 2 * hits / np.maximum(support + answers, 1)
    return np.stack([hits.sum(axis=1) / len(results.labels), f1.mean(axis=1)])


def judge(printed: float | None, ours: Estimate | None) -> str:
    """Compares a printed number with our interval.

    Returns:
      COVERED if the printed number is inside the interval, ABOVE or BELOW if it is outside. MISSING without an
      interval, '' without a printed number. A number that may be rounded from one inside the interval is covered.
    """
    if printed is None:
        return ''
    if ours is None:
        return MISSING
    if printed > ours.high + _ROUNDING:
        return ABOVE
    return BELOW if printed < ours.low - _ROUNDING else COVERED
