"""Late-fusion methods: 1 to 5 as numbered in dissertation 6.5, and those that 4.4 and 6.5 name besides.

Every method is linear. With X[m, v, k] what model m says of class k of video v (its logits, or its vote), the fused
score is

    score[v, k] = offset[k] + sum over m of by_class[m, k] * X[m, v, k]

and methods differ in X and in where the weights come from. For all but the regressions they are a weighted mean over
the models, within each class, so that one model alone gives itself back, and a fused file can be fused again.

Ties: classes whose scores differ by less than TIE of what the members say (the mean of their largest |X| on that
video, weighted like the models) are equal, and the first of them in class order is the answer. Votes often tie, and
0.4 + 0.2 is not 0.3 + 0.3 in floating point.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fer.emotions import NUM_CLASSES
from fer.fusion.regression import regress_class_wise, regress_models_then_classes

TIE = 1e-9
NEVER_RIGHT = 1e-6  # the weight of a model that was never right, so that it alone still is itself


class Answers(NamedTuple):
    """What M models say about the same V videos."""

    logits: np.ndarray  # float64 [M, V, 7]
    predictions: np.ndarray  # int [M, V], class indices
    labels: np.ndarray  # int [V], class indices, -1 where unknown
    answered: np.ndarray | None = None  # bool [M, V], which of them a model answers; None where it is all

    def shares(self) -> np.ndarray:
        """float64 [M, V]: 1 where a model answers a video, else 0."""
        return np.ones(self.predictions.shape) if self.answered is None else self.answered.astype(float)


class Weights(NamedTuple):
    """Weights ready for use; see the module's formula."""

    model: np.ndarray  # float64 [M], what each model weighs over all classes; sums to 1 in a weighted mean
    by_class: np.ndarray  # float64 [M, 7]
    offset: np.ndarray  # float64 [7]


class Evidence(NamedTuple):
    """What a weighted mean's weights are made of, one model apart from another: it serves every subset of them."""

    model: np.ndarray  # float64 [M], more than 0
    by_class: np.ndarray | None  # float64 [M, 7], more than 0, a model's standing within each class; None: the same
    factor: np.ndarray  # float64 [7], more than 0, multiplies a class's score whatever the model


class Method(NamedTuple):
    """One way of fusing. Either `evidence` or `learn` is set."""

    title: str
    inputs: Callable[[Answers], np.ndarray]  # X, float64 [M, V, 7]
    needs: str  # what weights are made from: 'nothing', 'accuracies' or 'labels' (of the videos themselves)
    evidence: Callable[[Answers, np.ndarray], Evidence] | None = None  # of answers and the models' accuracies [M]
    learn: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None  # of X and labels


def votes(answers: Answers) -> np.ndarray:
    """1 for each model's predicted class, 0 for the others."""
    return np.eye(NUM_CLASSES)[answers.predictions]


def raw_logits(answers: Answers) -> np.ndarray:
    return answers.logits


def rescaled_logits(answers: Answers) -> np.ndarray:
    """Each video's seven logits of each model stretched to [0, 1] (6.5, Scaling Logits); all 0 where they are equal.

    The dissertation does not say over what it rescales; over a video, an answer does not depend on other videos.
    """
    lowest = answers.logits.min(axis=2, keepdims=True)
    span = answers.logits.max(axis=2, keepdims=True) - lowest
    return (answers.logits - lowest) / np.where(span == 0, 1, span)


def softmax(answers: Answers) -> np.ndarray:
    """The models' class probabilities."""
    powers = np.exp(answers.logits - answers.logits.max(axis=2, keepdims=True))
    return powers / powers.sum(axis=2, keepdims=True)


def equal(answers: Answers, accuracies: np.ndarray) -> Evidence:
    return Evidence(np.ones(len(answers.logits)), None, np.ones(NUM_CLASSES))


def by_accuracy(answers: Answers, accuracies: np.ndarray) -> Evidence:
    return Evidence(np.maximum(accuracies, NEVER_RIGHT), None, np.ones(NUM_CLASSES))


def by_accuracy_and_root_class_accuracy(answers: Answers, accuracies: np.ndarray) -> Evidence:
    """Model accuracy times the square root of the model's accuracy within each class.

    The dissertation takes 'class weights' from Liu et al. 2018 ([47]), without their formula. 4.4 wants them 'to
    reflect class specific model performance', which is this; `by_accuracy_and_root_frequency` is the other reading.
    One right and one wrong video are added to each class, so that no model is silenced where few videos are.
    """
    return by_accuracy(answers, accuracies)._replace(by_class=np.sqrt(class_accuracies(answers)))


def by_accuracy_and_root_frequency(answers: Answers, accuracies: np.ndarray) -> Evidence:
    """Model accuracy, and a factor for every model alike: the square root of a class's inverse frequency.

    'Include class weights to reduce imbalance in data' (4.4). It changes the answers of one model alone, too; and a
    larger factor makes a negative logit smaller.
    """
    return by_accuracy(answers, accuracies)._replace(factor=np.sqrt(inverse_frequencies(answers.labels)))


def by_accuracy_and_frequency(answers: Answers, accuracies: np.ndarray) -> Evidence:
    """Model accuracy, and each class's inverse frequency for every model alike: classes as if equally many."""
    return by_accuracy(answers, accuracies)._replace(factor=inverse_frequencies(answers.labels))


