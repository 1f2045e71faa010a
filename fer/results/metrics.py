"""Accuracy, macro F1 and the confusion matrix of a split, over all its videos and over those with faces.

The dissertation's two numbers (5.9): accuracy, and F1 as the unweighted mean of the per-class F1. The mean is over the
classes that have labelled videos. Where all seven have some, as in AFEW, it is the dissertation's. CREMA-D has no
Surprise, whose F1 of 0 would make 86 of a perfect score. A video predicted as an absent class counts as wrong.

The 95% interval is Wilson's for k successes of N. With 383 videos it is about ten points wide, which every comparison
of two accuracies should be read beside.
"""

import json
import math
from pathlib import Path

import numpy as np

from fer.emotions import EMOTIONS, NUM_CLASSES
from fer.errors import InputError
from fer.files import atomic_write
from fer.results.results_file import Results

_NAMED = 2  # absent classes that are named


def score(labels: np.ndarray, predictions: np.ndarray) -> dict:
    """Metrics of V predictions.

    Args:
      labels: int [V], class indices.
      predictions: int [V], class indices.

    Returns:
      accuracy and f1, in [0, 1]; f1_seven, the mean over all seven classes, where an absent one counts 0;
      classes_absent, the names of those without labelled videos; per_class, a dict of precision, recall, f1 in [0, 1]
      and support for each class; confusion, [7][7] counts with rows = truth; correct; total; interval_95, the
      accuracy's [low, high].
      With no videos at all the rates are 0 and the interval is [0, 1].
    """
    confusion = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    right, support, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + predicted, 1)
    correct, total = int(right.sum()), len(labels)
    present = support > 0
    return {
        'accuracy': correct / max(total, 1),
        'f1': float(f1[present].mean()) if present.any() else 0.0,
        'f1_seven': float(f1.mean()),
        'classes_absent': [name for name, there in zip(EMOTIONS, present, strict=True) if not there],
        'correct': correct,
        'total': total,
        'interval_95': wilson_interval(correct, total),
        'per_class': {
            name: {
                'precision': float(precision[index]),
                'recall': float(recall[index]),
                'f1': float(f1[index]),
                'support': int(support[index]),
            }
            for index, name in enumerate(EMOTIONS)
        },
        'confusion': confusion.tolist(),
    }


def wilson_interval(correct: int, total: int) -> list[float]:
    """Wilson's 95% interval of a proportion (1927), [low, high] in [0, 1]; [0, 1] when there is nothing to count.

    Three lines here, and scipy.stats as the test's oracle: importing it takes as long as the rest of fusion.py.
    """
    if not total:
        return [0.0, 1.0]
    z, share = 1.959963984540054, correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return [centre - half, centre + half]


def score_results(results: Results, source: str) -> dict | None:
    """Metrics over every official video, with the same under `with_faces` over those the model itself answered.

    Args:
      results: the answers.
      source: where they come from, for the error.

    Returns:
      What `score` returns, `classes`, and `with_faces`; None for an unlabelled split.

    Raises:
      InputError: some of the videos have a label and others none.
    """
    unknown = results.labels < 0
    if unknown.all():
        return None
    if unknown.any():
        lacking = results.video_ids[int(unknown.argmax())]
        raise InputError(f'{source}: video {lacking} has no label, others have; expected labels for all or for none')
    seen = np.array([reason == '-' for reason in results.fallback])
    return {
        'classes': list(EMOTIONS),
        **score(results.labels, results.predictions),
        'with_faces': score(results.labels[seen], results.predictions[seen]),
    }


def write_metrics(path: str | Path, metrics: dict) -> None:
    with atomic_write(path) as file:
        json.dump(metrics, file, indent=1)
        file.write('\n')


def summary(metrics: dict) -> str:
    """`27/80 = 33.8% [24.4, 44.6], F1 28.1; with faces 26/76 = 34.2% [24.5, 45.4], F1 28.9`."""
    return f'{_figures(metrics)}; with faces {_figures(metrics["with_faces"])}'


def _figures(metrics: dict) -> str:
    low, high = metrics['interval_95']
    absent = metrics['classes_absent'] if metrics['total'] else []
    over = f' over {NUM_CLASSES - len(absent)} of {NUM_CLASSES} classes' if absent else ''
    if 0 < len(absent) <= _NAMED:
        over += f' (no {", ".join(absent)})'
    return (
        f'{metrics["correct"]}/{metrics["total"]} = {metrics["accuracy"]:.1%} '
        f'[{100 * low:.1f}, {100 * high:.1f}], F1 {100 * metrics["f1"]:.1f}{over}'
    )
