"""How far every task is, and the list that says so."""

import os
from pathlib import Path
from typing import NamedTuple

from fer.experiment.configs import TRAIN
from fer.experiment.qstat import jobs_in_queue
from fer.experiment.submissions import Submission, read_submissions
from fer.experiment.tasks import Task
from fer.files import read_object
from fer.runs.names import FINISHED_FILE, FLAGS_FILE, STATUS_FOLDER, TRAIN_LOG
from fer.runs.status import DONE, FAILED, QUEUED, STARTED, STOPPED, Status, is_alive, number_of, read_status

READY = 'ready'
BLOCKED, LACKING, OTHER = 'blocked', 'lacking', 'other'  # OTHER: there is a run, with other settings
_IN_THE_WAY = (FAILED, BLOCKED, LACKING, OTHER)

# Settings that a run may have otherwise and be the same run: where things are, and what is compared by the seed.
_PLACES = ('run_dir', 'output', 'data_root', 'train_manifest', 'val_manifest', 'init_from', 'audio_run_dir', 'seed')
_MAX_STEPS = 'max_steps'  # where a run is cut short; with another, it goes on


class Standing(NamedTuple):
    state: str  # a state of fer.runs.status, or one of the above
    text: str
    vain_job: str = ''  # of what is blocked: the scheduler's job that waits for it in vain, if there is one


def standings(tasks: dict[str, Task], runs: str) -> dict[str, Standing]:
    """The standing of every task, in the order given, which has what a task needs before it."""
    found: dict[str, Standing] = {}
    # Before the queue is asked: what is submitted meanwhile is not missed there.
    statuses = {name: read_status(runs, name) for name in tasks}
    submissions = read_submissions(runs)
    awaited = {need for name in tasks if name in submissions for need in submissions[name].awaited}
    failed = {name for name in awaited if _has_failed(runs, name)}
    queue = jobs_in_queue()
    for name, task in tasks.items():
        found[name] = _standing(task, found, statuses[name], submissions.get(name), queue, failed)
    return found


def is_done(task: Task) -> bool:
    """Whether a run has ended, and has answered all that it is to answer with the checkpoint it ended with."""
    checkpoint = None
    if task.config.program == TRAIN:
        checkpoint = _read(task.folder / FINISHED_FILE).get('checkpoint')
        until = task.settings.get(_MAX_STEPS, '0')
        if checkpoint is None or not _is_same(_read_flags(task).get(_MAX_STEPS, until), until):
            return False
    return all(
        (task.folder / f'results_{split}.txt').exists()
        and (metrics := _read(task.folder / f'metrics_{split}.json'))
        and metrics.get('checkpoint') == checkpoint
        for split in task.splits
    )


def _read(path: Path) -> dict:
    try:
        return read_object(path)
    except (OSError, ValueError):
        return {}


def lacking(task: Task) -> list[str]:
    """The inputs that are not there; a TensorFlow checkpoint is named by what its files have in common."""
    return [path for path in task.inputs if not os.path.exists(path) and not os.path.exists(f'{path}.index')]


def other_settings(task: Task) -> list[str]:
    """`--width=0.05 (1.0)` for each setting that the run in the task's folder has otherwise, the task's in brackets."""
    run = _read_flags(task)
    return [
        f'--{name}={run[name]} ({value})'
        for name, value in task.settings.items()
        if name in run and name not in (*_PLACES, _MAX_STEPS) and not _is_same(run[name], value)
    ]


def _read_flags(task: Task) -> dict[str, str]:
    try:
        lines = (task.folder / FLAGS_FILE).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return dict(line.removeprefix('--').partition('=')[::2] for line in lines)


