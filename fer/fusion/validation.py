# SPDX-License-Identifier: Apache-2.0
"""Cross-validated predictions of fusions, and bootstrap intervals of scores."""

from collections.abc import Callable

import numpy as np

from fer.fusion.folds import stratified_folds
from fer.fusion.methods import Answers, Method, apply, fit, take_videos
from fer.results.significance import SAMPLES

_BLOCK = 500  # samples taken at a time: 500 x 383 indices are 1.5 MB


def cross_validated(
    answers: Answers,
    fit_and_predict: Callable[[Answers, Answers], np.ndarray],
    folds: int,
    repeats: int,
    seed: int,
) -> np.ndarray:
    """Predicts each video by weights, or by a whole search, that are made from the other folds only.

    Args:
      answers: of models to V labelled videos.
      fit_and_predict: receives the answers to learn from and the answers to predict. Returns predictions, int [V'].
      folds: number of folds of each repeat, from 2 to V.
      repeats: number of repetitions, each with other folds.
      seed: of the first repeat's folds. The next repeats take the next numbers.

    Returns:
      Predictions, int [repeats, V].
    """
    predictions = np.empty((repeats, len(answers.labels)), int)
    for repeat in range(repeats):
        fold = stratified_folds(answers.labels, folds, seed + repeat)
        for held_out in range(folds):
            test = fold == held_out
            predictions[repeat, test] = fit_and_predict(take_videos(answers, ~test), take_videos(answers, test))
    return predictions


def cross_validated_method(
    method: Method, answers: Answers, accuracies: np.ndarray | None, folds: int, repeats: int, seed: int
) -> np.ndarray:
    """Predicts each video by a method whose weights are made from the other folds only.

    Args:
      method: a value of `fer.fusion.methods.METHODS`.
      answers: of M models to V labelled videos.
      accuracies: float64 [M], of the models. None takes those on the other folds.
      folds: number of folds of each repeat, from 2 to V.
      repeats: number of repetitions, each with other folds.
      seed: of the first repeat's folds. The next repeats take the next numbers.

    Returns:
      Predictions, int [repeats, V].
    """

    def fit_and_predict(train: Answers, test: Answers) -> np.ndarray:
        return apply(method, test, fit(method, train, accuracies))[1]

    return cross_validated(answers, fit_and_predict, folds, repeats, seed)


def bootstrap_interval(values: np.ndarray, seed: int = 0) -> list[float]:
    """Returns the 95% percentile interval (Efron 1979) of the mean of a value per video, [low, high].

    Args:
      values: float [V]. 1 for a right prediction and 0 for a wrong one, or means over repeats, or differences of these.
      seed: of the samples.
    """
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [values[rng.integers(0, len(values), (_BLOCK, len(values)))].mean(axis=1) for _ in range(SAMPLES // _BLOCK)]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return [float(low), float(high)]


def summarise_predictions(predictions: np.ndarray, labels: np.ndarray, folds: int) -> dict:
    """Summarises a repeated cross-validation for a metrics file.

    Args:
      predictions: int [repeats, V].
      labels: int [V].
      folds: number of folds of each repeat, to be written only.

    Returns:
      `accuracy` (mean over repeats), `interval_95` (bootstrap over videos), `lowest` and `highest` (of the repeats),
      `folds` and `repeats`.
    """
    right = predictions == labels
    per_repeat = right.mean(axis=1)
    return {
        'accuracy': float(per_repeat.mean()),
        'interval_95': bootstrap_interval(right.mean(axis=0)),
        'lowest': float(per_repeat.min()),
        'highest': float(per_repeat.max()),
        'folds': folds,
        'repeats': len(predictions),
    }
