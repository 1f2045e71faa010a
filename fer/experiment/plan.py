# SPDX-License-Identifier: Apache-2.0
"""The state of every task, and the list that `plan` prints."""

from typing import NamedTuple

from fer.errors import InputError
from fer.experiment.checks import is_done, last_step, missing_inputs, other_settings
from fer.experiment.qstat import jobs_in_queue
from fer.experiment.submissions import Submission, read_submissions
from fer.experiment.tasks import Task
from fer.runs.status import DONE, FAILED, QUEUED, STARTED, STOPPED, Status, is_alive, job_number, read_status

# Further states than those of fer.runs.status. OTHER: the run in the folder has other settings.
READY, BLOCKED, MISSING, OTHER = 'ready', 'blocked', 'missing', 'other'
_BLOCKING = (FAILED, BLOCKED, MISSING, OTHER)


class TaskState(NamedTuple):
    """The state of a task, with its reason."""

    state: str  # of fer.runs.status, or one of the above
    text: str  # the reason
    stuck_job: str = ''  # the scheduler's job of a blocked task. The job can never start


class _Records(NamedTuple):
    """Everything that was recorded about the tasks when the plan was asked for."""

    statuses: dict[str, Status | None]
    submissions: dict[str, Submission]
    failed: set[str]  # tasks that a submission waits for, and that failed
    queue: set[str] | None  # numbers of the scheduler's jobs, None if they are unknown


class _QueuePlace(NamedTuple):
    """A task's place in the scheduler's queue."""

    waiting: list[str]  # its jobs in the queue
    is_submitted: bool  # the task waits for its first start
    is_requeued: bool  # the task was stopped, and waits for another start
    last_job: str  # '' if the task is neither submitted nor requeued


def task_states(tasks: dict[str, Task], runs: str) -> dict[str, TaskState]:
    """Returns the state of every task.

    Args:
      tasks: each after the tasks that it needs.
      runs: folder of the runs.
    """
    records = _read_records(tasks, runs)
    states: dict[str, TaskState] = {}
    for name, task in tasks.items():
        states[name] = _task_state(task, states, records)
    return states


def _read_records(tasks: dict[str, Task], runs: str) -> _Records:
    # The queue is read last. Otherwise a task that is submitted in between would be missing there.
    statuses = {name: read_status(runs, name) for name in tasks}
    submissions = read_submissions(runs)
    awaited = {need for name in tasks if name in submissions for need in submissions[name].awaited}
    failed = {name for name in awaited if (status := read_status(runs, name)) and status.state == FAILED}
    return _Records(statuses, submissions, failed, jobs_in_queue())


def _task_state(task: Task, before: dict[str, TaskState], records: _Records) -> TaskState:
    """Returns the state of a task, given those of the tasks that it needs."""
    if others := other_settings(task):
        return TaskState(OTHER, f'{task.folder} was started with other settings: {", ".join(others)}')
    if is_done(task):
        return TaskState(DONE, str(task.folder))
    status, submission = records.statuses[task.name], records.submissions.get(task.name)
    if status and status.state == STARTED:
        if is_alive(status, records.queue):
            return TaskState(STARTED, f'{status.time} on {status.host}, job {status.job}; {last_step(task)}')
        # The process that started the task has ended, but another attempt may be in the queue.
        silence = f'last sign of life {status.silent / 60:.0f} minutes ago'
        status = status._replace(state=FAILED, text=f'disappeared without a message, {silence}; {last_step(task)}')
    place = _find_in_queue(status, submission, records.queue)
    if blocked := _explain_block(task, before, place, submission, records.failed):
        return blocked
    if status and (place.is_submitted or place.is_requeued):
        text = f'since {status.time} as job {place.waiting[0]}' if place.waiting else f'{status.time}: being submitted'
        return TaskState(QUEUED, f'{text}, requeued; {last_step(task)}' if place.is_requeued else text)
    if missing := missing_inputs(task):
        return TaskState(MISSING, f'no {", ".join(missing)}')
    if status and submission and status.state == QUEUED:
        job = submission.jobs[-1]
        return TaskState(
            FAILED, f'disappeared from the queue without a message, queued since {status.time} as job {job}'
        )
    if status and status.state in (FAILED, STOPPED):
        return TaskState(status.state, f'{status.time} on {status.host}, job {status.job}: {status.text}')
    waits = [need for need in task.needs if need in before and before[need].state != DONE]
    return TaskState(READY, f'after {", ".join(waits)}' if waits else '')


def _find_in_queue(status: Status | None, submission: Submission | None, queue: set[str] | None) -> _QueuePlace:
    """Returns the place of a task in the queue. If the queue is unknown, every submitted job counts as waiting."""
    jobs = submission.jobs if submission else []
    waiting = [job for job in jobs if queue is None or job_number(job) in queue]
    is_submitted = status is not None and status.state == QUEUED and (not jobs or bool(waiting))
    is_requeued = status is not None and status.state == STOPPED and queue is not None and bool(waiting)
    return _QueuePlace(waiting, is_submitted, is_requeued, jobs[-1] if jobs and (is_submitted or is_requeued) else '')


def _explain_block(
    task: Task, before: dict[str, TaskState], place: _QueuePlace, submission: Submission | None, failed: set[str]
) -> TaskState | None:
    """Returns why a task cannot start, or None if it can."""
    stuck = f'; job {place.last_job} can never start' if place.last_job else ''
    for need in task.needs:
        if need in before and before[need].state in _BLOCKING:
            return TaskState(BLOCKED, f'needs {need}, which is {before[need].state}{stuck}', place.last_job)
    if place.is_submitted and not place.is_requeued and submission:
        gone = [name for name in submission.awaited if name in failed]
        if gone:
            return TaskState(BLOCKED, f'its job array also waits for {gone[0]}, which failed{stuck}', place.last_job)
    return None


def require_inputs(tasks: dict[str, Task], runs: str) -> None:
    """Raises InputError if every task that is not done has no data or weights, or needs a task that has none."""
    states = {name: state for name, state in task_states(tasks, runs).items() if state.state != DONE}
    missing = [name for name, state in states.items() if state.state == MISSING]
    if not missing or any(state.state not in (MISSING, BLOCKED) for state in states.values()):
        return
    raise InputError(f'{missing[0]}: {states[missing[0]].text}; add it, because {_count_runs(len(states))} can start')


def _count_runs(number: int) -> str:
    return 'no run' if number == 1 else f'none of {number} runs'


def print_plan(tasks: dict[str, Task], runs: str) -> None:
    """Prints a line for each task, then the number of tasks in each state."""
    states = task_states(tasks, runs)
    width = max(map(len, tasks))
    for name, state in states.items():
        print(f'{state.state:<8} {name:<{width}} {state.text}'.rstrip())
    print(count(tasks, states))


def count(tasks: dict[str, Task], states: dict[str, TaskState]) -> str:
    """Counts tasks by state, as `4 done, 1 failed, 5 ready: 3/9 runs done; of others that they need 1/1`."""
    found = [state.state for state in states.values()]
    text = ', '.join(f'{found.count(state)} {state}' for state in dict.fromkeys(found))
    for is_requested, words in ((True, ': {}/{} runs done'), (False, '; of others that they need {}/{}')):
        group = [states[name].state for name, task in tasks.items() if task.is_requested == is_requested]
        if group:
            text += words.format(group.count(DONE), len(group))
    return text
