# SPDX-License-Identifier: Apache-2.0
"""The run folder of one seed: its results, and warnings about it for the reader."""

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.files import read_object
from fer.prepare_flags import ISOLATED, read_run_prepare_flags
from fer.report.changed_settings import changed_fusion, changed_settings
from fer.results.metrics import score_results
from fer.results.results_file import read_results
from fer.runs.config import read_flagfile
from fer.runs.names import (
    ENVIRONMENT_FILE,
    FINISHED_FILE,
    FLAGS_FILE,
    PREPARE_FLAGS_FILE,
    TRAIN_LOG,
    VALIDATION_LOG,
)
from fer.runs.provenance import digest

# {dataset: split in the names of its files}: of the stills of section 6.1, and of all other runs.
STILLS = {'RAF-DB': 'rafdb', 'AffectNet': 'affectnet', 'FER2013': 'fer2013'}
VIDEOS = {'AFEW': 'val'}

SEED_FOLDER = re.compile(r'(?P<run_id>.+)-seed(?P<seed>\d+)', re.DOTALL)
_LATE_FUSION = '6.5l-'
_CLIPS = ('6.4-t2-', '6.5e-')  # the beginnings of names of runs that read audio clips
_TRAINING_FILES = (FLAGS_FILE, ENVIRONMENT_FILE, TRAIN_LOG, VALIDATION_LOG)

# Warnings about a run. Its numbers are shown all the same.
FLAGS = {
    'edited': 'a metrics file differs from its results file',
    'unsigned': 'a metrics file has no checksum of its results file',
    'commits': 'made by several commits of the code',
    'uncommitted': 'the code had uncommitted changes, or its commit is unknown',
    'settings': 'the settings differ from the flagfile',
    'seed': 'the seed is not the one in the folder name: the run used another seed, was built from runs of another '
    'seed, or has the same results as another seed',
    'checkpoint': 'the evaluated checkpoint is not the one that training ended with',
    'clips': 'the audio clips were not analysed each alone (5.1.2), or nothing records how',
    'data': 'the videos differ from those of the dissertation or of another seed',
}


class Flag(NamedTuple):
    """A warning about a run."""

    kind: str  # a key of FLAGS
    text: str


class SplitResults(NamedTuple):
    """A run's predictions for the V videos, or stills, of one dataset, sorted by id."""

    ids: list[str]
    labels: np.ndarray  # int64 [V]
    predictions: np.ndarray  # int64 [V]
    cross_validated: float | None  # accuracy in percent, for a late fusion whose own score is optimistic
    optimistic: bool
    digest: str  # of the results file


class SeedRun(NamedTuple):
    """A run with one seed, finished or not."""

    run_id: str
    seed: int
    folder: Path | None  # None: only a status line exists
    results: dict[str, SplitResults]  # by dataset, complete ones only
    missing: list[str]  # the reasons why it is not finished
    status: str  # the status line of an unfinished run, or empty
    flags: list[Flag]
    commits: list[str]
    dates: list[str]  # ISO, days

    @property
    def finished(self) -> bool:
        return not self.missing


@dataclasses.dataclass
class _Findings:
    """The findings in a run folder, for the fields of SeedRun with these names."""

    seed: int
    missing: list[str] = dataclasses.field(default_factory=list)
    flags: list[Flag] = dataclasses.field(default_factory=list)
    commits: list[str] = dataclasses.field(default_factory=list)
    dates: list[str] = dataclasses.field(default_factory=list)

    def flag(self, kind: str, text: str) -> None:
        self.flags.append(Flag(kind, text))


def datasets_of(run_id: str) -> dict[str, str]:
    """Returns {dataset: split} for the datasets that a run is scored on."""
    return STILLS if run_id.startswith('6.1-') else VIDEOS


