# SPDX-License-Identifier: Apache-2.0
"""Stratified folds for cross-validation."""

import numpy as np


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Distributes videos to folds at random, class by class.

    Args:
      labels: int [V], class indices.
      folds: number of folds, from 2 to V.
      seed: of the random order within each class.

    Returns:
      int [V], each video's fold. The sizes of folds differ by at most one, and so do their numbers of videos per class.
    """
    rng = np.random.default_rng(seed)
    # Videos are sorted by class, in random order within a class. The count continues from class to class, so that the
    # first fold does not get the first video of every class.
    order = np.lexsort((rng.random(len(labels)), labels))
    fold = np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % folds
    return fold