def _is_same(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one.lower() == other.lower()


def _standing(
    task: Task,
    before: dict[str, Standing],
    status: Status | None,
    submission: Submission | None,
    queue: set[str] | None,
    failed: set[str],
) -> Standing:
    if others := other_settings(task):
        return Standing(OTHER, f'{task.folder} was begun with other settings: {", ".join(others)}')
    if is_done(task):
        return Standing(DONE, str(task.folder))
    if status and status.state == STARTED:
        if is_alive(status, queue):
            return Standing(STARTED, f'{status.time} on {status.host}, job {status.job}; {_progress(task)}')
        # Whoever was at it is gone; it may be that another attempt is in the queue.
        status = status._replace(
            state=FAILED,
            text=f'vanished without a word, last sign of life {status.silent / 60:.0f} minutes ago; {_progress(task)}',
        )
    jobs = submission.jobs if submission else []
    is_waiting = [job for job in jobs if queue is None or number_of(job) in queue]
    is_submitted = status is not None and status.state == QUEUED and (not jobs or bool(is_waiting))
    is_put_back = status is not None and status.state == STOPPED and queue is not None and bool(is_waiting)
    vain_job = jobs[-1] if jobs and (is_submitted or is_put_back) else ''
    in_vain = f', and waits in vain as job {vain_job}' if vain_job else ''
    for need in task.needs:
        if need in before and before[need].state in _IN_THE_WAY:
            return Standing(BLOCKED, f'needs {need}, which is {before[need].state}{in_vain}', vain_job)
    if status and (is_submitted or is_put_back):
        if submission and not is_put_back and (gone := [name for name in submission.awaited if name in failed]):
            return Standing(BLOCKED, f'its array waits for {gone[0]} as well, which failed{in_vain}', vain_job)
        what = f'since {status.time} as job {is_waiting[0]}' if is_waiting else f'{status.time}: being submitted'
        return Standing(QUEUED, f'{what}, put back there; {_progress(task)}' if is_put_back else what)
    if missing := lacking(task):
        return Standing(LACKING, f'no {", ".join(missing)}')
    if status and status.state == QUEUED:
        return Standing(FAILED, f'vanished from the queue without a word, in it since {status.time} as job {jobs[-1]}')
    if status and status.state in (FAILED, STOPPED):
        return Standing(status.state, f'{status.time} on {status.host}, job {status.job}: {status.text}')
    waits = [need for need in task.needs if need in before and before[need].state != DONE]
    return Standing(READY, f'after {", ".join(waits)}' if waits else '')


def _has_failed(runs: str, name: str) -> bool:
    status = read_status(runs, name)
    return status is not None and status.state == FAILED


def _progress(task: Task) -> str:
    """`step 1200`, of the last row of the log of a run that trains."""
    log = task.folder / TRAIN_LOG
    try:
        last = log.read_text(encoding='utf-8').splitlines()[-1].split(',')[0]
    except (OSError, IndexError, UnicodeDecodeError):
        return 'no step yet'
    return f'step {last}' if last.isdecimal() else 'no step yet'


def print_plan(tasks: dict[str, Task], runs: str) -> None:
    """A line per task, then how many there are of each state."""
    found = standings(tasks, runs)
    width = max(map(len, tasks))
    for name, standing in found.items():
        print(f'{standing.state:<8} {name:<{width}} {standing.text}'.rstrip())
    print(count(tasks, found))


def count(tasks: dict[str, Task], found: dict[str, Standing]) -> str:
    """`4 done, 1 failed, 5 ready: 3/9 runs done; of others that they need 1/1`."""
    states = [standing.state for standing in found.values()]
    text = ', '.join(f'{states.count(state)} {state}' for state in dict.fromkeys(states))
    for is_asked, words in ((True, ': {}/{} runs done'), (False, '; of others that they need {}/{}')):
        group = [found[name].state for name, task in tasks.items() if task.is_asked == is_asked]
        if group:
            text += words.format(group.count(DONE), len(group))
    return text


def log_path(runs: str, task: Task) -> Path:
    """Where what a task's commands print goes."""
    return Path(runs) / STATUS_FOLDER / f'{task.name}.log'
