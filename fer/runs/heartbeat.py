# SPDX-License-Identifier: Apache-2.0
"""Signs of life, which tell jobs on several machines about each other through a shared file system."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TOUCH_SECONDS = 30  # between two signs of life
SILENT_SECONDS = 10 * TOUCH_SECONDS  # a process that is silent for so long counts as ended. Clocks may differ a little


def scheduler_job() -> str:
    """Returns the scheduler's id of this job, or '' outside of a job."""
    return os.environ.get('PBS_JOBID') or os.environ.get('SLURM_JOB_ID') or ''


def process_is_gone(host: str, pid: int) -> bool:
    """Returns True if a process of this machine has ended. False for processes of other machines."""
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # a process of another user
        return False
    return False


@contextmanager
def heartbeat(beat: Callable[[], None]) -> Iterator[None]:
    """Calls `beat` every TOUCH_SECONDS in a thread of its own while the block runs.

    Args:
      beat: gives a sign of life. If it raises OSError, the error is ignored. Other jobs may then consider this process
        ended, but its work continues.
    """
    ended = threading.Event()

    def beats() -> None:
        while not ended.wait(TOUCH_SECONDS):
            try:
                beat()
            except OSError:
                continue

    thread = threading.Thread(target=beats, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
