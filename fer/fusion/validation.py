"""Scores of videos that the weights have not seen, and how far a score is to be trusted."""

from collections.abc import Callable

import numpy as np

from fer.fusion.folds import stratified_folds
from fer.fusion.methods import Answers, Method, apply, fit, take_videos

SAMPLES = 10_000  # of every bootstrap
_BLOCK = 500  # samples drawn at a time: 500 x 383 indices are 1.5 MB


def cross_validated(
    answers: Answers,
    fit_and_predict: Callable[[Answers, Answers], np.ndarray],
    folds: int,
    repeats: int,
    seed: int,
) -> np.ndarray:
    """Predictions for each video by weights, or a whole search, that saw only the other folds.

    Args:
      answers: of labelled videos.
      fit_and_predict: takes the answers to learn from and those to predict; returns int [V'], predictions.
      folds: in each repeat; from 2 to V.
      repeats: with other folds each time.
      seed: of the first repeat's folds; the others count on from it.

    Returns:
      int [repeats, V].
    """
    predictions = np.empty((repeats, len(answers.labels)), int)
    for repeat in range(repeats):
        fold = stratified_folds(answers.labels, folds, seed + repeat)
        for held_out in range(folds):
            unseen = fold == held_out
            predictions[repeat, unseen] = fit_and_predict(take_videos(answers, ~unseen), take_videos(answers, unseen))
    return predictions


def cross_validated_method(
    method: Method, answers: Answers, accuracies: np.ndarray | None, folds: int, repeats: int, seed: int
) -> np.ndarray:
    """`cross_validated` for a method with given members, and given accuracies [M] or None: int [repeats, V]."""

    def fit_and_predict(seen: Answers, unseen: Answers) -> np.ndarray:
        return apply(method, unseen, fit(method, seen, accuracies))[1]

    return cross_validated(answers, fit_and_predict, folds, repeats, seed)


def bootstrap_interval(values: np.ndarray, seed: int = 0) -> list[float]:
    """The 95% percentile interval (Efron 1979) of the mean of a value per video, [low, high].

    Args:
      values: float [V]: 1 where a prediction is right, 0 where wrong, shares over repeats, or differences of those.
      seed: of the samples.
    """
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [values[rng.integers(0, len(values), (_BLOCK, len(values)))].mean(axis=1) for _ in range(SAMPLES // _BLOCK)]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return [float(low), float(high)]


def summarise_predictions(predictions: np.ndarray, labels: np.ndarray, folds: int) -> dict:
    """What repeated cross-validation found, for metrics files.

    Args:
      predictions: int [repeats, V].
      labels: int [V].
      folds: for the record.

    Returns:
      accuracy, the mean over repeats; interval_95, by bootstrap over videos; lowest and highest, of the repeats; folds;
      repeats.
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
