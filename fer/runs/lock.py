"""One writer per run folder: a lock that a job has for as long as it lives, whatever ends it and wherever it runs.

It is the system's own (flock) on a file in the folder: freed when the process ends, by SIGKILL or with its machine, and
known to all hosts of a file server that has locks, as NFS version 4 does. Where the file system has none, the holder
gives the file a sign of life every TOUCH_SECONDS instead. A lock that was silent for SILENT_SECONDS, or whose process
on this machine is gone, is taken over; a holder that was silent for so long and finds its lock taken ends at once.

Either way the file says who holds it. A mount that has locks but keeps them to its own host (NFS with local_lock,
Lustre with localflock) protects from the jobs of that host only.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from fer.errors import InputError
from fer.files import atomic_write, naming, read_object
from fer.runs.heartbeat import SILENT_SECONDS, heartbeat, process_is_gone, scheduler_job
from fer.runs.names import LOCK_FILE
from fer.runs.provenance import now

_SETTLE_SECONDS = 2.0  # in which another job that takes the same silent lock over has written its name, too
_HAS_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # what such a file system answers


class Holder(NamedTuple):
    """Who holds a lock, as its file says."""

    host: str
    pid: int
    job: str  # the scheduler's id; empty outside of a job
    since: str  # ISO, UTC
    token: str  # of this holding alone

    def __str__(self) -> str:
        job = f'job {self.job}, ' if self.job else ''
        return f'{job}process {self.pid} on {self.host}, since {self.since}'


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which is made if need be, and taken away again where nothing was put into it.

    Raises:
      InputError: somebody else holds it, and the message says who; or `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f'{folder}: a file; expected a folder')
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_FILE
    holder = Holder(socket.gethostname(), os.getpid(), scheduler_job(), now(), secrets.token_hex(8))
    try:
        with _flock(path, holder) or _signs_of_life(path, holder):
            yield
    finally:
        for each in made:
            with contextlib.suppress(OSError):  # it holds something
                each.rmdir()


def _flock(path: Path, holder: Holder) -> contextlib.AbstractContextManager[None] | None:
    """Takes the system's lock; returns what gives it back, None where the file system has no locks."""
    while True:
        file = open(path, 'a', encoding='utf-8')  # noqa: SIM115 - closed by _give_back
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise InputError(_in_use(path)) from None
        except OSError as error:
            file.close()
            if error.errno not in _HAS_NO_LOCKS:
                raise
            return None
        # Who held it may have removed the file after we had opened it: then that lock is nobody's, and the next has
        # another.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                break
        file.close()
    try:
        with naming(path):
            file.truncate(0)
            json.dump(holder._asdict(), file)
            file.flush()
    except OSError:  # a full disk; what the file's buffer holds can go nowhere
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            file.close()
        raise
    return _give_back(path, file)


@contextmanager
def _give_back(path: Path, file: IO) -> Iterator[None]:
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is still ours


@contextmanager
def _signs_of_life(path: Path, holder: Holder) -> Iterator[None]:
    """Holds a lock by giving signs of life."""
    before = _read(path)
    if before and not process_is_gone(before.host, before.pid):
        silent = _server_time(path.parent) - path.stat().st_mtime
        if silent < SILENT_SECONDS:
            raise InputError(_in_use(path))
        print(f'{path}: taken over from {before}, silent for {silent / 60:.0f} minutes', flush=True)
    elif before:
        print(f'{path}: taken over from {before}, which is gone', flush=True)

    def write() -> None:
        with atomic_write(path) as file:
            json.dump(holder._asdict(), file)

    def beat() -> None:
        found = _read(path)
        if found and found.token != holder.token:  # whoever has it now may not meet a second writer
            print(f'{path}: lost to {found}; this process was silent for too long, and ends', file=sys.stderr)
            os._exit(2)  # as by SIGKILL, which a run survives
        os.utime(path)

    write()
    time.sleep(_SETTLE_SECONDS)
    if _read(path) != holder:
        raise InputError(_in_use(path))
    try:
        with heartbeat(beat):
            yield
    finally:
        if _read(path) == holder:
            path.unlink(missing_ok=True)


def _read(path: Path) -> Holder | None:
    """Who a lock's file names; None where it names nobody."""
    try:
        found = Holder(**read_object(path))
    except (OSError, ValueError, TypeError):
        return None
    return found._replace(pid=int(found.pid)) if str(found.pid).isdecimal() else None


def _server_time(folder: Path) -> float:
    """The time by the clock that gives files their times, which need not be this machine's."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _in_use(path: Path) -> str:
    for _ in range(10):  # it may have the lock and not have written yet
        holder = _read(path)
        if holder:
            break
        time.sleep(0.1)
    who = str(holder) if holder else 'another process, which has not said who it is'
    return f'{path.parent}: in use by {who}; expected one job that writes to a run folder'
