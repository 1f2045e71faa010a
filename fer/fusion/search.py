# SPDX-License-Identifier: Apache-2.0
"""Search for the best ensemble: every subset of up to 20 models, or greedy choice with replacement among more.

The score of the best ensemble on the videos that it was chosen on is optimistic, because it is the largest of many
noisy numbers. `nested_predictions` therefore searches on some folds and predicts the others.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np

from fer.cpus import count_cpus
from fer.fusion.methods import (
    METHODS,
    TIE,
    Answers,
    Evidence,
    Method,
    Weights,
    accuracies_of,
    apply,
    decide,
    fit,
    take_models,
    weigh_classes,
)
from fer.fusion.validation import cross_validated

MOST_EXHAUSTIVE = 20  # models: 2^20 subsets
GREEDY_ROUNDS = 30  # members of a greedy ensemble at most, repetitions counted

# Subsets are sums of two halves. The half in the inner loops has at most this many models, so that its tables stay in a
# core's cache, and 16 bits number its 1024 subsets.
_INNER_ADDITIVE = 10
_INNER_RATIO = 8
_VIDEOS_PER_BYTE = 255  # videos whose right answers can be counted in one byte


class Ensemble(NamedTuple):
    """The result of a search."""

    method: str  # key of METHODS
    models: list[int]  # indices in ascending order. A model that is chosen n times is listed n times
    correct: int  # right answers on the videos of the search, an optimistic number
    tried: int  # number of candidates


def search(answers: Answers, methods: Sequence[str], kind: str) -> Ensemble:
    """Returns the ensemble with the most right answers.

    Ties go to the fewest members, then to the method that is listed first, then to the models that are listed first.

    Args:
      answers: of M models to V labelled videos.
      methods: keys of METHODS that are weighted means or sums.
      kind: `exhaustive` for every subset (M <= MOST_EXHAUSTIVE), `greedy` for forward selection with replacement
        (Caruana et al. 2004), or `single` for ensembles of one model.
    """
    find = {'exhaustive': _best_subset, 'greedy': _best_greedy, 'single': _best_single}[kind]
    found = [find(answers, name) for name in methods]
    best = max(found, key=lambda ensemble: (ensemble.correct, -len(ensemble.models)))
    return best._replace(tried=sum(ensemble.tried for ensemble in found))


def nested_predictions(
    answers: Answers, methods: Sequence[str], kind: str, folds: int, repeats: int, seed: int
) -> np.ndarray:
    """Predicts each video by the ensemble that a search on the other folds finds and weights, int [repeats, V]."""

    def search_and_predict(train: Answers, test: Answers) -> np.ndarray:
        ensemble = search(train, methods, kind)
        return predict(ensemble, test, fit_ensemble(ensemble, train))[1]

    return cross_validated(answers, search_and_predict, folds, repeats, seed)


def fit_ensemble(ensemble: Ensemble, answers: Answers) -> Weights:
    """Makes the weights of an ensemble's members from the answers of all M models."""
    return fit(METHODS[ensemble.method], take_models(answers, ensemble.models))


