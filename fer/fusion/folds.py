"""Stratified folds for cross-validation."""

import numpy as np


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Distributes videos to folds at random, class by class.

    Args:
      labels: int [V], class indices.
      folds: number of folds, from 2 to V.
      seed: of the random order within each class.

    Returns:
      int [V], each video's fold. The sizes of folds differ by one at most, and so do those of each class's share.
    """
    rng = np.random.default_rng(seed)
    # Sorted by class, in random order within. One count over all classes, so that no fold is always the first.
    order = np.lexsort((rng.random(len(labels)), labels))
    fold = np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % folds
    return fold
