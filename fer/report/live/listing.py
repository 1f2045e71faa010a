# SPDX-License-Identifier: Apache-2.0
"""Finds the runs below a folder, and reads of each what the list shows: its state, its progress and its scores."""

import csv
import functools
import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fer.errors import InputError
from fer.files import describe, is_temporary, read_object
from fer.report.live.folders import Root, Signature
from fer.results.metrics import wilson_interval
from fer.runs.config import read_flag_texts
from fer.runs.heartbeat import SILENT_SECONDS, process_is_gone
from fer.runs.lock import read_holder
from fer.runs.logs import ONE_DATASET, read_last_row, read_log
from fer.runs.names import FINISHED_FILE, FLAGS_FILE, LOCK_FILE, STATUS_FOLDER, TRAIN_LOG, VALIDATION_LOG
from fer.runs.status import FAILED, QUEUED, STARTED, STOPPED, is_alive, read_status, status_path

RUNNING, SILENT, FINISHED, UNFINISHED = 'running', 'silent', 'finished', 'unfinished'
FUSION = 'late fusion'  # in the place of the stage
_SCORED = re.compile(r'(results|metrics)_(?P<split>.+)\.(txt|json)', re.DOTALL)
_METRICS = re.compile(r'metrics_(?P<split>.+)\.json', re.DOTALL)
_MOST_FOLDERS = 50_000  # folders that are searched for runs, because somebody may give /


class State(NamedTuple):
    """The state of a run."""

    kind: str  # one of the above or of fer.runs.status
    text: str  # one line more about it, or empty


class Score(NamedTuple):
    """The score of a run on a split."""

    split: str
    correct: int
    total: int
    f1: float | None  # in [0, 1]
    is_final: bool  # False for the validation after an epoch
    is_optimistic: bool  # a late fusion was fitted on these videos

    @property
    def accuracy(self) -> float:
        return self.correct / max(self.total, 1)

    @property
    def interval(self) -> list[float]:
        """Returns Wilson's 95% interval of the accuracy, [low, high] in [0, 1]."""
        return wilson_interval(self.correct, self.total)


class Summary(NamedTuple):
    """The facts about a run that the list shows, from its files."""

    stage: str  # empty if unknown
    model: str  # the network, for a late fusion its method
    epoch: int | None  # the last one that a step was logged in
    epochs: int | None  # of the whole run
    end: str | None  # how the run ended. None if it has not
    scores: list[Score]  # of evaluated splits, or of the last validation without such splits
    problems: list[str]  # what could not be read


class RunFolder(NamedTuple):
    """A folder that holds a run."""

    name: str  # relative to the root, parts separated by /
    path: Path
    files: dict[str, Signature]
    links: list[str]  # names of links that are not read, because they lead out of the root or to nothing

    @property
    def changed(self) -> float:
        """Returns when the folder's newest file was written, in seconds since 1970."""
        return max((written for _, _, written in self.files.values()), default=0) / 1e9

    def splits(self) -> list[str]:
        """Returns the splits that have results or metrics."""
        return sorted({match['split'] for name in self.files if (match := _SCORED.fullmatch(name))})


class RunRow(NamedTuple):
    """A run of the list."""

    folder: RunFolder
    state: State
    summary: Summary


class FoundRuns(NamedTuple):
    """The runs below a root, and notes about what was not searched."""

    folders: list[RunFolder]
    notes: list[str]


def find_runs(root: Root) -> FoundRuns:
    """Finds the run folders below a root, at any depth. Folders inside a run and links to folders are not entered."""
    found, notes, outside, searched = [], [], [], 0
    waiting = [root.path]
    while waiting:
        if searched == _MOST_FOLDERS:
            notes.append(f'Only {_MOST_FOLDERS} folders were searched; choose a smaller folder with --runs')
            break
        folder = waiting.pop()
        searched += 1
        try:
            run, inner, links = _look_into(root, folder)
        except FileNotFoundError:  # deleted meanwhile
            continue
        except OSError as error:
            notes.append(f'Not searched: {describe(error)}')
            continue
        outside += links
        if run:
            found.append(run)
        else:
            waiting += inner
    if outside:
        more = f' and {len(outside) - 3} more' if len(outside) > 3 else ''
        names = ', '.join(sorted(outside)[:3])
        notes.append(f'Links that lead out of --runs, or to nothing, are not followed: {names}{more}')
    return FoundRuns(found, notes)


def open_run(root: Root, name: str) -> RunFolder | None:
    """Returns the run folder of a name from outside, None if it is not a run below the root."""
    folder = root.find(name)
    if folder is None or not folder.is_dir():
        return None
    try:
        return _look_into(root, folder)[0]
    except OSError:
        return None


