# SPDX-License-Identifier: Apache-2.0
"""The card of a network: every number in it is computed from the files of runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from fer.emotions import EMOTIONS, NUM_CLASSES
from fer.errors import InputError
from fer.files import read_object
from fer.results.calibration import BINS, calibration_error, cross_entropy, fit_temperature
from fer.results.results_file import Results, read_results
from fer.runs.config import TrainConfig, list_differences, read_flagfile
from fer.runs.names import FLAGS_FILE
from fer.runs.provenance import digest
from fer.score.predictions import Predictions
from fer.score.sheet import score_predictions

# Settings in which runs of one recipe may differ: their seed, their data, and their use of the machine.
_MAY_DIFFER = (
    *('seed', 'run_dir', 'data_root', 'train_manifest', 'val_manifest', 'frame_cache', 'frame_cache_gb'),
    *('feature_cache', 'feature_cache_gb', 'frames_per_chunk', 'intra_op_threads', 'inter_op_threads'),
    *('gpu', 'gpu_memory_gb'),
)
_SCORES = (
    *('total', 'correct', 'accuracy', 'interval_95', 'f1', 'f1_interval_95', 'uar', 'uar_interval_95'),
    *('classes_absent', 'per_class'),
)


class Scored(NamedTuple):
    """A run, and its answers for the items that its temperature is fitted on and for those that test it."""

    folder: Path
    config: TrainConfig
    validation: Results | None  # None if temperatures are fitted on the tests of other folds
    test: Results
    commits: tuple[str, ...]  # of the code that evaluated
    views: int  # of --tta_views
    sums: dict[str, str]  # SHA-256 of each results file


def read_answers(folder: Path, split: str) -> tuple[Results, dict[str, Any]]:
    """Returns the answers of a run for a labelled split, and their metrics file.

    Raises:
      InputError: a file is missing or damaged, has no labels, or has changed since evaluate.py wrote it.
    """
    path, metrics_path = folder / f'results_{split}.txt', folder / f'metrics_{split}.json'
    results = read_results(path)
    try:
        metrics = read_object(metrics_path)
    except (OSError, ValueError) as error:
        raise InputError(f'{metrics_path}: {error}; evaluate the run on labelled data with --split={split}') from None
    if metrics.get('results_sha256') != digest(path):
        raise InputError(f'{path}: changed since evaluate.py wrote {metrics_path.name}; evaluate the run again')
    if (results.labels < 0).any():
        raise InputError(f'{path}: items without labels; expected a label for each')
    return results, metrics


def read_scored(run_dirs: Sequence[Path], config: TrainConfig, val_split: str, test_split: str) -> list[Scored]:
    """Reads the runs that a card is computed from.

    Args:
      run_dirs: their folders.
      config: of the run whose network is built. The others may differ in their seed and data only.
      val_split: name of the split that temperatures are fitted on, '' for the tests of other folds.
      test_split: name of the split that is scored.

    Raises:
      InputError: files are missing or changed, settings differ, or test splits share some items only.
    """
    runs: list[Scored] = []
    for folder in run_dirs:
        own = read_flagfile(folder / FLAGS_FILE)
        if differing := list_differences(own, config, _MAY_DIFFER):
            raise InputError(
                f'{folder}: another recipe than that of --run (in brackets): {", ".join(differing)}; leave it out'
            )
        splits = (test_split, val_split) if val_split else (test_split,)
        answers = [read_answers(folder, split) for split in splits]
        test, validation = answers[0][0], answers[1][0] if val_split else None
        if validation and (shared := set(validation.video_ids) & set(test.video_ids)):
            raise InputError(f'{folder}: {len(shared)} items are in {val_split} and in {test_split}; expected none')
        for other in runs:
            shared = set(other.test.video_ids) & set(test.video_ids)
            if shared and shared != set(other.test.video_ids) | set(test.video_ids):
                raise InputError(
                    f'{folder}: its {test_split} shares some items with that of {other.folder}; expected all (another '
                    'seed) or none (another fold)'
                )
        views = {int(metrics.get('tta_views', 1)) for _, metrics in answers} | {run.views for run in runs}
        if len(views) > 1:
            raise InputError(
                f'{folder}: evaluated with --tta_views={min(views)} and {max(views)}; evaluate all with one number'
            )
        commits = tuple(str(metrics.get('commit')) for _, metrics in answers)
        paths = [folder / f'results_{split}.txt' for split in splits]
        runs.append(
            Scored(folder, own, validation, test, commits, views.pop(), {path.name: digest(path) for path in paths})
        )
    return runs


def pick_folds(runs: Sequence[Scored], built: Path) -> list[Scored]:
    """Returns one run for each test split: the run that is built if it is among them, else the first."""
    folds: dict[tuple[str, ...], Scored] = {}
    for run in runs:
        key = tuple(sorted(run.test.video_ids))
        if key not in folds or run.folder.resolve() == built.resolve():
            folds[key] = run
    return list(folds.values())


def score_folds(folds: Sequence[Scored]) -> dict[str, Any]:
    """Scores the answers of one run per fold, all folds together.

    Returns:
      The scores of `fer.score.sheet.score_predictions`, with the confusion matrix [7][7], rows = truth.
    """
    tests = [run.test for run in folds]
    labels, predictions = (np.concatenate([getattr(t, name) for t in tests]) for name in ('labels', 'predictions'))
    ids = [video_id for test in tests for video_id in test.video_ids]
    sheet = score_predictions(Predictions('', '', ids, labels, predictions, []))
    scores = {name: sheet[name] for name in _SCORES}
    for one in scores['per_class'].values():
        one.pop('lost')
    return scores | {'confusion': [row[:NUM_CLASSES] for row in sheet['confusion']]}


def calibrate(folds: Sequence[Scored]) -> dict[str, Any]:
    """Fits a temperature for each fold, and judges it on the test of that fold.

    It is fitted on the validation of the fold, or without one on the tests of all other folds.

    Returns:
      `temperature`: the geometric mean of the folds' temperatures. `temperatures`: of each fold.
      `ece_before`, `ece_after`, `cross_entropy_before`, `cross_entropy_after`: on test, all folds together.
    """
    learned = [[run.validation] if run.validation else [one.test for one in folds if one is not run] for run in folds]
    temperatures = [
        fit_temperature(*(np.concatenate([getattr(one, name) for one in some]) for name in ('logits', 'labels')))
        for some in learned
    ]
    labels = np.concatenate([run.test.labels for run in folds])
    before = np.concatenate([softmax(run.test.logits, axis=1) for run in folds])
    after = np.concatenate([softmax(run.test.logits / t, axis=1) for run, t in zip(folds, temperatures, strict=True)])
    return {
        'temperature': float(np.exp(np.mean(np.log(temperatures)))),
        'temperatures': temperatures,
        'fitted_on': 'validation' if all(run.validation for run in folds) else 'the tests of the other folds',
        'bins': BINS,
        'ece_before': calibration_error(before, labels),
        'ece_after': calibration_error(after, labels),
        'cross_entropy_before': cross_entropy(before, labels),
        'cross_entropy_after': cross_entropy(after, labels),
    }


def spread(runs: Sequence[Scored], folds: Sequence[Scored], built: Path) -> dict[str, Any]:
    """Returns the accuracy of every run, and their mean and deviation.

    Returns:
      `runs`: seed, number of the fold, test accuracy, validation accuracy or null, whether it is the built one, digests
      of its results files, and commits. `mean`, `lowest` and `highest` of the test accuracies. `deviation`: their
      sample deviation, null for one run. `folds`: their number.
    """
    numbers = {frozenset(run.test.video_ids): number for number, run in enumerate(folds, start=1)}
    rows: list[dict[str, Any]] = [
        {
            'seed': run.config.seed,
            'fold': numbers[frozenset(run.test.video_ids)],
            'accuracy': _accuracy(run.test),
            'validation_accuracy': _accuracy(run.validation) if run.validation else None,
            'is_built': run.folder.resolve() == built.resolve(),
            'results_sha256': run.sums,
            'commits': list(dict.fromkeys(run.commits)),
        }
        for run in runs
    ]
    accuracies = [row['accuracy'] for row in rows]
    return {
        'runs': rows,
        'folds': len(folds),
        'mean': float(np.mean(accuracies)),
        'lowest': min(accuracies),
        'highest': max(accuracies),
        'deviation': float(np.std(accuracies, ddof=1)) if len(rows) > 1 else None,
    }


def _accuracy(results: Results) -> float:
    return float((results.predictions == results.labels).mean())


def count_classes(labels: np.ndarray) -> dict[str, Any]:
    """Returns N of a split, in all and of each class."""
    counts = np.bincount(labels, minlength=NUM_CLASSES).tolist()
    return {'total': sum(counts), 'per_class': dict(zip(EMOTIONS, counts, strict=True))}
