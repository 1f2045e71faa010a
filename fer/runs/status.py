# SPDX-License-Identifier: Apache-2.0
"""The status of each task, one line in a file of its own. The file remains after the task has ended.

`<runs>/status/<task>.txt` holds state, time, host, job and a text, separated by tabs. A process that works on a task
touches the file as long as it lives. If the node dies or the job is killed from outside, the line still has the state
`started`, but the file is not touched any more.
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
    """The last status line of a task."""

    state: str  # one of the above
    time: str  # ISO, UTC
    host: str
    job: str  # the scheduler's id, or `pid <number>`. '' while queued. Then fer.experiment.submissions has the id
    text: str  # one line: the error of a failed task
    silent: float  # seconds since the last sign of life


def status_path(runs: str | Path, name: str) -> Path:
    """Returns the status file of a task."""
    return Path(runs) / STATUS_FOLDER / f'{name}.txt'


def write_status(runs: str | Path, name: str, state: str, text: str = '', job: str | None = None) -> None:
    """Replaces the status of a task.

    Args:
      runs: folder of the runs.
      name: the task.
      state: one of the states above.
      text: a message, whose line breaks become spaces.
      job: the job that works on the task, None for this process.
    """
    path = status_path(runs, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        fields = (state, now(), socket.gethostname(), job_id() if job is None else job, ' '.join(text.split()))
        file.write('\t'.join(fields) + '\n')


def read_status(runs: str | Path, name: str) -> Status | None:
    """Returns the last line of a task's status file, or None without a file. A job script may have appended lines."""
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
    """Returns the scheduler's id of this job, or `pid <number>` of this process."""
    return scheduler_job() or f'pid {os.getpid()}'


def job_number(job: str) -> str:
    """Returns the number that qstat prints for a job: `123` for `123[4].server`. '' if the text is not a job's id."""
    return re.split(r'\D', job, maxsplit=1)[0]


def is_alive(status: Status, queue: set[str] | None) -> bool:
    """Returns whether a process still works on a started task.

    A process of this machine must still exist. A job of the scheduler must be in its queue. In addition, each process
    must give signs of life.

    Args:
      status: of the task.
      queue: numbers of the scheduler's jobs, None if they are unknown.
    """
    if status.job.startswith('pid '):
        pid = status.job.removeprefix('pid ')
        if not pid.isdecimal() or process_is_gone(status.host, int(pid)):
            return False
    if queue is not None and job_number(status.job) and job_number(status.job) not in queue:
        return False
    return status.silent < SILENT_SECONDS


def signs_of_life(runs: str | Path, name: str) -> AbstractContextManager[None]:
    """Touches a task's status file while the block runs."""
    return heartbeat(lambda: os.utime(status_path(runs, name)))
