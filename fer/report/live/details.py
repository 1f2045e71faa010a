# SPDX-License-Identifier: Apache-2.0
"""Reads one run for its page: settings, curves, scores, confusion matrices, and the videos that it finds hardest."""

import functools
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.files import read_object
from fer.report.figures import draw_run_curves, read_numbers
from fer.report.intervals import estimate
from fer.report.live.folders import Root, Signature
from fer.report.live.frames import Picture, choose_pictures, find_frames
from fer.report.live.listing import RunFolder, RunRow, describe_run, try_read
from fer.report.pictures import Image
from fer.report.seeds import SplitResults, compare_metrics
from fer.results.metrics import score_results
from fer.results.results_file import Results, read_results
from fer.runs.config import TrainConfig, read_flagfile
from fer.runs.logs import ONE_DATASET, read_log
from fer.runs.names import ENVIRONMENT_FILE, FLAGS_FILE, TRAIN_LOG, VALIDATION_LOG
from fer.runs.provenance import digest
from fer.settings import format_values, settings_of

HARDEST = 10  # videos of a split that are shown
_DRAWING = threading.Lock()  # matplotlib draws one figure at a time


class SettingRow(NamedTuple):
    """A setting of the run."""

    name: str
    value: str
    default: str
    help: str
    is_changed: bool  # it differs from the default, or has none


class EpochRow(NamedTuple):
    """An epoch of a run."""

    epoch: int
    steps: int
    loss: float  # mean over the steps
    accuracy: float  # mean over the steps, in [0, 1]
    validation: list[tuple[float, float] | None]  # accuracy and F1 of each dataset, in [0, 1]


class HardVideo(NamedTuple):
    """A video whose true class has a low probability."""

    video_id: str
    label: str
    prediction: str
    of_label: float  # probability of the true class
    of_prediction: float
    pictures: list[Picture]


class SplitPage(NamedTuple):
    """A split that the run has answered."""

    split: str
    metrics: dict[str, Any] | None  # computed from the results, None for a split without labels
    f1_interval: tuple[float, float] | None  # 95%, of a bootstrap over videos, in [0, 1]. None if a class has no video
    is_optimistic: bool
    warnings: list[str]
    counts: np.ndarray | None  # int64 [7, 7], rows = truth
    percent: np.ndarray | None  # float64 [7, 7], of the row
    hardest: list[HardVideo]
    fallbacks: int  # videos that the run itself does not answer, which are not among the hardest
    pictures: str  # the manifest that lists the pictures of the hardest videos. Empty if they are not shown
    reason: str  # why they are not shown


class RunPage(NamedTuple):
    """Everything on the page of a run."""

    row: RunRow
    origin: list[tuple[str, str]]  # of environment.json: what, and its value
    settings: list[SettingRow]  # empty without readable flags
    curves: list[Image]
    datasets: list[str]  # of the validation, in the order of each row of `epochs`
    epochs: list[EpochRow]
    splits: list[SplitPage]
    items: str  # what the run answers for, in the plural
    problems: list[str]


def read_run(root: Root, data: Root | None, folder: RunFolder) -> RunPage:
    """Reads a run for its page. What is missing or damaged is left out, and is listed as a problem.

    Args:
      root: of the runs.
      data: the folder whose pictures may be shown, None for none.
      folder: of the run.
    """
    row = describe_run(root, folder)
    problems = list(row.summary.problems)
    for name in folder.links:
        try_read(problems, root, folder.path, name, Path)
    config = try_read(problems, root, folder.path, FLAGS_FILE, read_flagfile)
    environment = try_read(problems, root, folder.path, ENVIRONMENT_FILE, read_object) or {}
    logs = [try_read(problems, root, folder.path, name, lambda path: path) for name in (TRAIN_LOG, VALIDATION_LOG)]
    is_logged = logs[0] is not None and (logs[1] is not None or VALIDATION_LOG not in folder.files)
    signatures = tuple(folder.files.get(name) for name in (TRAIN_LOG, VALIDATION_LOG))
    curves = _draw(folder.name, folder.path, signatures) if is_logged else []
    datasets, epochs = _read_epochs(folder.path, signatures) if is_logged else ([], [])
    problems += _check_logs(folder.path, signatures) if is_logged else []
    splits = [_read_split(problems, root, data, folder, split, config) for split in folder.splits()]
    return RunPage(
        row,
        _read_origin(environment),
        _read_settings(config) if config else [],
        curves,
        datasets,
        epochs,
        [split for split in splits if split],
        'stills' if row.summary.stage == 'pretrain' else 'videos',
        list(dict.fromkeys(problems)),
    )


def _read_origin(environment: dict[str, Any]) -> list[tuple[str, str]]:
    commit, changes = environment.get('commit'), environment.get('uncommitted_changes')
    code = f'{commit}{" with uncommitted changes" if changes else ""}' if commit else 'unknown'
    packages = environment.get('packages')
    tensorflow = packages.get('tensorflow') if isinstance(packages, dict) else None
    found = {'started': environment.get('started'), 'host': environment.get('host'), 'TensorFlow': tensorflow}
    rows = [(name, str(value)) for name, value in found.items() if value]
    return [*rows, ('commit', code)] if environment else []


def _read_settings(config: TrainConfig) -> list[SettingRow]:
    """Returns every setting of a run in the order of flags.txt. Where the network decides, there is no default."""
    values = format_values(config)
    rows = []
    for name, one in settings_of(TrainConfig).items():
        default = one.by_default or one.format(one.default)
        rows.append(SettingRow(name, values[name], default, one.help, getattr(config, name) != one.default))
    return rows


@functools.lru_cache(maxsize=64)
def _draw(name: str, folder: Path, signatures: tuple[Signature | None, ...]) -> list[Image]:
    """Draws the curves of a run, once for the same logs."""
    with _DRAWING:
        return draw_run_curves(name, folder)


