# SPDX-License-Identifier: Apache-2.0
"""Late-fusion methods: 1 to 5 as numbered in dissertation 6.5, and the others that 4.4 and 6.5 mention.

Every method is linear. With X[m, v, k], the logit or the vote of model m for class k of video v, the fused score is

    score[v, k] = offset[k] + sum over m of by_class[m, k] * X[m, v, k]

There are C classes: seven in results files. Methods differ in X and in how the weights are made. There are three ways:

- A weighted mean over the models within each class, times a factor of the class. The factor is 1 except in the
  frequency methods. With a factor of 1, one model alone gives its own answers back.
- A plain sum over the models (methods 4 and 4-rescaled). One model alone may give other answers than its own.
- A regression. The offset is 0 in the other ways.

Ties go to the earlier class. Two scores tie if they differ by less than 1e-9 (TIE), relative to the mean or the sum of
the members' largest |X| on that video, weighted like the models. Votes often tie, and 0.4 + 0.2 is not 0.3 + 0.3 in
floating point.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fer.fusion.regression import regress_class_wise, regress_models_then_classes

TIE = 1e-9
NEVER_RIGHT = 1e-6  # weight of a model that was never right, so that it can still be fused alone


class Answers(NamedTuple):
    """The answers of M models to the same V videos, out of C classes."""

    logits: np.ndarray  # float64 [M, V, C]
    predictions: np.ndarray  # int [M, V], class indices
    labels: np.ndarray  # int [V], class indices, -1 where unknown
    answered: np.ndarray | None = None  # bool [M, V], whether a model answers a video, None if each answers all

    @property
    def num_classes(self) -> int:
        return self.logits.shape[2]

    def shares(self) -> np.ndarray:
        """Returns 1 where a model answers a video, else 0, float64 [M, V]."""
        return np.ones(self.predictions.shape) if self.answered is None else self.answered.astype(float)


class Weights(NamedTuple):
    """The weights in the module's formula."""

    model: np.ndarray  # float64 [M], of each model over all classes, sums to 1 in a weighted mean
    by_class: np.ndarray  # float64 [M, C]
    offset: np.ndarray  # float64 [C]


class Evidence(NamedTuple):
    """Factors that make the weights of a weighted mean or a sum. They serve every subset of the models.

    The factors of a model do not depend on other models.
    """

    model: np.ndarray  # float64 [M], above 0
    by_class: np.ndarray | None  # float64 [M, C] of a model within each class, above 0 in a mean, None if all are equal
    factor: np.ndarray  # float64 [C], above 0, by which a class's score is multiplied, equal for all models


class Method(NamedTuple):
    """A way of fusing. Either `evidence` or `learn` is set."""

    title: str
    inputs: Callable[[Answers], np.ndarray]  # X, float64 [M, V, C]
    needs: str  # what the weights are made from: 'nothing', 'accuracies' or 'labels' (of the videos themselves)
    evidence: Callable[[Answers, np.ndarray], Evidence] | None = None  # of answers and the models' accuracies [M]
    learn: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None  # of X and labels
    is_sum: bool = False  # whether the weights that `evidence` makes are summed as they are, not divided by their sum


def votes(answers: Answers) -> np.ndarray:
    """Returns 1 for each model's predicted class and 0 for the others, float64 [M, V, C]."""
    return np.eye(answers.num_classes)[answers.predictions]


def raw_logits(answers: Answers) -> np.ndarray:
    return answers.logits


def rescaled_logits(answers: Answers) -> np.ndarray:
    """Stretches each model's logits of a video to [0, 1] (6.5, Scaling Logits). Equal logits become 0.

    The dissertation does not specify the range over which it rescales. Rescaling each video keeps an answer
    independent of other videos.
    """
    lowest = answers.logits.min(axis=2, keepdims=True)
    span = answers.logits.max(axis=2, keepdims=True) - lowest
    return (answers.logits - lowest) / np.where(span == 0, 1, span)


def softmax(answers: Answers) -> np.ndarray:
    """Returns the models' class probabilities, float64 [M, V, C]."""
    powers = np.exp(answers.logits - answers.logits.max(axis=2, keepdims=True))
    return powers / powers.sum(axis=2, keepdims=True)


def equal(answers: Answers, accuracies: np.ndarray) -> Evidence:
    return Evidence(np.ones(len(answers.logits)), None, np.ones(answers.num_classes))