def read_seed(run_id: str, seed: int, folder: Path, settings: dict[str, str] | None, flagfile: Path | None) -> SeedRun:
    """Reads one run folder and checks it.

    Args:
      run_id: the run.
      seed: the seed in the folder's name.
      folder: the run folder.
      settings: the settings of the run's flagfile, as `read_settings` returns them. None without a flagfile.
      flagfile: that flagfile, for error messages. None without one.

    Returns:
      The run. Damaged and missing files make it unfinished.

    Raises:
      InputError: the flagfile is malformed.
    """
    found = _Findings(seed)
    fused = run_id.startswith(_LATE_FUSION) or 'results' in (settings or {})
    checkpoint = None if fused else _read_training(found, folder, settings, flagfile)
    if run_id.startswith(_CLIPS):
        _check_clips(found, folder)
    is_trained = not found.missing
    results = {}
    for dataset, split in datasets_of(run_id).items():
        metrics = _read_json(found, folder / f'metrics_{split}.json')
        split_results = _read_results(found, folder / f'results_{split}.txt', metrics)
        if split_results is None or metrics is None:
            continue
        if fused and settings is not None and (changed := changed_fusion(metrics, settings)):
            found.flag('settings', ', '.join(changed))
        _check_metrics(found, f'metrics_{split}.json', metrics, checkpoint)
        if is_trained:
            results[dataset] = split_results
    commits, dates = list(dict.fromkeys(found.commits)), sorted(set(found.dates))
    return SeedRun(run_id, seed, folder, results, found.missing, '', found.flags, commits, dates)


def _read_training(
    found: _Findings, folder: Path, settings: dict[str, str] | None, flagfile: Path | None
) -> str | None:
    """Adds the findings about a folder's training to `found`. Returns the checkpoint that training ended with."""
    found.missing.extend(f'no {name}' for name in _TRAINING_FILES if not (folder / name).exists())
    if (folder / FLAGS_FILE).exists():
        _check_flags(found, folder, settings, flagfile)
    first = [folder / ENVIRONMENT_FILE] if (folder / ENVIRONMENT_FILE).exists() else []
    for path in [*first, *sorted(folder.glob('environment_*.json'))]:
        environment = _read_json(found, path)
        if environment is not None:
            _note_origin(found, path.name, environment, environment.get('started'))
    finished = _read_json(found, folder / FINISHED_FILE)
    if finished is None:
        return None
    checkpoint = _checkpoint_of(finished)
    if checkpoint is None:
        found.missing.append(f'{FINISHED_FILE}: no checkpoint')
    return checkpoint


def _check_flags(found: _Findings, folder: Path, settings: dict[str, str] | None, flagfile: Path | None) -> None:
    """Compares the run's own flags with its name and with its flagfile."""
    try:
        config = read_flagfile(folder / FLAGS_FILE)
    except InputError as error:
        found.missing.append(_without_folder(error, folder))
        return
    if config.seed != found.seed:
        found.flag('seed', f'named seed {found.seed}, ran with --seed={config.seed}')
    _check_parents(found, FLAGS_FILE, (config.init_from, config.audio_run_dir))
    if settings is not None and flagfile is not None and (changed := changed_settings(config, settings, flagfile)):
        found.flag('settings', ', '.join(changed))


def _check_clips(found: _Findings, folder: Path) -> None:
    """Flags a run whose audio clips were not analysed each alone, as section 5.1.2 does."""
    try:
        prepare_flags = read_run_prepare_flags(folder / PREPARE_FLAGS_FILE)
    except InputError as error:
        found.missing.append(_without_folder(error, folder))
        return
    contexts = {flags.get('clip_context', 'unknown') for flags in prepare_flags.values()} or {'unknown'}
    if contexts != {ISOLATED}:
        found.flag('clips', f'--clip_context={",".join(sorted(contexts))} ({ISOLATED})')


def _check_metrics(found: _Findings, name: str, metrics: dict[str, Any], checkpoint: str | None) -> None:
    """Checks the checkpoint, the members and the code that a metrics file was made with.

    Args:
      found: receives the flags, commits and dates.
      name: the metrics file.
      metrics: its content.
      checkpoint: the checkpoint that training ended with. None for a late fusion, or if it is unknown.
    """
    evaluated = _checkpoint_of(metrics)
    if checkpoint is not None and evaluated != checkpoint:
        found.flag('checkpoint', f'{name}: evaluated {evaluated}; training ended with {checkpoint}')
    listed = [metrics.get(key) for key in ('members', 'weights_from')]
    members = [path for paths in listed if isinstance(paths, list) for path in paths]
    _check_parents(found, name, [path for path in members if isinstance(path, str)])
    _note_origin(found, name, metrics, metrics.get('written'))


def _checkpoint_of(origin: dict[str, Any]) -> str | None:
    name = origin.get('checkpoint')
    return name if isinstance(name, str) and name else None


