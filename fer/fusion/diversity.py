"""What the members of an ensemble bring: diversity of right and wrong answers, and of emotions."""

from typing import NamedTuple

import numpy as np

from fer.emotions import NUM_CLASSES
from fer.fusion.methods import Answers


class Diversity(NamedTuple):
    """Of M models on V labelled videos; the measures of Kuncheva & Whitaker 2003."""

    disagreement: np.ndarray  # float64 [M, M], share of videos that two models answer differently
    q_statistic: (
        np.ndarray
    )  # float64 [M, M], in [-1, 1]: 0 for independent models, 1 where both fail on the same videos
    either: np.ndarray  # float64 [M, M], share of videos that one of the two, or both, have right
    oracle: float  # share of videos that any model has right
    recall: np.ndarray  # float64 [M, 7], share of each class's videos that a model has right; NaN for a class without
    alone: np.ndarray  # int64 [M, 7], videos of each class that a model has right and no other


def measure_diversity(answers: Answers) -> Diversity:
    """Compares every two models.

    Q of two models is (both right x both wrong - first right x second right) / (the same with +), each factor a number
    of videos with that outcome alone; NaN where the denominator is 0.
    """
    predictions, labels = answers.predictions, answers.labels
    right = (predictions == labels).astype(np.int64)  # [M, V]
    wrong = 1 - right
    both, neither, one = right @ right.T, wrong @ wrong.T, right @ wrong.T
    concordant, discordant = both * neither, one * one.T
    with np.errstate(invalid='ignore'):
        q_statistic = (concordant - discordant) / (concordant + discordant)
    of_class = (labels[:, np.newaxis] == np.arange(NUM_CLASSES)).astype(np.int64)  # [V, 7]
    support = of_class.sum(axis=0)
    alone = right * (right.sum(axis=0) == 1)
    return Diversity(
        np.array([(predictions != other).mean(axis=1) for other in predictions]),
        q_statistic,
        1 - neither / len(labels),
        float(right.any(axis=0).mean()),
        right @ of_class / np.where(support, support, np.nan),
        alone @ of_class,
    )