def by_accuracy(answers: Answers, accuracies: np.ndarray) -> Evidence:
    return Evidence(np.maximum(accuracies, NEVER_RIGHT), None, np.ones(answers.num_classes))


def by_accuracy_and_root_class_accuracy(answers: Answers, accuracies: np.ndarray) -> Evidence:
    """Weights models by accuracy times the square root of their accuracy within each class.

    The dissertation takes its class weights from Liu et al. 2018 ([47]) without a formula. Section 4.4 wants them 'to
    reflect class specific model performance', which this function does. `by_accuracy_and_root_frequency` is the other
    reading. A class without videos has no accuracy: it counts with the model's accuracy over all videos.
    """
    right, videos = count_by_class(answers)
    within = np.where(videos > 0, right / np.maximum(videos, 1), accuracies[:, np.newaxis])
    return Evidence(accuracies, np.sqrt(within), np.ones(answers.num_classes))


def by_accuracy_and_smoothed_root_class_accuracy(answers: Answers, accuracies: np.ndarray) -> Evidence:
    """Does as `by_accuracy_and_root_class_accuracy`, with one right and one wrong video added to each class.

    No weight is 0 then, so that the weights of every class form a mean.
    """
    right, videos = count_by_class(answers)
    return by_accuracy(answers, accuracies)._replace(by_class=np.sqrt((right + 1) / (videos + 2)))


def by_accuracy_and_root_frequency(answers: Answers, accuracies: np.ndarray) -> Evidence:
    """Weights models by accuracy, and classes by the square root of their inverse frequency.

    This is the other reading of section 4.4: 'include class weights to reduce imbalance in data'. The factors are equal
    for all models, so they change the answers of a single model, too. A larger factor makes a negative logit smaller.
    """
    return by_accuracy(answers, accuracies)._replace(factor=np.sqrt(inverse_frequencies(answers)))


def by_accuracy_and_frequency(answers: Answers, accuracies: np.ndarray) -> Evidence:
    """Weights models by accuracy, and classes by their inverse frequency, as if all classes had equally many videos."""
    return by_accuracy(answers, accuracies)._replace(factor=inverse_frequencies(answers))


