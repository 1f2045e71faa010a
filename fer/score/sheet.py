# SPDX-License-Identifier: Apache-2.0
"""The score sheet of predictions: every official video counts, and one without a prediction counts as wrong."""

from typing import Any

import numpy as np

from fer.emotions import EMOTIONS, NUM_CLASSES
from fer.results.metrics import class_rates, describe_interval, score, wilson_interval
from fer.results.significance import SAMPLES, compare
from fer.score.predictions import LOST, Predictions

NAMES = {'uar': 'UAR', 'f1': 'macro F1', 'f1_weighted': 'weighted F1'}  # the scores with a bootstrap interval


def count_outcomes(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Counts videos by class and prediction, int [7, 8]. The last column has the lost videos."""
    counts = np.zeros((NUM_CLASSES, NUM_CLASSES + 1), np.int64)
    np.add.at(counts, (labels, np.where(predictions == LOST, NUM_CLASSES, predictions)), 1)
    return counts


def rates(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Computes scores of one table of `count_outcomes`, or of many.

    UAR, the unweighted average recall, and macro F1 are means over the classes that have videos. Weighted F1 weighs
    each class by its videos.

    Args:
      counts: int [..., 7, 8].

    Returns:
      `accuracy`, `uar`, `f1` and `f1_weighted`, float [...] in [0, 1].
    """
    _, recall, f1, support = class_rates(counts)
    present = support > 0
    total, classes = support.sum(axis=-1), present.sum(axis=-1)
    return {
        'accuracy': np.trace(counts, axis1=-2, axis2=-1) / total,
        'uar': recall.sum(axis=-1) / classes,
        'f1': (f1 * present).sum(axis=-1) / classes,
        'f1_weighted': (f1 * support).sum(axis=-1) / total,
    }


def score_predictions(predictions: Predictions, seed: int = 0) -> dict[str, Any]:
    """Computes the score sheet.

    The accuracy has Wilson's 95% interval, the other scores have percentile intervals of a bootstrap over videos.

    Args:
      predictions: of V videos.
      seed: of the bootstrap.

    Returns:
      `predictions` and `ledger`, the files. `total`, `lost` and `correct`. `accuracy`, `uar`, `f1`, `f1_weighted` in
      [0, 1] and an interval of each, `interval_95` and `<name>_interval_95`. `per_class`: precision, recall, f1,
      support and lost videos. `confusion`: counts [7][8], rows = truth, the last column = lost. `answered`: the metrics
      of `fer.results.metrics.score` over the videos that have a prediction.
    """
    labels, answers = predictions.labels, predictions.predictions
    counts = count_outcomes(labels, answers)
    total, answered = len(labels), answers != LOST
    # Samples of videos with replacement have multinomial counts, so the whole bootstrap is one call.
    sampled = np.random.default_rng(seed).multinomial(total, counts.ravel() / total, SAMPLES)
    scores, samples = rates(counts), rates(sampled.reshape(-1, *counts.shape))
    precision, recall, f1, support = class_rates(counts)
    correct = int(counts.trace())
    return {
        'predictions': predictions.path,
        'ledger': predictions.ledger,
        'classes': list(EMOTIONS),
        'total': total,
        'lost': int((~answered).sum()),
        'correct': correct,
        **{name: float(value) for name, value in scores.items()},
        'interval_95': wilson_interval(correct, total),
        **{f'{name}_interval_95': np.percentile(samples[name], [2.5, 97.5]).tolist() for name in NAMES},
        'classes_absent': [name for name, videos in zip(EMOTIONS, support, strict=True) if not videos],
        'per_class': {
            name: {
                'precision': float(precision[k]),
                'recall': float(recall[k]),
                'f1': float(f1[k]),
                'support': int(support[k]),
                'lost': int(counts[k, NUM_CLASSES]),
            }
            for k, name in enumerate(EMOTIONS)
        },
        'confusion': counts.tolist(),
        'answered': score(labels[answered], answers[answered]),
    }


def compare_predictions(first: Predictions, second: Predictions, seed: int = 0) -> dict[str, Any]:
    """Compares two programs on the same videos with McNemar's exact test and a paired bootstrap.

    Args:
      first: predictions of the program that is scored.
      second: predictions of the other program, for the same ledger.
      seed: of the bootstrap.

    Returns:
      The other program's file, its `lost` videos, `correct` and `accuracy`, and the fields of
      `fer.results.significance.PairedTest`.
    """
    test = compare(first.labels, first.predictions, second.predictions, seed)
    correct = int((second.predictions == second.labels).sum())
    return {
        'predictions': second.path,
        'lost': int((second.predictions == LOST).sum()),
        'correct': correct,
        'accuracy': correct / len(second.labels),
        **test._asdict(),
    }


def describe_sheet(predictions: Predictions, sheet: dict[str, Any]) -> list[str]:
    """Returns the lines about a score sheet for the screen."""
    lines = [
        *predictions.notes,
        f'{predictions.path}: {sheet["total"]} videos of {predictions.ledger}, {sheet["lost"]} of them lost, which '
        'count as wrong',
        f'accuracy {_share(sheet)}; of those with a prediction {_share(sheet["answered"])}',
        ', '.join(
            f'{text} {sheet[name]:.1%} {describe_interval(sheet[f"{name}_interval_95"])}'
            for name, text in NAMES.items()
        ),
        'recall: '
        + ', '.join(
            f'{name} {one["recall"]:.1%} of {one["support"]}'
            for name, one in sheet['per_class'].items()
            if one['support']
        ),
    ]
    if sheet['classes_absent']:
        lines.append(
            f'no videos of {", ".join(sheet["classes_absent"])}, so UAR and macro F1 are over the other classes'
        )
    return lines


def describe_against(other: Predictions, against: dict[str, Any]) -> list[str]:
    """Returns the lines about a comparison for the screen."""
    return [
        *other.notes,
        f'against {other.path}: accuracy {against["correct"]}/{len(other.labels)} = {against["accuracy"]:.1%}, '
        f'{against["lost"]} lost',
        f'right in one only: {against["first_only"]} here, {against["second_only"]} there; difference '
        f'{100 * against["difference"]:+.1f} points '
        f'{describe_interval(against["interval_95"], signed=True)}, McNemar p = {against["mcnemar"]:.3g}',
    ]


def _share(scores: dict[str, Any]) -> str:
    share = f'{scores["correct"]}/{scores["total"]} = {scores["accuracy"]:.1%}'
    return f'{share} {describe_interval(scores["interval_95"])}'
