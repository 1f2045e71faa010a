"""What a run's seeds say together: mean, spread, and an interval to hold a printed number against."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fer.emotions import NUM_CLASSES
from fer.report.runs import Answers

METRICS = ('accuracy', 'f1')
SAMPLES = 1000  # of the bootstrap
_ROUNDING = 0.05  # of the dissertation's numbers, which have one decimal

COVERED, ABOVE, BELOW, MISSING = 'covered', 'printed above', 'printed below', 'missing'


class Estimate(NamedTuple):
    """A metric over seeds, in percent."""

    mean: float
    spread: float | None  # standard deviation over seeds (n - 1); None of one
    low: float  # of the 95% interval of the mean
    high: float


def estimate(answers: Sequence[Answers]) -> dict[str, Estimate]:
    """Accuracy and F1 over seeds, with bootstrap intervals (Efron 1979, percentiles).

    Each sample draws as many videos as there are, with replacement, and as many of the seeds. The drawn videos are the
    same for all seeds: what makes a video hard makes it hard for each of them, so that seeds are no further videos. One
    seed is not drawn from. Few seeds know little of how much seeds differ, and the interval is then rather too short.

    Args:
      answers: of one dataset, one per seed, at least one. Where their videos differ, each seed draws its own.
    """
    together = same_videos(answers)
    exact, drawn = [], []
    for index, one in enumerate(answers):
        weights = _draws(len(one.ids), 0 if together else index)
        exact.append(_scores(np.ones((1, len(one.ids)), np.float32), one)[:, 0])
        drawn.append(_scores(weights, one))
    values, samples = np.stack(exact, axis=1), np.stack(drawn, axis=2)  # [2, S], [2, SAMPLES, S]
    seeds = len(answers)
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


def same_videos(answers: Sequence[Answers]) -> bool:
    """Whether all seeds answered the same videos with the same labels."""
    return all(one.ids == answers[0].ids and np.array_equal(one.labels, answers[0].labels) for one in answers[1:])


@functools.lru_cache(maxsize=8)
def _draws(videos: int, seed: int) -> np.ndarray:
    """float32 [SAMPLES, V]: how often each sample has each video."""
    rng = np.random.default_rng((seed, videos))
    counts = np.empty((SAMPLES, videos), np.float32)
    for row in counts:
        row[:] = np.bincount(rng.integers(0, videos, videos), minlength=videos)
    return counts


def _scores(weights: np.ndarray, answers: Answers) -> np.ndarray:
    """float64 [2, R]: accuracy and F1 in [0, 1] of R samples, float32 [R, V] counts of each video."""
    classes = np.arange(NUM_CLASSES)
    true = answers.labels[:, np.newaxis] == classes
    named = answers.predictions[:, np.newaxis] == classes
    # One product counts, of every sample, the right answers, truths and predictions of each class: the diagonal and
    # the margins of its confusion matrix. Counts are exact in float32 up to 2^24.
    counts = (weights @ np.concatenate([true & named, true, named], axis=1).astype(np.float32)).astype(np.float64)
    right, support, predicted = np.split(counts, 3, axis=1)
    f1 = 2 * right / np.maximum(support + predicted, 1)
    return np.stack([right.sum(axis=1) / len(answers.labels), f1.mean(axis=1)])


def judge(printed: float | None, ours: Estimate | None) -> str:
    """Where a printed number lies: COVERED by our interval, ABOVE or BELOW it; MISSING without ours, '' if unprinted.

    A number that could have been rounded from one inside the interval counts as covered.
    """
    if printed is None:
        return ''
    if ours is None:
        return MISSING
    if printed > ours.high + _ROUNDING:
        return ABOVE
    return BELOW if printed < ours.low - _ROUNDING else COVERED
