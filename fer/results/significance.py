# SPDX-License-Identifier: Apache-2.0
"""Tests whether two results files differ by more than chance. With 383 videos, one percent is four videos."""

import math
from typing import NamedTuple

import numpy as np

SAMPLES = 10_000  # number of samples of every bootstrap of late fusion and of comparisons


class PairedTest(NamedTuple):
    """Two models compared on the same labelled videos."""

    first_only: int  # videos that only the first answers correctly
    second_only: int  # videos that only the second answers correctly
    difference: float  # accuracy of the first minus accuracy of the second
    mcnemar: float  # two-sided p
    interval_95: list[float]  # of the difference
    bootstrap: float  # two-sided p


def compare(labels: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int = 0) -> PairedTest:
    """Runs McNemar's exact test (1947) and a paired bootstrap over videos (Efron & Tibshirani 1993).

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
    # Only videos that a single model answers correctly change the difference. In samples with replacement their counts
    # are multinomial, so the whole bootstrap is one call.
    shares = np.array([first_only, second_only, total - first_only - second_only]) / total
    sampled = np.random.default_rng(seed).multinomial(total, shares, SAMPLES)
    differences = (sampled[:, 0] - sampled[:, 1]) / total
    low, high = np.percentile(differences, [2.5, 97.5])
    # Each tail includes 0. One sample is added, so that p is never 0 (Davison & Hinkley 1997, 4.2).
    tail = min((differences <= 0).sum(), (differences >= 0).sum())
    return PairedTest(
        first_only,
        second_only,
        (first_only - second_only) / total,
        mcnemar(first_only, second_only),
        [float(low), float(high)],
        min(1.0, 2 * (int(tail) + 1) / (SAMPLES + 1)),
    )


def mcnemar(first_only: int, second_only: int) -> float:
    """Returns the two-sided exact p of these counts, if each model were equally likely to be the only right one."""
    videos = first_only + second_only
    tail = sum(math.comb(videos, k) for k in range(min(first_only, second_only) + 1))
    return min(1.0, 2 * tail / 2**videos)