def predict(ensemble: Ensemble, answers: Answers, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Returns fused scores, float64 [V, C], and predictions, int [V], from the answers of all M models."""
    return apply(METHODS[ensemble.method], take_models(answers, ensemble.models), weights)


def count_correct(answers: Answers, method: str) -> np.ndarray:
    """Counts the right answers of each subset of the models.

    Args:
      answers: of M models to labelled videos.
      method: a key of METHODS whose method is a weighted mean or a sum.

    Returns:
      int32 [2^M]. Entry s counts for the models m whose bit 2^m is set in s. The empty subset has 0 right answers.
    """
    inputs, evidence = _prepare(answers, METHODS[method])
    is_additive = METHODS[method].is_sum or evidence.by_class is None
    count = _count_additive if is_additive else _count_ratio
    correct = count(inputs, evidence, answers.labels)
    correct[0] = 0
    return correct


def _prepare(answers: Answers, method: Method) -> tuple[np.ndarray, Evidence]:
    assert method.evidence is not None, method.title
    return method.inputs(answers), method.evidence(answers, accuracies_of(answers))


def _best_subset(answers: Answers, name: str) -> Ensemble:
    correct = count_correct(answers, name)
    models = len(answers.logits)
    subsets = np.flatnonzero(correct == correct[1:].max())
    subsets = subsets[subsets > 0]
    sizes = _membership(subsets, models).sum(axis=1)
    best = int(subsets[sizes.argmin()])  # smallest subset, then lowest number: the models listed first
    return Ensemble(name, [m for m in range(models) if best >> m & 1], int(correct[best]), len(correct) - 1)


def _best_single(answers: Answers, name: str) -> Ensemble:
    correct = [_score(answers, name, [model]).correct for model in range(len(answers.logits))]
    best = int(np.argmax(correct))
    return Ensemble(name, [best], correct[best], len(correct))


def _score(answers: Answers, name: str, models: list[int]) -> Ensemble:
    ensemble = Ensemble(name, models, 0, 1)
    predictions = predict(ensemble, answers, fit_ensemble(ensemble, answers))[1]
    return ensemble._replace(correct=int((predictions == answers.labels).sum()))


def _best_greedy(answers: Answers, name: str) -> Ensemble:
    """Adds the model that helps most, GREEDY_ROUNDS times, and returns the best ensemble on the way.

    Ties go to the smallest ensemble.
    """
    inputs, evidence = _prepare(answers, METHODS[name])
    models, is_sum = len(inputs), METHODS[name].is_sum
    by_class = weigh_classes(evidence)
    numerators = inputs * (by_class * evidence.factor)[:, np.newaxis]  # [M, V, C]
    magnitudes = evidence.model[:, np.newaxis] * np.abs(inputs).max(axis=2)  # [M, V]
    numerator, magnitude, weight, class_weight = np.zeros_like(numerators[0]), 0.0, 0.0, np.zeros_like(evidence.factor)
    chosen: list[int] = []
    best: tuple[int, list[int]] = (-1, [])
    for _ in range(GREEDY_ROUNDS):
        scores, scale = numerator + numerators, magnitude + magnitudes
        if not is_sum:
            scores = scores / (class_weight + by_class)[:, np.newaxis]
            scale = scale / (weight + evidence.model)[:, np.newaxis]
        correct = (decide(scores, scale) == answers.labels).sum(axis=1)
        added = int(correct.argmax())
        chosen.append(added)
        if correct[added] > best[0]:
            best = (int(correct[added]), sorted(chosen))
        numerator = numerator + numerators[added]
        magnitude = magnitude + magnitudes[added]
        weight, class_weight = weight + evidence.model[added], class_weight + by_class[added]
    return Ensemble(name, best[1], best[0], GREEDY_ROUNDS * models)


def _count_additive(inputs: np.ndarray, evidence: Evidence, labels: np.ndarray) -> np.ndarray:
    """Counts right answers for methods whose sums need no division: they are not means, or equal means in each class.

    A video is right if C - 1 sums over the members are all below 0: the leads of the other classes over the true class.
    Each sum has an inner and an outer half, and inner + outer < 0 means inner < -outer. So the inner sums of a (video,
    class) are sorted once. After that, only their places (16 bits each) are compared with the place of each -outer.
    """
    contributions = inputs * (weigh_classes(evidence) * evidence.factor)[:, np.newaxis]
    lead, strict = _leads(contributions, evidence.model[:, np.newaxis] * np.abs(inputs).max(axis=2), labels)
    models, videos, others = len(inputs), len(labels), len(lead[0])
    inner_models = min(models, _INNER_ADDITIVE)
    inner = _subset_sums(lead[:inner_models].reshape(inner_models, -1))  # [inner, (C - 1) V]
    outer = -_subset_sums(lead[inner_models:].reshape(models - inner_models, others * videos))  # [outer, (C - 1) V]
    place = np.empty((others * videos, len(inner)), np.int16)
    bound = np.empty((len(outer), others * videos), np.int16)
    for column in range(others * videos):
        ascending = np.sort(inner[:, column])
        place[column] = np.searchsorted(ascending, inner[:, column])
        side: Literal['left', 'right'] = 'left' if strict.flat[column] else 'right'  # below, or at most
        bound[:, column] = np.searchsorted(ascending, outer[:, column], side)
    places = place.reshape(others, videos, -1)
    bounds = bound.reshape(-1, others, videos, 1)

    def count(block: int) -> np.ndarray:
        right = places[0] < bounds[block, 0]  # [V, inner]
        for other in range(1, others):
            right &= places[other] < bounds[block, other]
        return _count_videos(right)

    return _in_threads(count, len(outer))


def _leads(contributions: np.ndarray, magnitudes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns how far each other class leads the true class, with the margin of a tie.

    Args:
      contributions: float64 [M, V, C], what each model adds to each score.
      magnitudes: float64 [M, V], what each model adds to the measure of ties.
      labels: int [V].

    Returns:
      Leads, float64 [M, C - 1, V], and bool [C - 1, V]. It is True if the sum of leads over the members must be below
      0, because the class would win a tie against the true class. Otherwise the sum may be 0.
    """
    others = np.arange(contributions.shape[2] - 1)[:, np.newaxis]
    others = others + (others >= labels)  # [C - 1, V]
    strict = others < labels
    videos = np.arange(len(labels))
    lead = contributions[:, videos, others] - contributions[:, videos, labels][:, np.newaxis]
    return lead + np.where(strict, TIE, -TIE) * magnitudes[:, np.newaxis], strict


def _count_ratio(inputs: np.ndarray, evidence: Evidence, labels: np.ndarray) -> np.ndarray:
    """Counts right answers for means that weight models differently in each class.

    Each score is then a sum divided by a sum of weights. The leading class depends on the sums of weights, so nothing
    can be sorted in advance. Scores are computed for the videos of one class at a time.
    """
    by_class = weigh_classes(evidence)
    order = np.argsort(labels, kind='stable')
    edges = np.searchsorted(labels[order], np.arange(inputs.shape[2] + 1))
    numerators = (inputs * (by_class * evidence.factor)[:, np.newaxis])[:, order].transpose(0, 2, 1)  # [M, C, V]
    magnitudes = TIE * evidence.model[:, np.newaxis] * np.abs(inputs).max(axis=2)[:, order]  # [M, V]
    inner_models = min(len(inputs), _INNER_RATIO)

    def halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns inner sums [..., inner], contiguous for the inner loops, and outer sums [outer, ..., 1]."""
        inner, outer = _subset_sums(values[:inner_models]), _subset_sums(values[inner_models:])
        return np.ascontiguousarray(np.moveaxis(inner, 0, -1)), outer[..., np.newaxis]

    score_inner, score_outer = halves(numerators)
    tie_inner, tie_outer = halves(magnitudes)
    class_inner, class_outer = halves(by_class)
    weight_inner, weight_outer = halves(evidence.model)

    def count(block: int) -> np.ndarray:
        # The weights of the empty subset are 0. Its count is overwritten later.
        with np.errstate(divide='ignore', invalid='ignore'):
            per_class, per_model = 1 / (class_inner + class_outer[block]), 1 / (weight_inner + weight_outer[block])
            total = np.zeros(score_inner.shape[-1], np.int32)
            for label in range(inputs.shape[2]):
                rows = slice(edges[label], edges[label + 1])
                true = (score_inner[label, rows] + score_outer[block, label, rows]) * per_class[label]
                tie = (tie_inner[rows] + tie_outer[block, rows]) * per_model
                below, up_to = true - tie, true + tie
                right = np.ones(true.shape, bool)
                for other in range(inputs.shape[2]):
                    if other == label:
                        continue
                    score = score_inner[other, rows] + score_outer[block, other, rows]
                    score *= per_class[other]
                    right &= score < below if other < label else score <= up_to
                total += _count_videos(right)
        return total

    return _in_threads(count, len(score_outer))


def _membership(subsets: np.ndarray, models: int) -> np.ndarray:
    """Returns which models each subset has, bool [subsets, models]."""
    return (subsets[:, np.newaxis] >> np.arange(models) & 1).astype(bool)


def _subset_sums(values: np.ndarray) -> np.ndarray:
    """Sums over every subset of the first axis: [M, ...] to [2^M, ...], numbered as in `count_correct`."""
    sums = np.zeros((1, *values.shape[1:]))
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums


def _count_videos(right: np.ndarray) -> np.ndarray:
    """Counts the true rows of a bool array [V, S] by adding bytes, int32 [S]."""
    total = np.zeros(right.shape[1], np.int32)
    for first in range(0, len(right), _VIDEOS_PER_BYTE):
        total += right[first : first + _VIDEOS_PER_BYTE].view(np.uint8).sum(axis=0, dtype=np.uint8)
    return total


def _in_threads(count: Callable[[int], np.ndarray], blocks: int) -> np.ndarray:
    """Concatenates `count(block)` of all blocks. NumPy releases the interpreter lock in its loops."""
    cores = count_cpus()
    if blocks < 2 * cores:
        return np.concatenate([count(block) for block in range(blocks)])
    with ThreadPoolExecutor(cores) as pool:
        return np.concatenate(list(pool.map(count, range(blocks))))
