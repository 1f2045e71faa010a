# SPDX-License-Identifier: Apache-2.0
"""Calibration of a classifier: whether 70 of 100 answers that it gives with a probability of 70% are right.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017: the temperature is one number that logits are divided
by. It changes probabilities and never the answer. It is fitted on other items than those that it is judged on.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

BINS = 15  # as Guo et al.
_LIMITS = (1 / 20, 20.0)  # of the temperature. Logits that are always right have no best temperature


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature with the smallest cross-entropy, between 1/20 and 20.

    The cross-entropy is convex in 1 / temperature, so that its slope has at most one root.

    Args:
      logits: float [V, C].
      labels: int [V], class indices.
    """
    of_labels = logits[np.arange(len(labels)), labels]

    def slope(log_scale: float) -> float:
        probabilities = softmax(np.exp(log_scale) * logits, axis=1)
        return float(np.mean((probabilities * logits).sum(axis=1) - of_labels))

    low, high = -np.log(_LIMITS[1]), -np.log(_LIMITS[0])
    if slope(low) >= 0:
        return _LIMITS[1]
    if slope(high) <= 0:
        return _LIMITS[0]
    return float(np.exp(-brentq(slope, low, high)))


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Returns the expected calibration error (ECE) of the answers, in [0, 1].

    Answers are put into bins of equal width by the probability of their class. The ECE is the mean difference, weighted
    by the answers of each bin, between the share of right answers and the mean probability.

    Args:
      probabilities: float [V, C], each row with a sum of 1.
      labels: int [V], class indices.
      bins: number of bins. Each has its upper edge.
    """
    confidence, answers = probabilities.max(axis=1), probabilities.argmax(axis=1)
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, (answers == labels) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean negative logarithm of the probability of the true class, in nats."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300)).mean())
