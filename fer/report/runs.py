"""What is below a folder of runs: for each run id and seed its answers, and whatever of them is not as it should be."""

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.files import read_object
from fer.report.changed_settings import changed_fusion, changed_settings
from fer.results.metrics import score_results
from fer.results.results_file import read_results
from fer.runs.config import read_flagfile
from fer.runs.flagfiles import find_runs, read_settings
from fer.runs.names import ENVIRONMENT_FILE, FINISHED_FILE, FLAGS_FILE, STATUS_FOLDER, TRAIN_LOG, VALIDATION_LOG
from fer.runs.provenance import digest
from fer.runs.status import read_status

# {dataset: the name of its split's files}: of stills (6.1), and of everything else.
STILLS = {'RAF-DB': 'rafdb', 'AffectNet': 'affectnet', 'FER2013': 'fer2013'}
VIDEOS = {'AFEW': 'val'}
AFEW_VIDEOS = 383  # of its validation set (2.2.2)

_SEED_FOLDER = re.compile(r'(?P<run_id>.+)-seed(?P<seed>\d+)', re.DOTALL)
_RUN_ID = re.compile(r'\d+\.\d+[a-z]?-t\d+-r\d+')
_LATE_FUSION = '6.5l'
_TRAINED = (FLAGS_FILE, ENVIRONMENT_FILE, TRAIN_LOG, VALIDATION_LOG)  # what train.py leaves of what is read here
_STATUS_LENGTH = 300  # characters of a status line that are shown