@functools.lru_cache(maxsize=64)
def _read_epochs(folder: Path, signatures: tuple[Signature | None, ...]) -> tuple[list[str], list[EpochRow]]:
    """Returns the names of the validation datasets and a row per epoch, once for the same logs."""
    train = read_numbers(folder / TRAIN_LOG, ('epoch', 'loss', 'accuracy'))
    validation = read_numbers(folder / VALIDATION_LOG, ('epoch', 'accuracy', 'f1', 'dataset'))
    if train is None or train.empty:
        return [], []
    datasets = [] if validation is None else [str(name) for name in validation['dataset'].unique()]
    scores: dict[tuple[int, str], tuple[float, float]] = {}
    if validation is not None:
        for line in validation.itertuples(index=False):
            scores[int(line.epoch), str(line.dataset)] = (line.accuracy, line.f1)
    rows = [
        EpochRow(
            int(epoch),
            len(steps),
            float(steps['loss'].mean()),
            float(steps['accuracy'].mean()),
            [scores.get((int(epoch), name)) for name in datasets],
        )
        for epoch, steps in train.groupby('epoch')
    ]
    return ['validation' if name == ONE_DATASET else name for name in datasets], rows


@functools.lru_cache(maxsize=64)
def _check_logs(folder: Path, signatures: tuple[Signature | None, ...]) -> list[str]:
    """Returns a line for each log with rows that are left out of curves and tables, once for the same logs."""
    problems = []
    columns = {TRAIN_LOG: ('step', 'epoch', 'loss', 'accuracy'), VALIDATION_LOG: ('step', 'epoch', 'accuracy', 'f1')}
    for (name, numbers), signature in zip(columns.items(), signatures, strict=True):
        table = read_numbers(folder / name, (*numbers, 'dataset') if name == VALIDATION_LOG else numbers)
        if table is None and signature is not None and signature[1]:
            problems.append(f'{name}: not the log of a run')
        elif table is not None and len(table) < (rows := len(read_log(folder / name)['step'])):
            problems.append(f'{name}: {rows - len(table)} of {rows} rows are left out, because they are not numbers')
    return problems


def _read_split(
    problems: list[str], root: Root, data: Root | None, folder: RunFolder, split: str, config: TrainConfig | None
) -> SplitPage | None:
    """Reads the results of a split, recomputes the metrics from them, and compares these with the metrics file."""
    name = f'results_{split}.txt'
    results = try_read(problems, root, folder.path, name, read_results)
    metrics = try_read(problems, root, folder.path, f'metrics_{split}.json', read_object)
    if results is None:
        return None
    try:
        computed = score_results(results, name)
    except InputError as error:
        problems.append(str(error))
        return None
    warnings = []
    if computed is not None and metrics is not None:
        warnings = [flag.text for flag in compare_metrics(name, computed, digest(folder.path / name), metrics)]
    hardest: list[HardVideo] = []
    pictures = reason = ''
    if computed is not None:
        hardest, pictures, reason = _add_pictures(find_hardest(results), data, (metrics or {}).get('manifest'), config)
    counts = np.array(computed['confusion']) if computed else None
    percent = None if counts is None else 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return SplitPage(
        split,
        computed,
        _f1_interval(results) if computed and not computed['classes_absent'] else None,
        bool((metrics or {}).get('optimistic')),
        warnings,
        counts,
        percent,
        hardest,
        sum(answer != '-' for answer in results.fallback),
        pictures,
        reason,
    )


def _f1_interval(results: Results) -> tuple[float, float]:
    """Returns the report's interval of F1 for one seed, as shares."""
    one = SplitResults(results.video_ids, results.labels, results.predictions, None, False, '')
    found = estimate([one])['f1']
    return found.low / 100, found.high / 100


def _add_pictures(
    videos: list[HardVideo], data: Root | None, manifest: object, config: TrainConfig | None
) -> tuple[list[HardVideo], str, str]:
    """Returns videos with their pictures, the manifest that lists them, and the reason if none can be shown.

    Args:
      videos: of a split.
      data: the folder whose pictures may be shown, None for none.
      manifest: of the split, as its metrics name it.
      config: the run's settings, None if they are unknown.
    """
    item, root = 'frame', ''
    if config is not None:
        item = 'still' if config.stage == 'pretrain' else 'video' if config.model == 'ffn' else 'frame'
        root = config.data_root
    frames = find_frames(data, manifest, root, item)
    if data is None or frames.reason:
        return videos, '', frames.reason
    found = [
        video._replace(pictures=choose_pictures(data, frames.of_video.get(video.video_id, []))) for video in videos
    ]
    if any(video.pictures for video in found):
        return found, frames.source, ''
    return videos, '', f'{frames.source} lists none of these, or not below --data_root={data.path}'


def find_hardest(results: Results, most: int = HARDEST) -> list[HardVideo]:
    """Returns the videos whose true class got the lowest probability, the lowest first.

    The probabilities are the softmax of the logits. Videos with a fallback are left out, because the network has not
    seen them. So are videos without a label.
    """
    answered = np.array([reason == '-' for reason in results.fallback])
    rows = np.flatnonzero(answered & (results.labels >= 0))
    probabilities = softmax(results.logits[rows], axis=1)
    of_labels = probabilities[np.arange(len(rows)), results.labels[rows]]
    return [
        HardVideo(
            results.video_ids[rows[index]],
            EMOTIONS[results.labels[rows[index]]],
            EMOTIONS[results.predictions[rows[index]]],
            float(of_labels[index]),
            float(probabilities[index, results.predictions[rows[index]]]),
            [],
        )
        for index in np.argsort(of_labels, kind='stable')[:most]
    ]
