# SPDX-License-Identifier: Apache-2.0
"""The simulation of optimistic scores: its models have the stated accuracies, and it runs."""

import numpy as np
import pytest
from benchmarks import optimism
from conftest import run


@pytest.mark.parametrize('accuracy', [0.35, 0.47, 0.8])
def test_models_have_the_intended_accuracy(accuracy):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 30_000)
    skill = optimism.skill_of(accuracy)
    answers = optimism.make_population(3, 30_000, np.array([skill, 0, skill]), labels, rng)
    right = (answers.predictions == labels).mean(axis=1)
    np.testing.assert_allclose(right, [accuracy, 1 / 7, accuracy], atol=0.012)


def test_models_of_a_family_fail_together():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 7, 20_000)
    models = optimism.FAMILIES + 2
    answers = optimism.make_population(models, 20_000, np.full(models, optimism.skill_of(0.4)), labels, rng)
    agreement = [(answers.predictions[0] == answers.predictions[other]).mean() for other in (optimism.FAMILIES, 1)]
    assert agreement[0] > agreement[1] + 0.05


def test_the_command_prints_every_way():
    done = run('-m', 'tests.benchmarks.optimism', '--studies=2', '--models=4', '--processes=1')
    rows = [line for line in done.out.splitlines() if line.startswith('| ') and 'chosen' not in line]
    assert [row.split(' | ')[0] for row in rows] == [f'| {name}' for name in optimism.ways(0)]
