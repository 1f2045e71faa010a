"""What is below a folder of runs: for each run id and seed its answers, and whatever of them is not as it should be."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.evaluation.metrics import score_results
from fer.evaluation.results import read_results
from fer.flagfiles import find_runs, read_settings
from fer.provenance import ENVIRONMENT_FILE, digest
from fer.report.flagfiles import changed_fusion, changed_settings
from fer.report.logs import TRAIN_LOG, VALIDATION_LOG
from fer.training.config import FLAGS_FILE, read_flagfile

# {dataset: the name of its split's files}: of stills (6.1), and of everything else.
STILLS = {'RAF-DB': 'rafdb', 'AffectNet': 'affectnet', 'FER2013': 'fer2013'}
VIDEOS = {'AFEW': 'val'}
AFEW_VIDEOS = 383  # of its validation set (2.2.2)
STATUS_FOLDER = 'status'

_RUN_FOLDER = re.compile(r'(?P<run_id>\d+\.\d+[a-z]?-t\d+-r\d+)-seed(?P<seed>\d+)')
_LATE_FUSION = '6.5l'
_TRAINED = (FLAGS_FILE, ENVIRONMENT_FILE, TRAIN_LOG, VALIDATION_LOG)  # what train.py leaves of what is read here
_STATUS_LENGTH = 300  # characters of a status line that are shown

# What can be wrong with a run whose numbers are shown all the same.
FLAGS = {
    'edited': 'a metrics file is not what its results file gives',
    'unsigned': 'a metrics file does not say which results it is of',
    'commits': 'made by several commits',
    'uncommitted': 'made by code with changes that are in no commit',
    'settings': 'other settings than those of its flagfile',
    'seed': 'the seed of its name is not the one it ran with',
    'data': 'other videos than the dissertation, or than another seed',
}


class Flag(NamedTuple):
    """Something of a run that a reader has to know."""

    kind: str  # a key of FLAGS
    text: str


class Answers(NamedTuple):
    """A run's answers for the V videos, or stills, of one dataset; sorted by id."""

    ids: list[str]
    labels: np.ndarray  # int64 [V]
    predictions: np.ndarray  # int64 [V]
    cross_validated: (
        float | None
    )  # percent, the accuracy that the metrics file of an optimistic late fusion gives beside
    optimistic: bool


class Seed(NamedTuple):
    """One run folder, finished or not."""

    run_id: str
    seed: int
    folder: Path | None  # None: there is no more than a status line
    answers: dict[str, Answers]  # by dataset; whole ones only
    lacking: list[str]  # what keeps it from being finished
    status: str  # of a run that is not finished, its status line; empty without one
    flags: list[Flag]
    commits: list[str]
    dates: list[str]  # ISO, days

    @property
    def finished(self) -> bool:
        return not self.lacking


def datasets_of(run_id: str) -> dict[str, str]:
    """{dataset: split} of what a run is scored on."""
    return STILLS if run_id.startswith('6.1-') else VIDEOS


def read_seeds(root: Path, configs: Path) -> tuple[dict[str, list[Seed]], list[str]]:
    """Every run below a folder.

    Args:
      root: of the runs, at any depth; its folder `status` has a line for each run that a queue has tried.
      configs: of the flagfiles.

    Returns:
      The seeds of each run id in ascending order; the run ids among them that have no flagfile.

    Raises:
      InputError: there is no such folder, two folders claim one run and seed, or a flagfile is malformed.
    """
    if not root.is_dir():
        raise InputError(f'--runs={root}: {"a file" if root.exists() else "not found"}; expected a folder of runs')
    folders: dict[tuple[str, int], Path] = {}
    for folder, key in _find_folders(root):
        if key in folders:
            raise InputError(f'{folders[key]} and {folder}: both claim run {key[0]}, seed {key[1]}; expected one')
        folders[key] = folder
    statuses = _read_statuses(root / STATUS_FOLDER)
    flagfiles = dict(find_runs(configs))
    expected = {
        run_id: read_settings(flagfiles[run_id]) for run_id in {run_id for run_id, _ in folders} if run_id in flagfiles
    }
    seeds: dict[str, list[Seed]] = {}
    for key in sorted({*folders, *statuses}):
        run_id, number = key
        if key in folders:
            seed = _read_seed(run_id, number, folders[key], expected.get(run_id), flagfiles.get(run_id))
            if not seed.finished:
                seed = seed._replace(status=statuses.get(key, ''))
        else:
            seed = Seed(run_id, number, None, {}, ['no run folder'], statuses[key], [], [], [])
        seeds.setdefault(run_id, []).append(seed)
    return seeds, sorted({run_id for run_id, _ in folders} - set(flagfiles))


def _find_folders(root: Path) -> Iterator[tuple[Path, tuple[str, int]]]:
    for folder, names, _ in os.walk(root):
        inner = []
        for name in sorted(names):
            match = _RUN_FOLDER.fullmatch(name)
            if match:
                yield Path(folder) / name, (match['run_id'], int(match['seed']))
            elif not (name == STATUS_FOLDER and Path(folder) == root):
                inner.append(name)
        names[:] = inner  # a run's own folders are no runs


def _read_statuses(folder: Path) -> dict[tuple[str, int], str]:
    statuses = {}
    for path in sorted(folder.glob('*.txt')):
        match = _RUN_FOLDER.fullmatch(path.stem)
        if match:
            text = ' '.join(path.read_text(encoding='utf-8', errors='replace').split())
            statuses[match['run_id'], int(match['seed'])] = text[:_STATUS_LENGTH]
    return statuses