def _check_parents(found: _Findings, name: str, paths: Iterable[str]) -> None:
    """Flags each parent of another seed. `paths` are the runs that this run was built from, listed in file `name`."""
    for path in paths:
        folders = [match for part in Path(path).parts if (match := SEED_FOLDER.fullmatch(part))]
        # The innermost folder is the run's. Those around it may have any name.
        if folders and int(folders[-1]['seed']) != found.seed:
            found.flag('seed', f'{name}: built from {folders[-1].group()}, but this is seed {found.seed}')


def _note_origin(found: _Findings, name: str, origin: dict[str, Any], date: object) -> None:
    """Adds the commit and the date (ISO) that the file `name` gives as its origin."""
    commit, changes = origin.get('commit'), origin.get('uncommitted_changes')
    if isinstance(commit, str) and commit:
        found.commits.append(commit)
    else:
        found.flag('uncommitted', f'{name}: unknown commit')
    if changes:
        found.flag('uncommitted', f'{name}: the code had uncommitted changes')
    elif changes is None and commit:
        found.flag('uncommitted', f'{name}: unknown whether the code had uncommitted changes')
    if isinstance(date, str) and date:
        found.dates.append(date[: len('2019-09-01')])


def _read_json(found: _Findings, path: Path) -> dict[str, Any] | None:
    try:
        return read_object(path)
    except FileNotFoundError:
        found.missing.append(f'no {path.name}')
    except (OSError, ValueError) as error:
        found.missing.append(f'{path.name}: {error}')
    return None


def _read_results(found: _Findings, path: Path, metrics: dict | None) -> SplitResults | None:
    """Reads a results file, and compares it with the metrics that were computed from it."""
    if not path.exists():
        found.missing.append(f'no {path.name}')
        return None
    try:
        results = read_results(path)
        computed = score_results(results, path.name)
    except InputError as error:
        found.missing.append(_without_folder(error, path.parent))
        return None
    if computed is None:
        found.missing.append(f'{path.name}: no labels')
        return None
    sha256 = digest(path)
    if metrics is not None:
        found.flags += compare_metrics(path.name, computed, sha256, metrics)
    order = sorted(range(len(results.video_ids)), key=results.video_ids.__getitem__)
    validation = (metrics or {}).get('cross_validated')
    accuracy = validation.get('accuracy') if isinstance(validation, dict) else None
    return SplitResults(
        [results.video_ids[index] for index in order],
        results.labels[order],
        results.predictions[order],
        100 * accuracy if isinstance(accuracy, float) and 0 <= accuracy <= 1 else None,
        bool((metrics or {}).get('optimistic')),
        sha256,
    )


def compare_metrics(results_name: str, computed: dict, sha256: str, metrics: dict) -> list[Flag]:
    """Returns the flags of a metrics file that differs from the metrics computed from its results file."""
    name = results_name.replace('results_', 'metrics_').replace('.txt', '.json')
    flags = []
    wrong = [key for key, value in computed.items() if not _agree(value, metrics.get(key))]
    if wrong:
        flags.append(Flag('edited', f'{name}: {", ".join(wrong)} differs from {results_name}'))
    if not metrics.get('results_sha256'):
        flags.append(Flag('unsigned', f'{name}: no results_sha256'))
    elif metrics['results_sha256'] != sha256:
        flags.append(Flag('edited', f'{results_name}: not the file that {name} was computed from'))
    return flags


def _agree(computed: Any, written: Any) -> bool:
    """Returns whether two JSON values are equal. Numbers may differ by 1e-9."""
    if isinstance(computed, dict):
        return isinstance(written, dict) and all(_agree(value, written.get(key)) for key, value in computed.items())
    if isinstance(computed, list):
        return (
            isinstance(written, list)
            and len(computed) == len(written)
            and all(_agree(*pair) for pair in zip(computed, written, strict=True))
        )
    if isinstance(computed, str) or not isinstance(written, int | float):
        return computed == written
    return abs(computed - written) <= 1e-9


def _without_folder(error: InputError, folder: Path) -> str:
    """Returns the error without the path of the run folder, which the report shows anyway."""
    return str(error).replace(f'{folder}/', '')


def pooled_confusion(results: list[SplitResults]) -> np.ndarray:
    """Returns the confusion counts of several seeds together, int64 [7, 7], rows = truth."""
    counts = np.zeros((len(EMOTIONS), len(EMOTIONS)), np.int64)
    for one in results:
        np.add.at(counts, (one.labels, one.predictions), 1)
    return counts
