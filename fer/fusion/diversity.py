# SPDX-License-Identifier: Apache-2.0
"""Diversity of an ensemble: on which videos and in which emotions its members are right or wrong."""

from typing import NamedTuple

import numpy as np

from fer.fusion.methods import Answers


class Diversity(NamedTuple):
    """The measures of Kuncheva & Whitaker 2003 for M models on V labelled videos."""

    disagreement: np.ndarray  # float64 [M, M], share of videos that two models answer differently
    # float64 [M, M], in [-1, 1]. 0 for independent models, 1 where two models fail on the same videos.
    q_statistic: np.ndarray
    either: np.ndarray  # float64 [M, M], share of videos that at least one of two models answers correctly
    oracle: float  # share of videos that at least one of all models answers correctly
    recall: np.ndarray  # float64 [M, C], share of each class that a model answers correctly, NaN for an empty class
    alone: np.ndarray  # int64 [M, C], videos of each class that no other model answers correctly


def measure_diversity(answers: Answers) -> Diversity:
    """Returns the measures for each pair of models.

    Q of two models is (ad - bc) / (ad + bc). a is the number of videos that both answer correctly, b those that only
    the first does, c those that only the second does, and d those that neither does. Q is NaN if the denominator is 0.
    """
    predictions, labels = answers.predictions, answers.labels
    right = (predictions == labels).astype(np.int64)  # [M, V]
    wrong = 1 - right
    both, neither, one = right @ right.T, wrong @ wrong.T, right @ wrong.T
    concordant, discordant = both * neither, one * one.T
    with np.errstate(invalid='ignore'):
        q_statistic = (concordant - discordant) / (concordant + discordant)
    of_class = (labels[:, np.newaxis] == np.arange(answers.num_classes)).astype(np.int64)  # [V, C]
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
