# SPDX-License-Identifier: Apache-2.0
"""Accuracy, macro F1 and the confusion matrix of a split, over all its videos and over those with faces.

The dissertation reports accuracy and F1, the unweighted mean of the per-class F1 (5.9). The mean here is over the
classes that have labelled videos. If all seven have some, as in AFEW, it is the dissertation's. CREMA-D has no
Surprise, whose F1 of 0 would turn a perfect score into 86. A video predicted as an absent class counts as wrong.

The 95% interval is Wilson's for k successes of N. With 383 videos it is about ten points wide. Keep that in mind when
you compare two accuracies.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer.emotions import EMOTIONS, NUM_CLASSES
from fer.errors import InputError
from fer.files import atomic_write
from fer.results.results_file import Results

_NAMED = 2  # number of absent classes up to which they are named


def score(labels: np.ndarray, predictions: np.ndarray) -> dict:
    """Computes the metrics of V predictions.

    Args:
      labels: int [V], class indices.
      predictions: int [V], class indices.

    Returns:
      - `accuracy` and `f1`, in [0, 1].
      - `f1_seven`: mean over all seven classes, where an absent class counts 0.
      - `classes_absent`: names of the classes without labelled videos.
      - `per_class`: precision, recall, f1 in [0, 1] and support of each class.
      - `confusion`: counts [7][7], rows = truth.
      - `correct`, `total`, and `interval_95` of the accuracy, [low, high].
      Without any videos the rates are 0 and the interval is [0, 1].
    """
    confusion = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    precision, recall, f1, support = class_rates(confusion)
    correct, total = int(confusion.diagonal().sum()), len(labels)
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


def class_rates(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns precision, recall, F1 and support of each class, [..., 7] each. A rate without videos is 0.

    Args:
      confusion: counts, int [..., 7, 7] or more columns, rows = truth. Further columns count for the support only.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    support, predicted = confusion.sum(axis=-1), confusion[..., :NUM_CLASSES].sum(axis=-2)
    f1 = 2 * right / np.maximum(support + predicted, 1)
    return right / np.maximum(predicted, 1), right / np.maximum(support, 1), f1, support


def wilson_interval(correct: int, total: int) -> list[float]:
    """Returns Wilson's 95% interval of a proportion (1927), [low, high] in [0, 1]. It is [0, 1] for a total of 0.

    Not taken from scipy.stats, because its import takes as long as the rest of fusion.py. The tests compare the two.
    """
    if not total:
        return [0.0, 1.0]
    z, share = 1.959963984540054, correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return [centre - half, centre + half]


def score_results(results: Results, source: str) -> dict | None:
    """Computes the metrics over every official video, and over the videos that the model itself answers.

    Args:
      results: the answers.
      source: the file that they come from, for the error.

    Returns:
      The metrics of `score`, the names of the `classes`, and `with_faces`: the metrics over videos without a fallback.
      None for a split without labels.

    Raises:
      InputError: only some of the videos have a label.
    """
    unknown = results.labels < 0
    if unknown.all():
        return None
    if unknown.any():
        without = results.video_ids[int(unknown.argmax())]
        raise InputError(f'{source}: video {without} has no label, but others do; expected labels for all or for none')
    answered = np.array([reason == '-' for reason in results.fallback])
    return {
        'classes': list(EMOTIONS),
        **score(results.labels, results.predictions),
        'with_faces': score(results.labels[answered], results.predictions[answered]),
    }


def write_metrics(path: str | Path, metrics: dict) -> None:
    with atomic_write(path) as file:
        json.dump(metrics, file, indent=1)
        file.write('\n')


def summary(metrics: dict, answered: str = 'with faces') -> str:
    """Returns text such as `27/80 = 33.8% [24.4, 44.6], F1 28.1; with faces 26/76 = 34.2% [24.5, 45.4], F1 28.9`.

    Args:
      metrics: of `score_results`.
      answered: describes the items that the model itself answers.
    """
    return f'{_figures(metrics)}; {answered} {_figures(metrics["with_faces"])}'


def describe_interval(interval: Sequence[float], *, signed: bool = False) -> str:
    """Returns text such as `[24.4, 44.6]` in percent, or `[-1.2, +3.0]` for a difference."""
    low, high = (f'{100 * end:{"+" if signed else ""}.1f}' for end in interval)
    return f'[{low}, {high}]'


def _figures(metrics: dict) -> str:
    absent = metrics['classes_absent'] if metrics['total'] else []
    over = f' over {NUM_CLASSES - len(absent)} of {NUM_CLASSES} classes' if absent else ''
    if 0 < len(absent) <= _NAMED:
        over += f' (no {", ".join(absent)})'
    return (
        f'{metrics["correct"]}/{metrics["total"]} = {metrics["accuracy"]:.1%} '
        f'{describe_interval(metrics["interval_95"])}, F1 {100 * metrics["f1"]:.1f}{over}'
    )
