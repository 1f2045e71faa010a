"""Folds that hold each class alike."""

import numpy as np


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Deals videos out to folds at random, class by class.

    Args:
      labels: int [V], class indices.
      folds: how many, from 2 to V.
      seed: decides who is where.

    Returns:
      int [V], each video's fold. Fold sizes differ by one at most, and so do those of each class.
    """
    rng = np.random.default_rng(seed)
    # Sorted by class, in random order within: dealing goes on from class to class, so that no fold is first each time.
    order = np.lexsort((rng.random(len(labels)), labels))
    fold = np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % folds
    return fold
