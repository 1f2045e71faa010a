"""Late-fusion methods, numbered as in dissertation 6.5.

Each takes the answers of M models on V videos: their logits, float [M, V, 7], their predictions, int [M, V], and one
accuracy per model, float [M], of 0 or more and not all 0. It returns the fused logits, float [V, 7]; the prediction
is their largest, the first class in order where several are equal. Weights are scaled to a sum of 1, so that one
model alone gives itself back and a fused file can be fused again.
"""

from collections.abc import Callable

import numpy as np


def accuracy_weighted_predictions(logits: np.ndarray, predictions: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """Method 1: each model votes for its predicted class with its accuracy as weight; the shares of the votes."""
    votes = np.eye(logits.shape[2])[predictions]  # [M, V, 7]
    return np.tensordot(accuracies / accuracies.sum(), votes, axes=1)


def accuracy_weighted_logits(logits: np.ndarray, predictions: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """Method 2: the mean of the logits, weighted by the models' accuracies."""
    return np.tensordot(accuracies / accuracies.sum(), logits, axes=1)


def equal_weighted_logits(logits: np.ndarray, predictions: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """Method 3, which the dissertation calls majority voting for logits: their plain mean."""
    return logits.mean(axis=0)


METHODS: dict[int, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    1: accuracy_weighted_predictions,
    2: accuracy_weighted_logits,
    3: equal_weighted_logits,
}