def _look_into(root: Root, folder: Path) -> tuple[RunFolder | None, list[Path], list[str]]:
    """Returns the run that a folder holds or None, the folders inside, and the names of links that lead outside."""
    with os.scandir(folder) as found:
        entries = list(found)
    is_run = folder != root.path and any(entry.name == FLAGS_FILE or _SCORED.fullmatch(entry.name) for entry in entries)
    files, inner, links = {}, [], []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            is_status = entry.name == STATUS_FOLDER and folder == root.path
            if not is_status and not (entry.name.startswith('.') and is_temporary(Path(entry.path))):
                inner.append(folder / entry.name)
        elif is_run or (entry.is_symlink() and os.path.isdir(entry.path)):  # prepared data may have a million files
            if entry.is_symlink() and root.inside(entry.path) is None:
                links.append(entry.name)
            elif (signature := _sign_entry(entry)) is not None:
                files[entry.name] = signature
    name = folder.relative_to(root.path).as_posix()
    run = RunFolder(name, folder, files, links) if is_run else None
    return run, inner, [os.path.normpath(os.path.join(name, link)) for link in links]


def _sign_entry(entry: os.DirEntry) -> Signature | None:
    """Returns the signature of a file, None for anything else."""
    try:
        status = entry.stat()
    except OSError:  # deleted meanwhile
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def list_runs(root: Root) -> tuple[list[RunRow], list[str]]:
    """Returns all runs, the last written first, and notes about what was not searched."""
    found = find_runs(root)
    rows = [describe_run(root, folder) for folder in found.folders]
    return sorted(rows, key=lambda row: (-row.folder.changed, row.folder.name)), found.notes


def describe_run(root: Root, folder: RunFolder) -> RunRow:
    """Returns the row of a run. Damaged files become problems of the row."""
    relevant = (FLAGS_FILE, FINISHED_FILE, TRAIN_LOG, VALIDATION_LOG)
    signatures = tuple(
        (name, signature)
        for name, signature in sorted(folder.files.items())
        if name in relevant or _METRICS.fullmatch(name)
    )
    summary = _summarise(root, folder.path, signatures)
    return RunRow(folder, _read_state(root, folder, summary), summary)


@functools.lru_cache(maxsize=20_000)
def _summarise(root: Root, folder: Path, signatures: tuple[tuple[str, Signature], ...]) -> Summary:
    """Returns the facts in the files of a run. They are read once for the same signatures."""
    names = [name for name, _ in signatures]
    problems: list[str] = []
    flags = try_read(problems, root, folder, FLAGS_FILE, read_flag_texts) or {}
    end = try_read(problems, root, folder, FINISHED_FILE, read_object)
    metrics = {}
    for name in names:
        if (match := _METRICS.fullmatch(name)) and (content := try_read(problems, root, folder, name, read_object)):
            metrics[match['split']] = content
    scores = [score for split, one in metrics.items() if (score := _score_of(split, one, problems))]
    if not scores:
        scores = _last_validation(try_read(problems, root, folder, VALIDATION_LOG, _read_begun_log) or {}, problems)
    last = try_read(problems, root, folder, TRAIN_LOG, read_last_row) or {}
    fused: dict[str, Any] = next((one for one in metrics.values() if not flags and 'method' in one), {})
    return Summary(
        flags.get('stage', FUSION if fused else ''),
        flags.get('model', f'method {fused["method"]}' if fused else ''),
        _whole(last.get('epoch', '')),
        _planned_epochs(flags.get('train_epochs', '')),
        None if end is None else f'step {end.get("step")}, {end.get("reason")}',
        scores,
        problems,
    )


def try_read(problems: list[str], root: Root, folder: Path, name: str, read: Callable[[Path], Any]) -> Any:
    """Returns what `read` makes of a file of a run. None if the file is missing, or damaged, which is a problem."""
    try:
        path = root.read_in(folder, name)
        return None if path is None else read(path)
    except FileNotFoundError:  # deleted meanwhile
        return None
    except OSError as error:
        problems.append(f'{name}: {error.strerror}')
    except (InputError, ValueError, csv.Error) as error:
        text = str(error).removeprefix(f'{folder}/').removeprefix(f'{name}: ')
        problems.append(f'{name}: {text}')
    return None


def _read_begun_log(path: Path) -> dict[str, list[str]]:
    """Returns the columns of a log, none for an empty file: a run writes its first rows after some time."""
    return read_log(path) if path.stat().st_size else {}


