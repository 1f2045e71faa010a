# SPDX-License-Identifier: Apache-2.0
"""Runs tasks on this machine, several at the same time. A failure stops only the tasks that need the failed one."""

import signal
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from fer.experiment.checks import is_done, log_path, missing_inputs, other_settings
from fer.experiment.plan import TaskState, count, task_states
from fer.experiment.processes import Processes
from fer.experiment.qstat import jobs_in_queue
from fer.experiment.tasks import Task, argv, spell
from fer.files import describe
from fer.progress import progress
from fer.runs.heartbeat import TOUCH_SECONDS
from fer.runs.status import (
    DONE,
    FAILED,
    STARTED,
    STOPPED,
    is_alive,
    job_id,
    read_status,
    signs_of_life,
    write_status,
)
from fer.stop import SIGNALS, STOP_CODE, StopSignal


class Machine(NamedTuple):
    """The limits within which tasks run on this machine."""

    runs: str  # folder of the runs
    jobs: int  # tasks at the same time
    deadline: float | None  # value of time.monotonic() at which the work is stopped. None: never


def run_tasks(tasks: dict[str, Task], machine: Machine) -> int:
    """Runs the tasks that are not done, each after the tasks that it needs.

    The error of a failed task is kept for `plan`. Tasks that need the failed task do not start, all others do. A signal
    or the deadline stops the running commands, which save their work.

    Returns:
      0 if all tasks are done, else 1.

    Raises:
      Stopped: a signal or the deadline stopped the work.
    """
    stop = StopSignal()
    waiting = {name: task for name, task in tasks.items() if other_settings(task) or not is_done(task)}
    with (
        stop.caught((*SIGNALS, signal.SIGINT, signal.SIGHUP)),  # Ctrl-C, and a terminal that closes
        stop.held(),
        progress(total=len(tasks), label='runs', unit='run') as bar,
    ):
        bar.update(len(tasks) - len(waiting))
        _run_waiting(waiting, machine, stop, bar)
    states = task_states(tasks, machine.runs)
    _print_failures(states)
    print(count(tasks, states))
    stop.check(count(tasks, states))
    return 0 if all(state.state == DONE for state in states.values()) else 1


def _run_waiting(waiting: dict[str, Task], machine: Machine, stop: StopSignal, bar) -> None:
    """Runs tasks until none is left, the rest needs a failed one, or the work is stopped.

    Args:
      waiting: the tasks to run. Each is removed when it starts.
      machine: the limits.
      stop: receives the signals. The deadline is recorded in it too.
      bar: the progress bar.
    """
    processes = Processes()
    running: dict[Future, str] = {}
    failed: set[str] = set()
    with ThreadPoolExecutor(machine.jobs) as pool:
        while waiting or running:
            if not stop.received and machine.deadline is not None and time.monotonic() >= machine.deadline:
                stop.received = 'the time limit'
            if stop.received:
                processes.stop()
                waiting.clear()
            for name in _ready(waiting, running, failed)[: machine.jobs - len(running)]:
                running[pool.submit(_run_task, waiting.pop(name), machine.runs, processes)] = name
            if not running:
                return  # the rest needs a failed task
            finished, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                name = running.pop(future)
                if (error := future.result()) is not None:
                    failed.add(name)
                    if not stop.received:
                        bar.write(f'{name}: {error}', file=sys.stderr)
                bar.update()


def _ready(waiting: dict[str, Task], running: dict[Future, str], failed: set[str]) -> list[str]:
    """Returns the tasks whose needs are all done. Tasks that need a failed one, even indirectly, are never ready."""
    not_done = {*waiting, *running.values(), *failed}
    return [name for name, task in waiting.items() if not_done.isdisjoint(task.needs)]


def _print_failures(states: dict[str, TaskState]) -> None:
    for name, state in states.items():
        if state.state == FAILED:
            print(f'{name}: {state.text}')


def _run_task(task: Task, runs: str, processes: Processes) -> str | None:
    """Runs a task, and returns the error in one line, or None."""
    try:
        if other := _find_other_job(task, runs, processes):
            return other
        if others := other_settings(task):
            return f'{task.folder} was started with other settings: {", ".join(others)}; choose another --runs'
        state, error = _run_commands(task, runs, processes)
        write_status(runs, task.name, state, error or '')
        return error
    except OSError as error:  # for example a full disk, which must not end the other tasks
        return describe(error)


def _run_commands(task: Task, runs: str, processes: Processes) -> tuple[str, str | None]:
    """Runs the commands of a task one after the other, and returns its state and its error."""
    if missing := missing_inputs(task):
        return FAILED, f'no {", ".join(missing)}'
    write_status(runs, task.name, STARTED)
    # Only people read the log, so half a line from an earlier attempt does no harm.
    with signs_of_life(runs, task.name), open(log_path(runs, task), 'a', encoding='utf-8') as log:
        for command in task.commands:
            print(f'$ {spell(command)}', file=log, flush=True)
            code = processes.run(argv(command), log)
            if code == STOP_CODE or (code < 0 and processes.stopped):
                return STOPPED, f'{command[0]} was stopped; the same command resumes it'
            if code:
                return FAILED, f'{command[0]}: {_describe_code(code)}; {_last_line(log.name)}'
        if not is_done(task):
            return FAILED, f'its commands succeeded, but results are missing in {task.folder}'
    return DONE, None


def _find_other_job(task: Task, runs: str, processes: Processes) -> str | None:
    """Returns an error if another job works on the task.

    The last sign of life of a killed job may still be recent when the next job starts. If the scheduler's queue is
    unknown, this function waits until the other job gives another sign or has been silent for too long.
    """
    began = time.monotonic()
    while True:
        status = read_status(runs, task.name)
        if status is None or status.state != STARTED or status.job == job_id():  # a requeued job keeps its id
            return None
        queue = jobs_in_queue()
        if not is_alive(status, queue):
            return None
        is_certain = status.job.startswith('pid ') or queue is not None
        gave_a_sign = time.monotonic() - began > 2 * TOUCH_SECONDS > status.silent
        if is_certain or gave_a_sign or processes.stopped:
            return f'job {status.job} on {status.host} has worked on it since {status.time}'
        time.sleep(1)


def _describe_code(code: int) -> str:
    """Returns `exit code 2`, or the signal that ended the process."""
    if code > 0:
        return f'exit code {code}'
    known = {number.value: number.name for number in signal.Signals}
    return f'killed by {known.get(-code, f"signal {-code}")}'


def _last_line(path: str) -> str:
    with open(path, encoding='utf-8', errors='replace') as file:
        lines = [line for line in file.read().splitlines() if line.strip()]
    return f'{path}: {lines[-1]}' if lines else path