def count_by_class(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Counts each model's right answers and all of its answers in each class, two arrays of float64 [M, C]."""
    of_class = (answers.labels[:, np.newaxis] == np.arange(answers.num_classes)).astype(float)  # [V, C]
    right = (answers.predictions == answers.labels) * answers.shares()  # [M, V]
    return right @ of_class, answers.shares() @ of_class


def inverse_frequencies(answers: Answers) -> np.ndarray:
    """Returns the mean size of a class divided by each class's size, with one video added to each, float64 [C]."""
    counts = np.bincount(answers.labels, minlength=answers.num_classes) + 1
    return counts.mean() / counts


METHODS: dict[str, Method] = {
    '1': Method('accuracy-weighted predictions', votes, 'accuracies', by_accuracy),
    '2': Method('accuracy-weighted logits', raw_logits, 'accuracies', by_accuracy),
    '3': Method('equally weighted logits', raw_logits, 'nothing', equal),
    '4': Method(
        'sum of logits times accuracy and root of class accuracy',
        raw_logits,
        'labels',
        by_accuracy_and_root_class_accuracy,
        is_sum=True,
    ),
    '5': Method(
        'linear regression of model and class weights', raw_logits, 'labels', learn=regress_models_then_classes
    ),
    'vote': Method('majority vote of predictions', votes, 'nothing', equal),
    'softmax': Method('mean of softmax probabilities', softmax, 'nothing', equal),
    '2-rescaled': Method('accuracy-weighted logits in [0, 1]', rescaled_logits, 'accuracies', by_accuracy),
    '3-rescaled': Method('equally weighted logits in [0, 1]', rescaled_logits, 'nothing', equal),
    '4-rescaled': Method(
        'sum of logits in [0, 1] times accuracy and root of class accuracy',
        rescaled_logits,
        'labels',
        by_accuracy_and_root_class_accuracy,
        is_sum=True,
    ),
    '4-normalised': Method(
        'logits weighted by accuracy and root of class accuracy',
        raw_logits,
        'labels',
        by_accuracy_and_smoothed_root_class_accuracy,
    ),
    '4-normalised-rescaled': Method(
        'logits in [0, 1] weighted by accuracy and root of class accuracy',
        rescaled_logits,
        'labels',
        by_accuracy_and_smoothed_root_class_accuracy,
    ),
    '4-frequency': Method(
        'logits weighted by accuracy and root of inverse class frequency',
        raw_logits,
        'labels',
        by_accuracy_and_root_frequency,
    ),
    'frequency': Method(
        'probabilities weighted by accuracy and inverse class frequency', softmax, 'labels', by_accuracy_and_frequency
    ),
    'per-class': Method(
        'linear regression of model weights for each class', raw_logits, 'labels', learn=regress_class_wise
    ),
}


def accuracies_of(answers: Answers) -> np.ndarray:
    """Returns each model's share of right predictions among those it made, float64 [M]. All videos must have labels."""
    right = (answers.predictions == answers.labels) * answers.shares()
    return right.sum(axis=1) / np.maximum(answers.shares().sum(axis=1), 1)


def take_videos(answers: Answers, videos: np.ndarray) -> Answers:
    """Returns the answers to some of the videos, given as a mask or as indices."""
    answered = None if answers.answered is None else answers.answered[:, videos]
    return Answers(answers.logits[:, videos], answers.predictions[:, videos], answers.labels[videos], answered)


def take_models(answers: Answers, models: Sequence[int]) -> Answers:
    """Returns the answers of some models, in the order given. A model that is listed twice counts twice."""
    answered = None if answers.answered is None else answers.answered[list(models)]
    return Answers(answers.logits[list(models)], answers.predictions[list(models)], answers.labels, answered)


def weigh_classes(evidence: Evidence) -> np.ndarray:
    """Returns each model's factor within each class, without the factor of the class, float64 [M, C]."""
    within = np.ones_like(evidence.factor) if evidence.by_class is None else evidence.by_class
    return evidence.model[:, np.newaxis] * within


def _make_weights(evidence: Evidence, *, is_sum: bool) -> Weights:
    """Returns the weights of a sum, or of a mean, whose sum in a class is 1 times the factor of the class."""
    model, by_class = evidence.model, weigh_classes(evidence)
    if not is_sum:
        model, by_class = model / model.sum(), by_class / by_class.sum(axis=0)
    return Weights(model, by_class * evidence.factor, np.zeros_like(evidence.factor))


def fit(method: Method, answers: Answers, accuracies: np.ndarray | None = None) -> Weights:
    """Makes a method's weights from answers to labelled videos.

    Args:
      method: a value of METHODS.
      answers: of M models. Labels are used if `method.needs` them.
      accuracies: float [M], of the models. None takes those on these videos.
    """
    if method.learn is not None:
        by_class, offset = method.learn(_inputs(method, answers), answers.labels)
        return Weights(np.abs(by_class).mean(axis=1), by_class, offset)
    assert method.evidence is not None
    if accuracies is None:
        accuracies = np.ones(len(answers.logits)) if method.needs == 'nothing' else accuracies_of(answers)
    return _make_weights(method.evidence(answers, accuracies), is_sum=method.is_sum)


def apply(method: Method, answers: Answers, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Fuses answers.

    If a model does not answer a video, the others take over its weight. In a sum they do so equally in all classes, so
    the video gets the answer of the sum over the models that answer it.

    Returns:
      Fused scores, float64 [V, C], and predictions, int [V].
    """
    inputs = _inputs(method, answers)
    scores = np.einsum('mvk,mk->vk', inputs, weights.by_class)
    if answers.answered is not None:
        size = weights.model[:, np.newaxis] if method.is_sum else np.abs(weights.by_class)
        present = answers.shares().T @ size  # [V, 1] or [V, C]
        scores = scores * size.sum(axis=0) / np.where(present > 0, present, 1)
    scores = scores + weights.offset
    return scores, decide(scores, weights.model @ np.abs(inputs).max(axis=2))


def _inputs(method: Method, answers: Answers) -> np.ndarray:
    """Returns X, float64 [M, V, C]. It is 0 where a model does not answer."""
    inputs = method.inputs(answers)
    return inputs if answers.answered is None else inputs * answers.shares()[..., np.newaxis]


def decide(scores: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Returns the first class whose score ties with the largest, int [...].

    Args:
      scores: float [..., C].
      magnitude: float [...], the size of the terms that scores are sums of. Differences up to TIE x magnitude are ties.
    """
    largest = scores.max(axis=-1, keepdims=True)
    return (scores >= largest - TIE * magnitude[..., np.newaxis]).argmax(axis=-1)