def _score_of(split: str, metrics: Mapping[str, Any], problems: list[str]) -> Score | None:
    correct, total, f1 = metrics.get('correct'), metrics.get('total'), metrics.get('f1')
    if type(correct) is not int or type(total) is not int or not 0 <= correct <= total:
        problems.append(f'metrics_{split}.json: no numbers correct and total')
        return None
    f1 = float(f1) if isinstance(f1, int | float) and 0 <= f1 <= 1 else None
    return Score(split, correct, total, f1, True, bool(metrics.get('optimistic')))


def _last_validation(log: Mapping[str, list[str]], problems: list[str]) -> list[Score]:
    """Returns the newest score of each validation dataset of a log."""
    try:
        rows = list(zip(log['dataset'], log['correct'], log['total'], log['f1'], strict=True)) if log else []
        scores = [
            Score('val' if dataset == ONE_DATASET else dataset, int(correct), int(total), float(f1), False, False)
            for dataset, correct, total, f1 in rows
        ]
    except (KeyError, ValueError) as error:
        problems.append(f'{VALIDATION_LOG}: {error}')
        return []
    newest = {score.split: score for score in scores if 0 <= score.correct <= score.total}
    return list(newest.values())


def _planned_epochs(text: str) -> int | None:
    parts = [_whole(part) for part in text.split(',')]
    return sum(part or 0 for part in parts) if text and None not in parts else None


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def _read_state(root: Root, folder: RunFolder, summary: Summary) -> State:
    """Returns what a run does now: from its end, its lock, the status of its task, in this order."""
    if summary.end is not None:
        return State(FINISHED, summary.end)
    if FLAGS_FILE not in folder.files:  # a late fusion or results from elsewhere
        return State(FINISHED, '')
    state = _state_of_lock(root, folder) or _state_of_task(root, folder)
    return state or State(UNFINISHED, 'no job works on it')


def _state_of_lock(root: Root, folder: RunFolder) -> State | None:
    """Returns the state by the job that the lock names, None if no job holds it or the job has ended."""
    holder = try_read([], root, folder.path, LOCK_FILE, read_holder)
    if holder is None or process_is_gone(str(holder.host), holder.pid):
        return None
    return _state_by_signs(time.time() - folder.changed, str(holder))


def _state_of_task(root: Root, folder: RunFolder) -> State | None:
    """Returns the state by the status file that `fer.experiment` writes for the run, None without one."""
    name = folder.path.name
    path = status_path(root.path, name)
    if try_read([], root, path.parent, path.name, lambda path: path) is None:
        return None
    status = read_status(root.path, name)
    if status is None:
        return None
    if status.state == STARTED and is_alive(status, None):
        return State(RUNNING, f'{status.job} on {status.host}, since {status.time}')
    if status.state == STARTED:
        return State(SILENT, f'{status.job} on {status.host} has ended without a message, or gives no sign of life')
    return State(status.state, status.text) if status.state in (FAILED, STOPPED, QUEUED) else None


def _state_by_signs(silent: float, who: str) -> State:
    if silent < SILENT_SECONDS:
        return State(RUNNING, who)
    return State(SILENT, f'{who}, has written nothing for {describe_age(silent)}')


def describe_age(seconds: float) -> str:
    """Returns a time span in words, such as `12 min`."""
    for unit, length in (('days', 86_400), ('h', 3600), ('min', 60)):
        if seconds >= 2 * length:
            return f'{seconds / length:.0f} {unit}'
    return f'{max(seconds, 0):.0f} s'


SORTS: dict[str, Callable[[RunRow], Any]] = {
    'changed': lambda row: -row.folder.changed,
    'name': lambda row: row.folder.name,
    'state': lambda row: row.state.kind,
    'stage': lambda row: (row.summary.stage, row.summary.model),
    'accuracy': lambda row: -max((score.accuracy for score in row.summary.scores), default=-1),
    'f1': lambda row: -max((score.f1 or 0 for score in row.summary.scores), default=-1),
}


def select(rows: list[RunRow], find: str, sort: str) -> list[RunRow]:
    """Returns the rows whose name, state, stage or network contains every word of `find`, in the order of a sort.

    Args:
      rows: all rows.
      find: words, in any case.
      sort: a key of SORTS.
    """
    words = find.lower().split()
    chosen = [row for row in rows if all(word in _words_of(row) for word in words)]
    return sorted(chosen, key=SORTS[sort])


def _words_of(row: RunRow) -> str:
    return ' '.join((row.folder.name, row.state.kind, row.summary.stage, row.summary.model)).lower()
