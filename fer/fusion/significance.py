"""Whether two results files differ by more than chance: 383 videos make one percent four videos."""

import math
from typing import NamedTuple

import numpy as np

from fer.fusion.validation import SAMPLES


class Comparison(NamedTuple):
    """Two models on the same labelled videos."""

    first_only: int  # videos that only the first has right
    second_only: int
    difference: float  # accuracy of the first less that of the second
    mcnemar: float  # two-sided p
    interval_95: list[float]  # of the difference
    bootstrap: float  # two-sided p


def compare(labels: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int = 0) -> Comparison:
    """McNemar's exact test (1947) and a paired bootstrap (Efron & Tibshirani 1993) over videos.

    Args:
      labels: int [V], class indices.
      first: int [V], predictions.
      second: int [V], predictions.
      seed: of the bootstrap.
    """
    first_right, second_right = first == labels, second == labels
    first_only = int((first_right & ~second_right).sum())
    second_only = int((second_right & ~first_right).sum())
    total = len(labels)
    # Only these two kinds of videos move the difference, and drawing videos with replacement draws their numbers from
    # a multinomial distribution: the whole bootstrap is one call.
    shares = np.array([first_only, second_only, total - first_only - second_only]) / total
    drawn = np.random.default_rng(seed).multinomial(total, shares, SAMPLES)
    differences = (drawn[:, 0] - drawn[:, 1]) / total
    low, high = np.percentile(differences, [2.5, 97.5])
    # Both tails are 0 or beyond, and one sample is added so that p is never 0 (Davison & Hinkley 1997, 4.2).
    tail = min((differences <= 0).sum(), (differences >= 0).sum())
    return Comparison(
        first_only,
        second_only,
        (first_only - second_only) / total,
        mcnemar(first_only, second_only),
        [float(low), float(high)],
        min(1.0, 2 * (int(tail) + 1) / (SAMPLES + 1)),
    )


def mcnemar(first_only: int, second_only: int) -> float:
    """Two-sided exact p that videos which one model alone has right fall to either by the toss of a coin."""
    videos = first_only + second_only
    tail = sum(math.comb(videos, k) for k in range(min(first_only, second_only) + 1))
    return min(1.0, 2 * tail / 2**videos)
