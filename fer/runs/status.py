"""What became of each task: one line in a file of its own, which outlives whatever it speaks of.

`<runs>/status/<task>.txt` holds state, time, host, job and a text, tab separated. Whoever works on a task touches the
file as long as it lives, so that work that vanished without a word (a node that died, a job killed from outside) shows:
its line says that it began, and the file has not been touched since.
"""

import os
import re
import socket
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from fer.files import atomic_write
from fer.runs.heartbeat import SILENT_SECONDS, heartbeat, process_is_gone, scheduler_job
from fer.runs.names import STATUS_FOLDER
from fer.runs.provenance import now

QUEUED, STARTED, DONE, STOPPED, FAILED = 'queued', 'started', 'done', 'stopped', 'failed'


class Status(NamedTuple):
    state: str  # one of the above
    time: str  # ISO, UTC
    host: str
    job: str  # the scheduler's id, or pid and number; of a queued task empty: fer.experiment.submissions knows
    text: str  # one line; of a failed task, what failed
    silent: float  # seconds since the last sign of life


def status_path(runs: str | Path, name: str) -> Path:
    return Path(runs) / STATUS_FOLDER / f'{name}.txt'


def write_status(runs: str | Path, name: str, state: str, text: str = '', job: str | None = None) -> None:
    path = status_path(runs, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        fields = (state, now(), socket.gethostname(), job_id() if job is None else job, ' '.join(text.split()))
        file.write('\t'.join(fields) + '\n')


def read_status(runs: str | Path, name: str) -> Status | None:
    """The last line of a task's file, which a job's script may have added to; None where there is none."""
    path = status_path(runs, name)
    try:
        silent = time.time() - path.stat().st_mtime
        lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    except OSError:
        return None
    fields = lines[-1].split('\t') if lines else []
    if len(fields) != 5:
        return Status(FAILED, '', '', '', f'{path}: not a line of five fields', silent)
    state, began, host, job, text = fields
    return Status(state, began, host, job, text, silent)


def job_id() -> str:
    """What the scheduler calls this job, or this process."""
    return scheduler_job() or f'pid {os.getpid()}'


def number_of(job: str) -> str:
    """`123` of `123[4].server`: what qstat begins its lines with; empty of what is no job."""
    return re.split(r'\D', job, maxsplit=1)[0]


def is_alive(status: Status, queue: set[str] | None) -> bool:
    """Whether somebody works on a task that has begun.

    A process of this machine is asked, and of a job its scheduler; others are believed for as long as they give signs.

    Args:
      status: of the task.
      queue: the numbers of the scheduler's jobs, None where it cannot be asked.
    """
    if status.job.startswith('pid '):
        pid = status.job.removeprefix('pid ')
        if not pid.isdecimal() or process_is_gone(status.host, int(pid)):
            return False
    if queue is not None and number_of(status.job) and number_of(status.job) not in queue:
        return False
    return status.silent < SILENT_SECONDS


def signs_of_life(runs: str | Path, name: str) -> AbstractContextManager[None]:
    """Touches a task's file while the block runs."""
    return heartbeat(lambda: os.utime(status_path(runs, name)))