def class_accuracies(answers: Answers) -> np.ndarray:
    """float64 [M, 7], in (0, 1): each model's accuracy in each class, with one right and one wrong video added."""
    of_class = answers.labels == np.arange(NUM_CLASSES)[:, np.newaxis]  # [7, V]
    right = (answers.predictions == answers.labels) * answers.shares()  # [M, V]
    return (right @ of_class.T.astype(float) + 1) / (answers.shares() @ of_class.T.astype(float) + 2)


def inverse_frequencies(labels: np.ndarray) -> np.ndarray:
    """float64 [7]: videos in a class of average size over those in this one, with one video added to each class."""
    counts = np.bincount(labels, minlength=NUM_CLASSES) + 1
    return counts.mean() / counts


METHODS: dict[str, Method] = {
    '1': Method('accuracy-weighted predictions', votes, 'accuracies', by_accuracy),
    '2': Method('accuracy-weighted logits', raw_logits, 'accuracies', by_accuracy),
    '3': Method('equally weighted logits', raw_logits, 'nothing', equal),
    '4': Method(
        'logits weighted by accuracy and root of class accuracy',
        raw_logits,
        'labels',
        by_accuracy_and_root_class_accuracy,
    ),
    '5': Method(
        'linear regression of model and class weights', raw_logits, 'labels', learn=regress_models_then_classes
    ),
    'vote': Method('majority vote of predictions', votes, 'nothing', equal),
    'softmax': Method('mean of softmax probabilities', softmax, 'nothing', equal),
    '2-rescaled': Method('accuracy-weighted logits in [0, 1]', rescaled_logits, 'accuracies', by_accuracy),
    '3-rescaled': Method('equally weighted logits in [0, 1]', rescaled_logits, 'nothing', equal),
    '4-rescaled': Method(
        'logits in [0, 1] weighted by accuracy and root of class accuracy',
        rescaled_logits,
        'labels',
        by_accuracy_and_root_class_accuracy,
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
    """float64 [M]: each model's share of right predictions, of those it made; every video has a label."""
    right = (answers.predictions == answers.labels) * answers.shares()
    return right.sum(axis=1) / np.maximum(answers.shares().sum(axis=1), 1)


def take_videos(answers: Answers, videos: np.ndarray) -> Answers:
    """The same models on some of the videos: a mask or indices."""
    answered = None if answers.answered is None else answers.answered[:, videos]
    return Answers(answers.logits[:, videos], answers.predictions[:, videos], answers.labels[videos], answered)


def take_models(answers: Answers, models: Sequence[int]) -> Answers:
    """Some of the models, in the order given; one that is named twice counts twice."""
    answered = None if answers.answered is None else answers.answered[list(models)]
    return Answers(answers.logits[list(models)], answers.predictions[list(models)], answers.labels, answered)


def weighted_mean(evidence: Evidence) -> Weights:
    """Weights that sum to 1 over the models, within each class, times the class's factor."""
    by_class = np.broadcast_to(evidence.model[:, np.newaxis], (len(evidence.model), NUM_CLASSES))
    if evidence.by_class is not None:
        by_class = by_class * evidence.by_class
    return Weights(
        evidence.model / evidence.model.sum(),
        by_class / by_class.sum(axis=0) * evidence.factor,
        np.zeros(NUM_CLASSES),
    )


def fit(method: Method, answers: Answers, accuracies: np.ndarray | None = None) -> Weights:
    """A method's weights from answers to labelled videos.

    Args:
      method: a value of METHODS.
      answers: of M models; labels are looked at as far as `method.needs` them.
      accuracies: float [M], instead of those on these videos.
    """
    if method.learn is not None:
        by_class, offset = method.learn(_inputs(method, answers), answers.labels)
        return Weights(np.abs(by_class).mean(axis=1), by_class, offset)
    assert method.evidence is not None
    if accuracies is None:
        accuracies = np.ones(len(answers.logits)) if method.needs == 'nothing' else accuracies_of(answers)
    return weighted_mean(method.evidence(answers, accuracies))


def apply(method: Method, answers: Answers, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Fuses answers.

    Where a model does not answer a video, the others do, with its weight shared among them.

    Returns:
      Fused scores, float64 [V, 7], and predictions, int [V].
    """
    inputs = _inputs(method, answers)
    scores = np.einsum('mvk,mk->vk', inputs, weights.by_class)
    if answers.answered is not None:
        size = np.abs(weights.by_class)
        present = np.einsum('mv,mk->vk', answers.shares(), size)
        scores = scores * size.sum(axis=0) / np.where(present > 0, present, 1)
    scores = scores + weights.offset
    return scores, decide(scores, weights.model @ np.abs(inputs).max(axis=2))


def _inputs(method: Method, answers: Answers) -> np.ndarray:
    """X, float64 [M, V, 7]; 0 where a model does not answer."""
    inputs = method.inputs(answers)
    return inputs if answers.answered is None else inputs * answers.shares()[..., np.newaxis]


def decide(scores: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Predictions, int [...]: the first class whose score is the largest but for TIE of the magnitude.

    Args:
      scores: float [..., 7].
      magnitude: float [...], of what the scores are sums of.
    """
    largest = scores.max(axis=-1, keepdims=True)
    return (scores >= largest - TIE * magnitude[..., np.newaxis]).argmax(axis=-1)
