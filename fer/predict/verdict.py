# SPDX-License-Identifier: Apache-2.0
"""One answer from several networks, as calibrated probabilities.

The networks' logits are fused as `fusion.py` fuses results files, so that the answer is the same. Weights that a method
needs come from the members' own results of validation. Probabilities follow from the fused scores.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import softmax as to_probabilities

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.fusion.fuse import check_labels
from fer.fusion.members import read_members
from fer.fusion.methods import METHODS, Answers, Method, Weights, apply, fit, softmax, votes
from fer.predict.members import Member
from fer.results.calibration import fit_temperature

UNCERTAIN = 'uncertain'


class Fusion(NamedTuple):
    """A way to fuse the members' logits."""

    method: str  # a key of METHODS
    weights: Weights
    temperatures: np.ndarray  # float [M], of the members
    temperature: float | None  # of the fused scores, None if it is not known and follows from the members'
    temperature_from: str

    def temperature_of(self, answered: np.ndarray) -> np.ndarray:
        """Returns the temperature of fused scores, float [V], given which members answer, bool [M, V]."""
        if self.temperature is not None and answered.all():
            return np.full(answered.shape[1], self.temperature)
        size = np.abs(self.weights.model)[:, np.newaxis] * answered
        total = np.maximum(size.sum(axis=0), 1e-12)
        return np.where(answered.any(axis=0), (size * self.temperatures[:, np.newaxis]).sum(axis=0) / total, 1.0)

    def fuse(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fuses answers. Where some members do not answer, the others take over their weight.

        Args:
          logits: float [M, V, 7], NaN where a member does not answer.

        Returns:
          Scores as in the results file of `fusion.py`, float64 [V, 7], and probabilities, float64 [V, 7]. Both are NaN
          where no member answers.
        """
        answered = ~np.isnan(logits).any(axis=2)
        known = np.where(answered[..., np.newaxis], logits, 0.0).astype(np.float64)
        answers = Answers(known, known.argmax(axis=2), np.full(logits.shape[1], -1), answered)
        scores, _ = apply(METHODS[self.method], answers, self.weights)
        if METHODS[self.method].inputs in (softmax, votes):  # these are shares already
            positive = np.maximum(scores, 1e-12)
            probabilities = positive / positive.sum(axis=1, keepdims=True)
        else:
            probabilities = to_probabilities(scores / self.temperature_of(answered)[:, np.newaxis], axis=1)
        silent = ~answered.any(axis=0)
        scores[silent], probabilities[silent] = np.nan, np.nan
        return scores, probabilities


def make_fusion(method: str, members: Sequence[Member]) -> Fusion:
    """Makes the weights of a method and the temperature of its scores.

    Raises:
      InputError: the method is unknown, or it needs answers to labelled videos that not all members have.
    """
    if method not in METHODS:
        raise InputError(f'--method={method}: expected one of {", ".join(METHODS)}')
    chosen = METHODS[method]
    temperatures = np.array([member.temperature for member in members])
    origins = [f'{member.name} {member.temperature_from}' for member in members]
    without = [member.name for member in members if member.validation is None]
    if chosen.needs == 'nothing':
        answers = Answers(np.zeros((len(members), 1, 7)), np.zeros((len(members), 1), int), np.array([-1]))
        weights = fit(chosen, answers, np.ones(len(members)))
        if len(members) == 1:
            return Fusion(method, weights, temperatures, members[0].temperature, origins[0])
        fitted = None if without else _fit_temperature(chosen, weights, members)
        origin = f'the mean over the members: {"; ".join(origins)}'
        return Fusion(method, weights, temperatures, fitted, 'the validation of the members' if fitted else origin)
    if without:
        usable = ', '.join(name for name, one in METHODS.items() if one.needs == 'nothing')
        raise InputError(
            f'--method={method}: its weights need answers to labelled videos, which {without[0]} does not have; '
            f'expected one of {usable}, or runs with results of validation'
        )
    source = read_members([str(member.validation) for member in members], '--members')
    check_labels(source, chosen, None)
    weights = fit(chosen, source.answers)
    return Fusion(
        method, weights, temperatures, _fit_temperature(chosen, weights, members), 'the validation of the members'
    )


def _fit_temperature(method: Method, weights: Weights, members: Sequence[Member]) -> float | None:
    """Returns the temperature of the fused scores of validation, None if members were validated on other videos."""
    try:
        source = read_members([str(member.validation) for member in members], '--members')
    except InputError:
        return None
    scores, _ = apply(method, source.answers, weights)
    return fit_temperature(scores, source.labels)


def decide(probabilities: np.ndarray | None, threshold: float) -> str | None:
    """Returns the most probable emotion, UNCERTAIN if its probability is below the threshold, None without an answer.

    Args:
      probabilities: float [7], None or NaN without an answer.
      threshold: in [0, 1].
    """
    if probabilities is None or np.isnan(probabilities).any():
        return None
    top = int(np.argmax(probabilities))
    return EMOTIONS[top] if probabilities[top] >= threshold else UNCERTAIN


def name_probabilities(probabilities: np.ndarray | None) -> dict[str, float] | None:
    """Returns {emotion: probability}, rounded to six digits, None without an answer."""
    if probabilities is None or np.isnan(probabilities).any():
        return None
    return {name: round(float(value), 6) for name, value in zip(EMOTIONS, probabilities, strict=True)}
