"""Running tasks on this machine: each after what it needs, several side by side; a failure stops no other."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from fer.experiment.plan import Standing, count, is_done, lacking, log_path, other_settings, standings
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

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


class Machine(NamedTuple):
    """How tasks are run here."""

    runs: str
    jobs: int  # side by side
    deadline: float | None  # of time.monotonic(), when work is to be stopped; None: never


def run_tasks(tasks: dict[str, Task], machine: Machine) -> int:
    """Runs what is not done, each task after those it needs.

    A task that fails leaves a line where `plan` finds it, and those that need it are not begun; all others are. A
    signal that stops the work, and the deadline, are passed on to the commands under way, which keep what they have.

    Returns:
      0 where all is done, else 1.

    Raises:
      Stopped: by a signal or the deadline, with all that was under way stopped.
    """
    stop = StopSignal()
    commands = _Commands()
    waiting = {name: task for name, task in tasks.items() if other_settings(task) or not is_done(task)}
    under_way: dict[Future, str] = {}
    failed: set[str] = set()
    with (
        stop.caught((*SIGNALS, signal.SIGINT, signal.SIGHUP)),  # a typed command is interrupted, a terminal goes away
        stop.held(),
        ThreadPoolExecutor(machine.jobs) as pool,
        progress(total=len(tasks), label='runs', unit='run') as bar,
    ):
        bar.update(len(tasks) - len(waiting))
        while waiting or under_way:
            if not stop.received and machine.deadline is not None and time.monotonic() >= machine.deadline:
                stop.received = 'the time limit'
            if stop.received:
                commands.stop()
                waiting.clear()
            for name in _ready(waiting, under_way, failed)[: machine.jobs - len(under_way)]:
                under_way[pool.submit(_run_task, waiting.pop(name), machine.runs, commands)] = name
            if not under_way:
                break  # the rest needs what failed
            finished, _ = wait(under_way, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in finished:
                name = under_way.pop(future)
                if (complaint := future.result()) is not None:
                    failed.add(name)
                    if not stop.received:
                        bar.write(f'{name}: {complaint}', file=sys.stderr)
                bar.update()
    found = standings(tasks, machine.runs)
    print_failures(found)
    print(count(tasks, found))
    stop.check(count(tasks, found))
    return 0 if all(standing.state == DONE for standing in found.values()) else 1


def _detach() -> None:
    """Prepares a process that was just started, before it runs its command.

    It gets a process group of its own, because what a terminal sends to a group must reach it once, from here. Linux
    sends it SIGTERM when the process that started it is gone, even killed: two of them would write to one folder as
    soon as the work is begun again.
    """
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _ready(waiting: dict[str, Task], under_way: dict[Future, str], failed: set[str]) -> list[str]:
    """The names of tasks all of whose needs are done; what needs a failed one never is, nor what needs that."""
    unmade = {*waiting, *under_way.values(), *failed}
    return [name for name, task in waiting.items() if unmade.isdisjoint(task.needs)]


def print_failures(found: dict[str, Standing]) -> None:
    for name, standing in found.items():
        if standing.state == FAILED:
            print(f'{name}: {standing.text}')


def _run_task(task: Task, runs: str, commands: '_Commands') -> str | None:
    """Works on a task; returns what went wrong, in a line, or None."""
    try:
        return _run_commands(task, runs, commands)
    except OSError as error:  # a full disk, say, which is no reason to leave what other tasks are at
        return describe(error)


def _run_commands(task: Task, runs: str, commands: '_Commands') -> str | None:
    """The commands of a task, one after the other; returns as `_run_task`."""
    if other := _somebody_else(task, runs, commands):
        return other
    if others := other_settings(task):
        return f'{task.folder} was begun with other settings: {", ".join(others)}; expected another --runs'

    def leave(state: str, complaint: str) -> str:
        write_status(runs, task.name, state, complaint)
        return complaint

    if missing := lacking(task):
        return leave(FAILED, f'no {", ".join(missing)}')
    write_status(runs, task.name, STARTED)
    # The log is added to: it is for people to read, and half a line at its end is no harm.
    with signs_of_life(runs, task.name), open(log_path(runs, task), 'a', encoding='utf-8') as log:
        for command in task.commands:
            print(f'$ {spell(command)}', file=log, flush=True)
            code = commands.run(argv(command), log)
            if code == STOP_CODE or (code < 0 and commands.stopped):
                return leave(STOPPED, f'{command[0]} was stopped; the same command goes on with it')
            if code:
                return leave(FAILED, f'{command[0]}: {_describe(code)}; {_last_line(log.name)}')
        if not is_done(task):
            return leave(FAILED, f'its commands ended well, but {task.folder} has not all results')
    write_status(runs, task.name, DONE)
    return None


def _somebody_else(task: Task, runs: str, commands: '_Commands') -> str | None:
    """Who else is at a task, or None.

    A job that begins right after one that was killed finds its last sign of life still fresh: where the scheduler
    cannot say that the other is gone, its silence has to be waited for.
    """
    began = time.monotonic()
    while True:
        status = read_status(runs, task.name)
        if status is None or status.state != STARTED or status.job == job_id():  # put back, it is who it was before
            return None
        queue = jobs_in_queue()
        if not is_alive(status, queue):
            return None
        is_certain = status.job.startswith('pid ') or queue is not None
        gave_a_sign = time.monotonic() - began > 2 * TOUCH_SECONDS > status.silent
        if is_certain or gave_a_sign or commands.stopped:
            return f'job {status.job} on {status.host} is at it since {status.time}'
        time.sleep(1)


def _describe(code: int) -> str:
    """`exit code 2`, or the signal that ended it."""
    if code > 0:
        return f'exit code {code}'
    known = {number.value: number.name for number in signal.Signals}
    return f'killed by {known.get(-code, f"signal {-code}")}'


def _last_line(path: str) -> str:
    with open(path, encoding='utf-8', errors='replace') as file:
        lines = [line for line in file.read().splitlines() if line.strip()]
    return f'{path}: {lines[-1]}' if lines else path


class _Commands:
    """The processes under way, so that they can be stopped together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen] = set()
        self.stopped = False

    def run(self, command: list[str], log) -> int:
        """Runs a command to its end; returns its exit code, below 0 a signal's. Begins none once all are stopped."""
        with self._lock:
            if self.stopped:
                return STOP_CODE
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_detach)
            self._processes.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._processes.discard(process)

    def stop(self) -> None:
        """Sends SIGTERM to every process, once."""
        with self._lock:
            if not self.stopped:
                self.stopped = True
                for process in self._processes:
                    process.terminate()
