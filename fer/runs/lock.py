# SPDX-License-Identifier: Apache-2.0
"""The lock of a run folder, so that one job writes to it. The lock is released when the process exits.

It is the system's own lock (flock) on a file in the folder. It is released even after SIGKILL or a crash of the
machine. It holds for all hosts of a file server that has locks, such as NFS version 4.

If the file system has no locks, the holder touches the file every TOUCH_SECONDS instead. Another job takes the lock
over if the file was not touched for SILENT_SECONDS, or if the holder was a process of this machine that has ended. A
holder that finds its lock taken over, because it was silent for so long, exits at once.

With either kind of lock, the file names the holder. A mount that keeps locks to its own host (NFS with local_lock,
Lustre with localflock) protects only from the jobs of that host.
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

HAS_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # errors of a file system without locks
_SETTLE_SECONDS = 2.0  # in this time, another job that takes over the same silent lock has written its name too


class Holder(NamedTuple):
    """The process that holds a lock, read from the lock's file."""

    host: str
    pid: int
    job: str  # the scheduler's id, '' outside of a job
    since: str  # ISO, UTC
    token: str  # identifies this one holding of the lock

    def __str__(self) -> str:
        job = f'job {self.job}, ' if self.job else ''
        return f'{job}process {self.pid} on {self.host}, since {self.since}'


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder. A missing folder is made, and removed again if it stays empty.

    Raises:
      InputError: another process holds the lock (the message names it), or `folder` is a file.
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
            with contextlib.suppress(OSError):  # it is not empty
                each.rmdir()


def _flock(path: Path, holder: Holder) -> contextlib.AbstractContextManager[None] | None:
    """Takes the system's lock. Returns a context that releases it, or None if the file system has no locks."""
    while True:
        file = open(path, 'a', encoding='utf-8')  # noqa: SIM115 - closed by _release
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise InputError(_in_use(path)) from None
        except OSError as error:
            file.close()
            if error.errno not in HAS_NO_LOCKS:
                raise
            return None
        # The last holder may have removed the file after this process opened it. Then the lock is on a file that no
        # other process can open, so try again.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                break
        file.close()
    try:
        with naming(path):
            file.truncate(0)
            json.dump(holder._asdict(), file)
            file.flush()
    except OSError:  # a full disk, on which closing fails as well, because the buffer cannot be written
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            file.close()
        raise
    return _release(path, file)


@contextmanager
def _release(path: Path, file: IO) -> Iterator[None]:
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # before the lock is released


@contextmanager
def _signs_of_life(path: Path, holder: Holder) -> Iterator[None]:
    """Holds a lock by touching its file, for file systems without locks."""
    before = read_holder(path)
    if before and not process_is_gone(before.host, before.pid):
        silent = _server_time(path.parent) - path.stat().st_mtime
        if silent < SILENT_SECONDS:
            raise InputError(_in_use(path))
        print(f'{path}: taken over from {before}, silent for {silent / 60:.0f} minutes', flush=True)
    elif before:
        print(f'{path}: taken over from {before}, which has ended', flush=True)

    def write() -> None:
        with atomic_write(path) as file:
            json.dump(holder._asdict(), file)

    def beat() -> None:
        found = read_holder(path)
        if found and found.token != holder.token:  # a run folder may not have two writers
            print(f'{path}: lost to {found}; this process was silent for too long, and exits', file=sys.stderr)
            os._exit(2)  # at once and without cleaning up, which does a run as little harm as SIGKILL
        os.utime(path)

    write()
    time.sleep(_SETTLE_SECONDS)
    if read_holder(path) != holder:
        raise InputError(_in_use(path))
    try:
        with heartbeat(beat):
            yield
    finally:
        if read_holder(path) == holder:
            path.unlink(missing_ok=True)


def read_holder(path: Path) -> Holder | None:
    """Returns the holder that a lock's file names, or None."""
    try:
        found = Holder(**read_object(path))
    except (OSError, ValueError, TypeError):
        return None
    return found._replace(pid=int(found.pid)) if str(found.pid).isdecimal() else None


def _server_time(folder: Path) -> float:
    """Returns the time of the file server, whose clock may differ from this machine's."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _in_use(path: Path) -> str:
    for _ in range(10):  # the holder may not have written its name yet
        holder = read_holder(path)
        if holder:
            break
        time.sleep(0.1)
    who = str(holder) if holder else 'another process, which has not written its name'
    return f'{path.parent}: in use by {who}; only one job may write to a run folder, so wait or choose another folder'
