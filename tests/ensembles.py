# SPDX-License-Identifier: Apache-2.0
"""Ensembles for tests and benchmarks: answers of made-up models, and late fusion as a loop over dictionaries.

The loop follows the dissertation's description (5.10): dictionaries of accuracies, predictions and logits by model, and
a loop over the models for each video.
"""

from collections.abc import Iterable

import numpy as np

from fer.fusion.methods import TIE, Answers


def make_answers(models: int, videos: int, seed: int = 0) -> Answers:
    """Returns models that are right on four of ten videos, and often wrong on the same ones."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, videos)
    logits = rng.normal(size=(models, videos, 7)) + 0.7 * rng.normal(size=(videos, 7)) + 1.3 * np.eye(7)[labels]
    return Answers(logits, logits.argmax(axis=2), labels)


def loop_correct(answers: Answers, method: str, subsets: Iterable[list[int]]) -> list[int]:
    """Counts the right answers of each subset of the models by a loop over dictionaries, for methods 1 to 4."""
    dictionaries = to_dictionaries(answers)
    return [loop(*dictionaries, method, subset) for subset in subsets]


def to_dictionaries(answers: Answers) -> tuple[dict, ...]:
    """Returns the answers as six dictionaries.

    The first has the label of each video. The others are by model: accuracy, accuracy in each class, and by video the
    prediction, logits and largest |logit|.
    """
    videos = range(len(answers.labels))
    labels = {v: int(answers.labels[v]) for v in videos}
    accuracies, within, predictions, logits, largest = {}, {}, {}, {}, {}
    for m in range(len(answers.logits)):
        predictions[m] = {v: int(answers.predictions[m, v]) for v in videos}
        logits[m] = {v: answers.logits[m, v].tolist() for v in videos}
        largest[m] = {v: max(map(abs, logits[m][v])) for v in videos}
        right = [v for v in videos if predictions[m][v] == labels[v]]
        accuracies[m] = max(len(right) / len(labels), 1e-6)
        within[m] = {
            k: (sum(labels[v] == k for v in right) + 1) / (sum(labels[v] == k for v in videos) + 2) for k in range(7)
        }
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
    weights = {m: 1.0 if method == '3' else accuracies[m] for m in subset}
    by_class = {m: [weights[m]] * 7 for m in subset}
    if method == '4':
        by_class = {m: [weights[m] * within[m][k] ** 0.5 for k in range(7)] for m in subset}
    totals = [sum(by_class[m][k] for m in subset) for k in range(7)]
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
        enough = max(scores) - TIE * magnitude / sum(weights.values())
        correct += next(k for k in range(7) if scores[k] >= enough) == label
    return correct
