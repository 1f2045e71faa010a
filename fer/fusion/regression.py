# SPDX-License-Identifier: Apache-2.0
"""Weights by linear regression (method 5, and the learned class weights of 4.4).

The target is 1 for the true class and 0 for the others. Least squares with M models on a few hundred videos fits noise:
method 5 was the dissertation's worst (6.5). A ridge therefore pulls the weights towards 0. Its strength is the one that
predicts held-out videos best in a 5-fold cross-validation.
"""

from collections.abc import Callable

import numpy as np

from fer.fusion.folds import stratified_folds

FOLDS, SEED = 5, 0
RIDGES = np.logspace(3, -3, 7)  # multiples of the number of rows, because inputs are standardised. Strongest first

# Weights [M, C] and offset [C] of inputs [M, V, C], labels [V] and a ridge.
Regression = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]


def regress_models_then_classes(inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Learns a weight for each model, then a weight and an offset for each class: M + 2 C numbers (method 5).

    One regression over all videos and classes gives the M model weights. Then, for each class, a regression on the
    models' weighted sum gives the weight and the offset.

    Args:
      inputs: float64 [M, V, C].
      labels: int [V], class indices.

    Returns:
      Weights, float64 [M, C], and offsets, float64 [C].
    """
    return _with_best_ridge(_models_then_classes, inputs, labels)


def regress_class_wise(inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Learns a weight for each model in each class and an offset for each class: C M + C numbers.

    Each class has a regression of its own.

    Args:
      inputs: float64 [M, V, C].
      labels: int [V], class indices.

    Returns:
      Weights, float64 [M, C], and offsets, float64 [C].
    """
    return _with_best_ridge(_class_wise, inputs, labels)


def _models_then_classes(inputs: np.ndarray, labels: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    targets = np.eye(inputs.shape[2])[labels]  # [V, C]
    model, _ = ridge_regression(inputs.reshape(len(inputs), -1).T, targets.ravel(), ridge)
    fused = np.tensordot(model, inputs, axes=1)  # [V, C]
    classes = [ridge_regression(fused[:, [k]], targets[:, k], ridge) for k in range(inputs.shape[2])]
    by_class = model[:, np.newaxis] * np.array([slope[0] for slope, _ in classes])
    return by_class, np.array([offset for _, offset in classes])


def _class_wise(inputs: np.ndarray, labels: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    classes = [ridge_regression(inputs[:, :, k].T, (labels == k).astype(float), ridge) for k in range(inputs.shape[2])]
    return np.array([slopes for slopes, _ in classes]).T, np.array([offset for _, offset in classes])


def ridge_regression(inputs: np.ndarray, targets: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Solves least squares with a penalty of `ridge` x rows x the squared slopes of the standardised inputs.

    Args:
      inputs: float64 [rows, columns].
      targets: float64 [rows].
      ridge: more than 0.

    Returns:
      Slopes of the inputs before standardisation, float64 [columns], and the intercept. A column that never varies has
      slope 0.
    """
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0)
    standardised = (inputs - mean) / np.where(spread > 0, spread, np.inf)
    gram = standardised.T @ standardised + ridge * len(inputs) * np.eye(inputs.shape[1])
    slopes = np.linalg.solve(gram, standardised.T @ (targets - targets.mean())) / np.where(spread > 0, spread, np.inf)
    return slopes, float(targets.mean() - mean @ slopes)


def _with_best_ridge(regress: Regression, inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights from all videos, by the ridge that predicts most held-out videos correctly.

    Ties go to the strongest ridge.
    """
    fold = stratified_folds(labels, FOLDS, SEED)
    right = np.zeros(len(RIDGES), int)
    for held_out in range(FOLDS):
        kept = fold != held_out
        if kept.all() or not kept.any():  # fewer videos than folds, or a single video
            continue
        for index, ridge in enumerate(RIDGES):
            by_class, offset = regress(inputs[:, kept], labels[kept], ridge)
            scores = np.einsum('mvk,mk->vk', inputs[:, ~kept], by_class) + offset
            right[index] += (scores.argmax(axis=1) == labels[~kept]).sum()
    return regress(inputs, labels, RIDGES[right.argmax()])
