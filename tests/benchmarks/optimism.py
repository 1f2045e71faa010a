# SPDX-License-Identifier: Apache-2.0
"""Measures how optimistic the score of an ensemble is on the videos that it was chosen on.

Run it with `python -m tests.benchmarks.optimism`. It simulates studies like the dissertation's. Each has some models of
35 to 47% accuracy, 383 labelled videos to choose an ensemble on, a test set of 653 videos as in AFEW, and enough fresh
videos to measure the ensemble's true accuracy. Ensembles are chosen by trial and error as in 6.5, by exhaustive
search, and by greedy search. Each is scored in three ways: on the 383 videos themselves (optimistic), by nested
cross-validation within them, and on the fresh videos.

A model's logits are the sum of its skill, added to the true class, and of three disturbances: one that all models
share, one that its family shares (the same network trained in another way), and one of its own. Skills are set so that
the models' true accuracies spread evenly from 35 to 47%, and the shares so that the best ensembles reach the fifties,
as in 6.5.
"""

import math
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
from absl import flags

from fer import cli
from fer.fusion.methods import METHODS, Answers, apply, fit, take_models
from fer.fusion.search import Ensemble, fit_ensemble, predict, search
from fer.fusion.validation import cross_validated

SUPPORTS = (63, 64, 40, 46, 63, 61, 46)  # AFEW's validation videos, by class
TEST = 653  # AFEW's test videos
FRESH = 20_000
LOWEST, HIGHEST = 0.35, 0.47
FAMILIES = 5  # networks, each trained several ways
SHARED, FAMILY, OWN = 0.62, 0.19, 0.19  # of the disturbances' variance
TRIED = ('1', '2', '3', '4')
TRIALS = 60  # ensembles that a person tries

flags.DEFINE_integer('studies', 200, 'Number of simulated studies.', lower_bound=2)
flags.DEFINE_integer('models', 14, 'Number of models in each study.', lower_bound=2, upper_bound=20)
flags.DEFINE_integer('processes', 2, 'Number of studies at the same time.', lower_bound=1)


class Outcome(NamedTuple):
    """The accuracies in [0, 1] of the ensemble that one way of choosing gave in one study."""

    optimistic: float
    validated: float
    fresh: float
    test: float  # on the 653


def make_population(models: int, videos: int, skills: np.ndarray, labels: np.ndarray, rng: np.random.Generator):
    """Simulates the predictions of models.

    Args:
      models: their number.
      videos: their number.
      skills: float [models], as `skill_of` returns them.
      labels: int [videos].
      rng: the source of random numbers.
    """
    family = np.arange(models) % FAMILIES
    logits = math.sqrt(SHARED) * rng.normal(size=(1, videos, 7)) + math.sqrt(OWN) * rng.normal(size=(models, videos, 7))
    logits += math.sqrt(FAMILY) * rng.normal(size=(FAMILIES, videos, 7))[family]
    logits[:, np.arange(videos), labels] += skills[:, np.newaxis]
    return Answers(logits, logits.argmax(axis=2), labels)


def skill_of(accuracy: float) -> float:
    """Returns by how much the true class must be raised above six others, all standard normal, for an accuracy."""
    grid = np.linspace(-8, 12, 4001)
    density = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    below = np.cumsum(density) * (grid[1] - grid[0])  # the normal distribution function
    low, high = 0.0, 4.0
    for _ in range(40):
        middle = (low + high) / 2
        shifted = np.interp(grid + middle, grid, below)
        reached = float((density * shifted**6).sum() * (grid[1] - grid[0]))
        low, high = (middle, high) if reached < accuracy else (low, middle)
    return low