def _read_seed(run_id: str, number: int, folder: Path, expected: dict[str, str] | None, flagfile: Path | None) -> Seed:
    seed = Seed(run_id, number, folder, {}, [], '', [], [], [])
    fused = run_id.startswith(f'{_LATE_FUSION}-')
    if not fused:
        _read_training(seed, folder, expected, flagfile)
    whole = not seed.lacking
    for dataset, split in datasets_of(run_id).items():
        metrics = _read_json(seed, folder / f'metrics_{split}.json')
        answers = _read_answers(seed, folder / f'results_{split}.txt', metrics)
        if answers is None or metrics is None:
            continue
        if fused and expected is not None and (changed := changed_fusion(metrics, expected)):
            seed.flags.append(Flag('settings', f'{", ".join(changed)}'))
        _note_origin(seed, metrics.get('commit'), metrics.get('written'))
        if whole:
            seed.answers[dataset] = answers
    return seed._replace(commits=list(dict.fromkeys(seed.commits)), dates=sorted(set(seed.dates)))


def _read_training(seed: Seed, folder: Path, expected: dict[str, str] | None, flagfile: Path | None) -> None:
    """Adds what a folder says of its training to the lists of `seed`."""
    seed.lacking.extend(f'no {name}' for name in _TRAINED if not (folder / name).exists())
    if (folder / FLAGS_FILE).exists():
        try:
            config = read_flagfile(folder / FLAGS_FILE)
        except InputError as error:
            seed.lacking.append(_shorter(error, folder))
        else:
            if config.seed != seed.seed:
                seed.flags.append(Flag('seed', f'named seed {seed.seed}, ran with --seed={config.seed}'))
            if expected is not None and flagfile is not None:
                changed = changed_settings(config, expected, flagfile)
                if changed:
                    seed.flags.append(Flag('settings', ', '.join(changed)))
    first = [folder / ENVIRONMENT_FILE] if (folder / ENVIRONMENT_FILE).exists() else []
    for path in [*first, *sorted(folder.glob('environment_*.json'))]:
        environment = _read_json(seed, path)
        if environment is None:
            continue
        _note_origin(seed, environment.get('commit'), environment.get('started'))
        if environment.get('uncommitted_changes'):
            seed.flags.append(Flag('uncommitted', f'{path.name}: code with changes in no commit'))


def _note_origin(seed: Seed, commit: object, date: object) -> None:
    if isinstance(commit, str) and commit:
        seed.commits.append(commit)
    if isinstance(date, str) and date:
        seed.dates.append(date[: len('2019-09-01')])


def _read_json(seed: Seed, path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(value, dict):
            raise ValueError('no object')
    except FileNotFoundError:
        seed.lacking.append(f'no {path.name}')
    except (OSError, ValueError) as error:  # json's and Unicode's errors are ValueErrors
        seed.lacking.append(f'{path.name}: {error}')
    else:
        return value
    return None


def _read_answers(seed: Seed, path: Path, metrics: dict | None) -> Answers | None:
    if not path.exists():
        seed.lacking.append(f'no {path.name}')
        return None
    try:
        results = read_results(path)
        computed = score_results(results, path.name)
    except InputError as error:
        seed.lacking.append(_shorter(error, path.parent))
        return None
    if computed is None:
        seed.lacking.append(f'{path.name}: no labels')
        return None
    if metrics is not None:
        name = path.name.replace('results_', 'metrics_').replace('.txt', '.json')
        wrong = [key for key, value in computed.items() if not _same(value, metrics.get(key))]
        if wrong:
            seed.flags.append(Flag('edited', f'{name}: {", ".join(wrong)} not what {path.name} gives'))
        if not metrics.get('results_sha256'):
            seed.flags.append(Flag('unsigned', f'{name}: no results_sha256'))
        elif metrics['results_sha256'] != digest(path):
            seed.flags.append(Flag('edited', f'{path.name}: not the file that {name} was made from'))
    order = sorted(range(len(results.video_ids)), key=results.video_ids.__getitem__)
    validation = (metrics or {}).get('cross_validated')
    accuracy = validation.get('accuracy') if isinstance(validation, dict) else None
    return Answers(
        [results.video_ids[index] for index in order],
        results.labels[order],
        results.predictions[order],
        100 * accuracy if isinstance(accuracy, float) else None,
        bool((metrics or {}).get('optimistic')),
    )


def _same(computed: Any, written: Any) -> bool:
    """Whether two values of JSON agree, numbers to nine digits."""
    if isinstance(computed, dict):
        return isinstance(written, dict) and all(_same(value, written.get(key)) for key, value in computed.items())
    if isinstance(computed, list):
        return (
            isinstance(written, list)
            and len(computed) == len(written)
            and all(_same(*pair) for pair in zip(computed, written, strict=True))
        )
    if isinstance(computed, str) or not isinstance(written, int | float):
        return computed == written
    return abs(computed - written) <= 1e-9


def _shorter(error: InputError, folder: Path) -> str:
    """An error without the path of the run folder, which is named anyway."""
    return str(error).replace(f'{folder}/', '')


def pooled_confusion(answers: list[Answers]) -> np.ndarray:
    """int64 [7, 7], rows = truth: the counts of several seeds together."""
    counts = np.zeros((len(EMOTIONS), len(EMOTIONS)), np.int64)
    for one in answers:
        np.add.at(counts, (one.labels, one.predictions), 1)
    return counts
