# SPDX-License-Identifier: Apache-2.0
"""Ensembles for tests and benchmarks: answers of made-up models, and late fusion as a loop over dictionaries.

The loop follows the dissertation's description (5.10): dictionaries of accuracies, predictions and logits by model, and
a loop over the models for each video.
"""

from collections.abc import Iterable

import numpy as np

from fer.fusion.methods import TIE, Answers


def make_answers(models: int, videos: int, seed: int = 0, classes: int = 7) -> Answers:
    """Returns models that are right on four of ten videos, and often wrong on the same ones."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, videos)
    size = (videos, classes)
    logits = rng.normal(size=(models, *size)) + 0.7 * rng.normal(size=size) + 1.3 * np.eye(classes)[labels]
    return Answers(logits, logits.argmax(axis=2), labels)


def loop_correct(answers: Answers, method: str, subsets: Iterable[list[int]]) -> list[int]:
    """Counts the right answers of each subset of the models by a loop over dictionaries.

    It does so for methods 1 to 4 and 4-normalised.
    """
    dictionaries = to_dictionaries(answers)
    return [loop(*dictionaries, method, subset) for subset in subsets]


def to_dictionaries(answers: Answers) -> tuple[dict, ...]:
    """Returns the answers as six dictionaries.

    The first has the label of each video. The others are by model: accuracy, right answers and videos of each class,
    and by video the prediction, logits and largest |logit|.
    """
    videos = range(len(answers.labels))
    labels = {v: int(answers.labels[v]) for v in videos}
    accuracies, within, predictions, logits, largest = {}, {}, {}, {}, {}
    for m in range(len(answers.logits)):
        predictions[m] = {v: int(answers.predictions[m, v]) for v in videos}
        logits[m] = {v: answers.logits[m, v].tolist() for v in videos}
        largest[m] = {v: max(map(abs, logits[m][v])) for v in videos}
        right = [v for v in videos if predictions[m][v] == labels[v]]
        accuracies[m] = len(right) / len(labels)
        within[m] = {k: (sum(labels[v] == k for v in right), sum(labels[v] == k for v in videos)) for k in range(7)}
    return labels, accuracies, within, predictions, logits, largest


def loop(
    labels: dict,
    accuracies: dict,
    within: dict,
    predictions: dict,
    logits: dict,
    largest: dict,
    method: str,
    subset: list[int],
) -> int:
    """Counts the right answers of one subset, from what `to_dictionaries` returns."""
    correct = 0
    lowest = 0.0 if method == '4' else 1e-6
    weights = {m: 1.0 if method == '3' else max(accuracies[m], lowest) for m in subset}
    by_class = {m: [weights[m]] * 7 for m in subset}
    added = {'4': 0, '4-normalised': 1}.get(method)  # right answers and wrong ones, to each class
    if added is not None:
        shares = {m: [(right + added) / (videos + 2 * added) for right, videos in within[m].values()] for m in subset}
        by_class = {m: [weights[m] * share**0.5 for share in shares[m]] for m in subset}
    totals = [1.0 if method == '4' else sum(by_class[m][k] for m in subset) for k in range(7)]
    total = 1.0 if method == '4' else sum(weights.values())
    for video, label in labels.items():
        scores, magnitude = [0.0] * 7, 0.0
        for m in subset:
            if method == '1':
                scores[predictions[m][video]] += weights[m]
                magnitude += weights[m]
            else:
                values = logits[m][video]
                for k in range(7):
                    scores[k] += by_class[m][k] * values[k]
                magnitude += weights[m] * largest[m][video]
        scores = [score / total for score, total in zip(scores, totals, strict=True)]
        enough = max(scores) - TIE * magnitude / total
        correct += next(k for k in range(7) if scores[k] >= enough) == label
    return correct
