"""Weights by linear regression (method 5, and 4.4's 'learn class weights'), with a ridge chosen by 5-fold validation.

The target is 1 for the true class and 0 for the others. Least squares with M models on a few hundred videos fits noise,
which the dissertation met as well (6.5: 'it consistently performed the worst'); the ridge pulls weights towards 0, by
as much as predicts videos best that the regression has not seen.
"""

from collections.abc import Callable

import numpy as np

from fer.emotions import NUM_CLASSES
from fer.fusion.folds import stratified_folds

FOLDS, SEED = 5, 0
RIDGES = np.logspace(3, -3, 7)  # in units of the rows' number, since inputs are standardised; strongest first

# Weights [M, 7] and offset [7] of inputs [M, V, 7], labels [V] and a ridge.
Regression = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]


def regress_models_then_classes(inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Method 5: a weight for each model, then a weight and an offset for each class; M + 14 numbers.

    First the M model weights, by one regression over all videos and classes; then each class's weight and offset, by
    a regression on the models' weighted sum.

    Args:
      inputs: float64 [M, V, 7].
      labels: int [V], class indices.

    Returns:
      Weights, float64 [M, 7], and offsets, float64 [7].
    """
    return _with_best_ridge(_models_then_classes, inputs, labels)


def regress_class_wise(inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A weight for each model in each class and an offset for each class, by a regression apiece; 7 M + 7 numbers.

    Arguments and results are those of `regress_models_then_classes`.
    """
    return _with_best_ridge(_class_wise, inputs, labels)


def _models_then_classes(inputs: np.ndarray, labels: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    targets = np.eye(NUM_CLASSES)[labels]  # [V, 7]
    model, _ = ridge_regression(inputs.reshape(len(inputs), -1).T, targets.ravel(), ridge)
    fused = np.tensordot(model, inputs, axes=1)  # [V, 7]
    classes = [ridge_regression(fused[:, [k]], targets[:, k], ridge) for k in range(NUM_CLASSES)]
    by_class = model[:, np.newaxis] * np.array([slope[0] for slope, _ in classes])
    return by_class, np.array([offset for _, offset in classes])


def _class_wise(inputs: np.ndarray, labels: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    classes = [ridge_regression(inputs[:, :, k].T, (labels == k).astype(float), ridge) for k in range(NUM_CLASSES)]
    return np.array([slopes for slopes, _ in classes]).T, np.array([offset for _, offset in classes])


def ridge_regression(inputs: np.ndarray, targets: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Least squares with a penalty of `ridge` x rows x the squared slopes of the standardised inputs.

    Args:
      inputs: float64 [rows, columns].
      targets: float64 [rows].
      ridge: more than 0.

    Returns:
      Slopes, float64 [columns], of the inputs as they are; a column that never varies gets 0. And the intercept.
    """
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0)
    standardised = (inputs - mean) / np.where(spread > 0, spread, np.inf)
    gram = standardised.T @ standardised + ridge * len(inputs) * np.eye(inputs.shape[1])
    slopes = np.linalg.solve(gram, standardised.T @ (targets - targets.mean())) / np.where(spread > 0, spread, np.inf)
    return slopes, float(targets.mean() - mean @ slopes)


def _with_best_ridge(regress: Regression, inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of all videos under the ridge that has most unseen videos right; the strongest of several."""
    fold = stratified_folds(labels, FOLDS, SEED)
    right = np.zeros(len(RIDGES), int)
    for held_out in range(FOLDS):
        seen = fold != held_out
        if seen.all() or not seen.any():  # fewer videos than folds, or a single one
            continue
        for index, ridge in enumerate(RIDGES):
            by_class, offset = regress(inputs[:, seen], labels[seen], ridge)
            scores = np.einsum('mvk,mk->vk', inputs[:, ~seen], by_class) + offset
            right[index] += (scores.argmax(axis=1) == labels[~seen]).sum()
    return regress(inputs, labels, RIDGES[right.argmax()])
