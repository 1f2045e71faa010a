# SPDX-License-Identifier: Apache-2.0
"""Temperature and expected calibration error, compared with scikit-learn, SciPy and numbers computed by hand."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from fer.results.calibration import calibration_error, cross_entropy, fit_temperature


def sample(temperature, number=4000, seed=0):
    """Returns logits that are `temperature` times too large for the probabilities that labels are sampled with."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (number, 7))
    labels = (softmax(logits, axis=1).cumsum(axis=1) > rng.random((number, 1))).argmax(axis=1)
    return logits * temperature, labels


def test_calibration_error_by_hand():
    """Puts one right and one wrong answer into bin (0.5, 0.6] of ten, and a wrong one into (0.8, 0.9]."""
    probabilities = np.array([[0.55, 0.45], [0.4, 0.6], [0.9, 0.1]])
    found = calibration_error(probabilities, np.array([0, 0, 1]), bins=10)
    assert found == pytest.approx(2 / 3 * abs(0.5 - 0.575) + 1 / 3 * 0.9)


@pytest.mark.parametrize('bins', [5, 15])
def test_calibration_error_equals_scikit_learn(bins):
    logits, labels = sample(2.5)
    probabilities = softmax(logits, axis=1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    share, mean = calibration_curve(right, confidence, n_bins=bins)
    counts = np.histogram(confidence, np.linspace(0, 1, bins + 1))[0]
    expected = (np.abs(share - mean) * counts[counts > 0]).sum() / len(labels)
    assert calibration_error(probabilities, labels, bins) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('temperature', [0.4, 1.0, 2.5])
def test_temperature_equals_the_sample_s_and_scipy_s(temperature):
    logits, labels = sample(temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.05)

    def loss(value):
        return -log_softmax(logits / value, axis=1)[np.arange(len(labels)), labels].mean()

    assert found == pytest.approx(
        minimize_scalar(loss, bounds=(0.1, 10), method='bounded', options={'xatol': 1e-8}).x, rel=1e-4
    )


def test_temperature_lowers_the_error_of_other_items():
    logits, labels = sample(2.5, seed=1)
    temperature = fit_temperature(*sample(2.5, seed=2))
    before, after = (calibration_error(softmax(logits / t, axis=1), labels) for t in (1, temperature))
    assert after < 0.03 < 0.1 < before


@pytest.mark.parametrize(('labels', 'limit'), [([0, 1], 1 / 20), ([1, 0], 20)])
def test_temperature_without_a_minimum_is_a_limit(labels, limit):
    assert fit_temperature(np.array([[3.0, 1.0], [-2.0, 5.0]]), np.array(labels)) == pytest.approx(limit)


def test_cross_entropy_equals_scikit_learn():
    logits, labels = sample(1.5, number=50)
    probabilities = softmax(logits, axis=1)
    assert cross_entropy(probabilities, labels) == pytest.approx(log_loss(labels, probabilities, labels=range(7)))
