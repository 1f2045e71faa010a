"""Signs of life: how jobs on several machines, which share no more than a file system, know of each other."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TOUCH_SECONDS = 30  # between two signs of life
SILENT_SECONDS = 10 * TOUCH_SECONDS  # without one; clocks of file servers are a little off


def scheduler_job() -> str:
    """What the scheduler calls this job; empty outside of one."""
    return os.environ.get('PBS_JOBID') or os.environ.get('SLURM_JOB_ID') or ''


def process_is_gone(host: str, pid: int) -> bool:
    """Whether a process is known to have ended; those of other machines never are."""
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # somebody else's
        return False
    return False


@contextmanager
def heartbeat(beat: Callable[[], None]) -> Iterator[None]:
    """Calls `beat` every so often while the block runs, in a thread of its own.

    Args:
      beat: gives a sign of life. An OSError it raises is passed over: whoever looks will think that this process is
        silent, but its work goes on.
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
