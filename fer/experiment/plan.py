"""How far every task is, and the list that says so."""

import os
from pathlib import Path
from typing import NamedTuple

from fer.experiment.queue import jobs_in_queue, number_of
from fer.experiment.status import DONE, FAILED, QUEUED, STARTED, STOPPED, is_alive, read_status
from fer.experiment.tasks import Task

# What may be begun; then what may not, or need not.
READY = 'ready'
BLOCKED, LACKING = 'blocked', 'lacking'


class Standing(NamedTuple):
    state: str  # a state of fer.experiment.status, or one of the above
    text: str


def standings(tasks: dict[str, Task], runs: str) -> dict[str, Standing]:
    """The standing of every task, in the order given, which has what a task needs before it."""
    found: dict[str, Standing] = {}
    queue = jobs_in_queue()
    for task in tasks.values():
        found[task.name] = _standing(task, runs, found, queue)
    return found


def is_done(task: Task) -> bool:
    """Whether a run has answered all that it is to answer; evaluation is its last command, fusion its only one."""
    return all(
        (task.folder / f'{what}_{split}.{ending}').exists()
        for split in task.splits
        for what, ending in (('results', 'txt'), ('metrics', 'json'))
    )


def lacking(task: Task) -> list[str]:
    """The inputs that are not there; a TensorFlow checkpoint is named by what its files have in common."""
    return [path for path in task.inputs if not os.path.exists(path) and not os.path.exists(f'{path}.index')]


def _standing(task: Task, runs: str, before: dict[str, Standing], queue: set[str] | None) -> Standing:
    if is_done(task):
        return Standing(DONE, str(task.folder))
    status = read_status(runs, task.name)
    if status and status.state == STARTED and is_alive(status):
        return Standing(STARTED, f'{status.time} on {status.host}, job {status.job}; {_progress(task)}')
    if status and status.state == STARTED:
        return Standing(
            FAILED,
            f'vanished without a word: began {status.time} on {status.host}, job {status.job}, last sign of life '
            f'{status.silent / 60:.0f} minutes ago; {_progress(task)}',
        )
    is_in_queue = queue is not None and status is not None and number_of(status.job) in queue
    # A job that met its walltime is put back in the queue under its own number.
    is_queued = status is not None and (status.state == QUEUED or (status.state == STOPPED and is_in_queue))
    where = f', and waits in vain as job {status.job}' if status and is_queued else ''
    for need in task.needs:
        if need in before and before[need].state in (FAILED, BLOCKED, LACKING):
            return Standing(BLOCKED, f'needs {need}, which is {before[need].state}{where}')
    if status and is_queued and queue is not None and not is_in_queue:
        return Standing(
            FAILED, f'vanished from the queue without a word; it was in it since {status.time} as job {status.job}'
        )
    if status and is_queued:
        again = f', put back there; {_progress(task)}' if status.state == STOPPED else ''
        return Standing(QUEUED, f'since {status.time} as job {status.job}{again}')
    if missing := lacking(task):
        return Standing(LACKING, f'no {", ".join(missing)}')
    if status and status.state == FAILED:
        return Standing(FAILED, f'{status.time} on {status.host}, job {status.job}: {status.text}')
    if status and status.state == STOPPED:
        return Standing(STOPPED, f'{status.time} on {status.host}, job {status.job}: {status.text}')
    waits = [need for need in task.needs if need in before and before[need].state != DONE]
    return Standing(READY, f'after {", ".join(waits)}' if waits else '')


def _progress(task: Task) -> str:
    """`step 1200`, of the last row of the log of a run that trains."""
    log = task.folder / 'train_log.csv'
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
    return Path(runs) / 'status' / f'{task.name}.log'