# What can be wrong with a run whose numbers are shown all the same.
FLAGS = {
    'edited': 'a metrics file is not what its results file gives',
    'unsigned': 'a metrics file does not say which results it is of',
    'commits': 'made by several commits',
    'uncommitted': 'made by code with changes that are in no commit, or of which that is not known',
    'settings': 'other settings than those of its flagfile',
    'seed': 'not the seed of its name: it ran with another, is made of runs of another, or repeats the results of one',
    'checkpoint': 'evaluated with another checkpoint than its training ended with',
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
    # Percent, the accuracy that the metrics file of an optimistic late fusion gives beside.
    cross_validated: float | None
    optimistic: bool
    digest: str  # of the results file


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


class Found(NamedTuple):
    """All that is below a folder of runs."""

    seeds: dict[str, list[Seed]]  # of each run id, in ascending order
    unchecked: list[str]  # the run ids with a folder that have no flagfile
    ignored: list[str]  # folders that end like a run's and are called neither as one nor as a flagfile, below the root


def datasets_of(run_id: str) -> dict[str, str]:
    """{dataset: split} of what a run is scored on."""
    return STILLS if run_id.startswith('6.1-') else VIDEOS


def read_seeds(root: Path, configs: Path) -> Found:
    """Every run below a folder, links to folders included: what is called as a run of chapter 6, or as a flagfile.

    Args:
      root: of the runs, at any depth; its folder `status` has a line for each run that a queue has tried.
      configs: of the flagfiles.

    Raises:
      InputError: there is no such folder, two folders claim one run and seed, or a flagfile is malformed.
    """
    if not root.is_dir():
        raise InputError(f'--runs={root}: {"a file" if root.exists() else "not found"}; expected a folder of runs')
    flagfiles = dict(find_runs(configs))
    folders: dict[tuple[str, int], Path] = {}
    ignored = []
    for folder, key in _find_folders(root):
        if not _is_run(key[0], flagfiles):
            ignored.append(str(folder.relative_to(root)))
            continue
        if key in folders:
            raise InputError(f'{folders[key]} and {folder}: both claim run {key[0]}, seed {key[1]}; expected one')
        folders[key] = folder
    statuses = _read_statuses(root, flagfiles)
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
    return Found(seeds, sorted({run_id for run_id, _ in folders} - set(flagfiles)), ignored)


def _is_run(run_id: str, flagfiles: Collection[str]) -> bool:
    return run_id in flagfiles or _RUN_ID.fullmatch(run_id) is not None


def _find_folders(root: Path) -> list[tuple[Path, tuple[str, int]]]:
    """Folders called <something>-seed<k>, and what they are called. None is looked for inside of another.

    A folder that is there and linked to, or linked to twice, counts once, unless it is called differently. A link to a
    folder that the link lies in is not followed.
    """
    found = []
    entered = {_identity(folder) for folder in root.resolve().parents}
    named = set()
    for place, names, _ in os.walk(root, followlinks=True):
        folder = Path(place)
        if _identity(folder) in entered:
            names.clear()
            continue
        entered.add(_identity(folder))
        inner = []
        for name in sorted(names):
            match = _SEED_FOLDER.fullmatch(name)
            if match:
                key = match['run_id'], int(match['seed'])
                if (key, _identity(folder / name)) not in named:
                    named.add((key, _identity(folder / name)))
                    found.append((folder / name, key))
            elif not (name == STATUS_FOLDER and folder == root):
                inner.append(name)
        names[:] = inner
    return found


def _identity(folder: Path) -> tuple[int, int]:
    """Of the folder itself, by whichever links it was reached."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _read_statuses(root: Path, flagfiles: Collection[str]) -> dict[tuple[str, int], str]:
    """Of each run that a queue has tried, the state and what is said of it."""
    statuses = {}
    for path in sorted((root / STATUS_FOLDER).glob('*.txt')):
        match = _SEED_FOLDER.fullmatch(path.stem)
        status = read_status(root, path.stem) if match and _is_run(match['run_id'], flagfiles) else None
        if match and status:
            text = ': '.join(part for part in (status.state, status.text) if part)
            statuses[match['run_id'], int(match['seed'])] = text[:_STATUS_LENGTH]
    return statuses


def _read_seed(run_id: str, number: int, folder: Path, expected: dict[str, str] | None, flagfile: Path | None) -> Seed:
    seed = Seed(run_id, number, folder, {}, [], '', [], [], [])
    fused = run_id.startswith(f'{_LATE_FUSION}-') or 'results' in (expected or {})
    ended = None if fused else _read_training(seed, folder, expected, flagfile)
    whole = not seed.lacking
    for dataset, split in datasets_of(run_id).items():
        metrics = _read_json(seed, folder / f'metrics_{split}.json')
        answers = _read_answers(seed, folder / f'results_{split}.txt', metrics)
        if answers is None or metrics is None:
            continue
        if fused and expected is not None and (changed := changed_fusion(metrics, expected)):
            seed.flags.append(Flag('settings', f'{", ".join(changed)}'))
        name = f'metrics_{split}.json'
        if ended is not None and _checkpoint_of(metrics) != ended:
            seed.flags.append(Flag('checkpoint', f'{name}: of {_checkpoint_of(metrics)}; training ended with {ended}'))
        listed = [metrics.get(key) for key in ('members', 'weights_from')]
        members = [path for paths in listed if isinstance(paths, list) for path in paths]
        _check_origins(seed, name, [path for path in members if isinstance(path, str)])
        _note_origin(seed, name, metrics, metrics.get('written'))
        if whole:
            seed.answers[dataset] = answers
    return seed._replace(commits=list(dict.fromkeys(seed.commits)), dates=sorted(set(seed.dates)))


def _read_training(seed: Seed, folder: Path, expected: dict[str, str] | None, flagfile: Path | None) -> str | None:
    """Adds what a folder says of its training to the lists of `seed`; returns the checkpoint that it ended with."""
    seed.lacking.extend(f'no {name}' for name in _TRAINED if not (folder / name).exists())
    if (folder / FLAGS_FILE).exists():
        try:
            config = read_flagfile(folder / FLAGS_FILE)
        except InputError as error:
            seed.lacking.append(_shorter(error, folder))
        else:
            if config.seed != seed.seed:
                seed.flags.append(Flag('seed', f'named seed {seed.seed}, ran with --seed={config.seed}'))
            _check_origins(seed, FLAGS_FILE, (config.init_from, config.audio_run_dir))
            if expected is not None and flagfile is not None:
                changed = changed_settings(config, expected, flagfile)
                if changed:
                    seed.flags.append(Flag('settings', ', '.join(changed)))
    first = [folder / ENVIRONMENT_FILE] if (folder / ENVIRONMENT_FILE).exists() else []
    for path in [*first, *sorted(folder.glob('environment_*.json'))]:
        environment = _read_json(seed, path)
        if environment is None:
            continue
        _note_origin(seed, path.name, environment, environment.get('started'))
    finished = _read_json(seed, folder / FINISHED_FILE)
    if finished is None:
        return None
    checkpoint = _checkpoint_of(finished)
    if checkpoint is None:
        seed.lacking.append(f'{FINISHED_FILE}: no checkpoint')
    return checkpoint


def _checkpoint_of(origin: dict[str, Any]) -> str | None:
    name = origin.get('checkpoint')
    return name if isinstance(name, str) and name else None


def _check_origins(seed: Seed, name: str, paths: Iterable[str]) -> None:
    """Flags what `seed` is made of according to the file `name`, where it is of another seed."""
    for path in paths:
        folders = [match for part in Path(path).parts if (match := _SEED_FOLDER.fullmatch(part))]
        # The innermost is the run's; those around it may be called after whatever they were gathered for.
        if folders and int(folders[-1]['seed']) != seed.seed:
            seed.flags.append(Flag('seed', f'{name}: made of {folders[-1].group()}, this is seed {seed.seed}'))


def _note_origin(seed: Seed, name: str, origin: dict[str, Any], date: object) -> None:
    """Adds code and date that the file `name` says it was made by and at; `date` is ISO."""
    commit, changes = origin.get('commit'), origin.get('uncommitted_changes')
    if isinstance(commit, str) and commit:
        seed.commits.append(commit)
    else:
        seed.flags.append(Flag('uncommitted', f'{name}: unknown commit'))
    if changes:
        seed.flags.append(Flag('uncommitted', f'{name}: code with changes in no commit'))
    elif changes is None and commit:
        seed.flags.append(Flag('uncommitted', f'{name}: unknown whether the code had changes in no commit'))
    if isinstance(date, str) and date:
        seed.dates.append(date[: len('2019-09-01')])


def _read_json(seed: Seed, path: Path) -> dict[str, Any] | None:
    try:
        return read_object(path)
    except FileNotFoundError:
        seed.lacking.append(f'no {path.name}')
    except (OSError, ValueError) as error:
        seed.lacking.append(f'{path.name}: {error}')
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
    sha256 = digest(path)
    if metrics is not None:
        name = path.name.replace('results_', 'metrics_').replace('.txt', '.json')
        wrong = [key for key, value in computed.items() if not _same(value, metrics.get(key))]
        if wrong:
            seed.flags.append(Flag('edited', f'{name}: {", ".join(wrong)} not what {path.name} gives'))
        if not metrics.get('results_sha256'):
            seed.flags.append(Flag('unsigned', f'{name}: no results_sha256'))
        elif metrics['results_sha256'] != sha256:
            seed.flags.append(Flag('edited', f'{path.name}: not the file that {name} was made from'))
    order = sorted(range(len(results.video_ids)), key=results.video_ids.__getitem__)
    validation = (metrics or {}).get('cross_validated')
    accuracy = validation.get('accuracy') if isinstance(validation, dict) else None
    return Answers(
        [results.video_ids[index] for index in order],
        results.labels[order],
        results.predictions[order],
        100 * accuracy if isinstance(accuracy, float) and 0 <= accuracy <= 1 else None,
        bool((metrics or {}).get('optimistic')),
        sha256,
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