def trial_and_error(answers: Answers, rng: np.random.Generator) -> Ensemble:
    """Searches like the dissertation: plausible ensembles first, then the best one with one thing changed."""
    models = len(answers.logits)
    ranking = np.argsort(-(answers.predictions == answers.labels).mean(axis=1), kind='stable')
    queue = [list(range(models)), *(sorted(ranking[:count].tolist()) for count in (3, 5, 8) if count < models)]
    starts = [(method, members) for members in queue for method in TRIED]
    best = Ensemble('3', [int(ranking[0])], -1, TRIALS)
    for trial in range(TRIALS):
        if trial < len(starts):
            method, members = starts[trial]
        else:
            method, members = best.method, list(best.models)
            if rng.random() < 0.25:
                method = str(rng.choice(TRIED))
            else:
                members = sorted({*members} ^ {int(rng.integers(models))})
                if rng.random() < 0.5:  # one model in, one out
                    members = sorted({*members} ^ {int(rng.integers(models))})
            if not members:
                continue
        chosen = take_models(answers, members)
        predictions = apply(METHODS[method], chosen, fit(METHODS[method], chosen))[1]
        correct = int((predictions == answers.labels).sum())
        if correct > best.correct:
            best = Ensemble(method, members, correct, TRIALS)
    return best


def ways(seed: int) -> dict[str, Callable[[Answers], Ensemble]]:
    """Returns the ways of choosing an ensemble, by name."""
    return {
        'best single model': lambda answers: search(answers, ('3',), 'single'),
        'all models, method 3': lambda answers: Ensemble('3', list(range(len(answers.logits))), 0, 1),
        'trial and error': lambda answers: trial_and_error(answers, np.random.default_rng(seed)),
        'greedy search': lambda answers: search(answers, TRIED, 'greedy'),
        'exhaustive search': lambda answers: search(answers, TRIED, 'exhaustive'),
    }


def run_study(models: int, seed: int) -> dict[str, Outcome]:
    """Chooses and scores an ensemble in every way in one simulated study."""
    rng = np.random.default_rng(seed)
    skills = np.array([skill_of(accuracy) for accuracy in np.linspace(LOWEST, HIGHEST, models)])
    rng.shuffle(skills)  # so that a family has good and bad models
    labels = np.repeat(np.arange(7), SUPPORTS)
    shares = np.array(SUPPORTS) / sum(SUPPORTS)
    val = make_population(models, len(labels), skills, labels, rng)
    fresh = make_population(models, FRESH, skills, rng.choice(7, FRESH, p=shares), rng)
    outcomes = {}
    for name, choose in ways(seed).items():

        def choose_and_predict(seen: Answers, unseen: Answers, choose=choose) -> np.ndarray:
            ensemble = choose(seen)
            return predict(ensemble, unseen, fit_ensemble(ensemble, seen))[1]

        fitted = choose_and_predict(val, val)
        validated = cross_validated(val, choose_and_predict, 5, 1, seed)[0]
        right = choose_and_predict(val, fresh) == fresh.labels
        outcomes[name] = Outcome(
            float((fitted == labels).mean()),
            float((validated == labels).mean()),
            float(right.mean()),
            float(right[:TEST].mean()),
        )
    return outcomes


def main() -> None:
    values = flags.FLAGS
    began = time.perf_counter()
    seeds = range(values.studies)
    with ProcessPoolExecutor(values.processes) as pool:
        studies = list(pool.map(run_study, [values.models] * values.studies, seeds))
    print(
        f'{values.studies} studies of {values.models} models of {LOWEST:.0%} to {HIGHEST:.0%}, {sum(SUPPORTS)} videos; '
        f'mean accuracy in percent, +- standard deviation over studies; {time.perf_counter() - began:.0f} s\n'
    )
    print(
        '| chosen by | optimistic | cross-validated | fresh | optimistic - fresh | cross-validated - fresh '
        f'| falls 4.5 or more on {TEST} |'
    )
    print('|---|---|---|---|---|---|---|')
    for name in studies[0]:
        rows = [study[name] for study in studies]
        cells = [
            _spread([getattr(row, key) for row in rows]) for key in ('optimistic', 'validated', 'fresh')
        ]  # fmt: skip
        cells.append(_spread([row.optimistic - row.fresh for row in rows], sign='+'))
        cells.append(_spread([row.validated - row.fresh for row in rows], sign='+'))
        falls = statistics.mean(row.optimistic - row.test >= 0.045 for row in rows)
        print(f'| {name} | {" | ".join(cells)} | {falls:.0%} |')


def _spread(shares: list[float], sign: str = '') -> str:
    return f'{100 * statistics.mean(shares):{sign}.1f} +- {100 * statistics.stdev(shares):.1f}'


if __name__ == '__main__':
    cli.run(main)
