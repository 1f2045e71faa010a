# SPDX-License-Identifier: Apache-2.0
"""Caches on disk that several jobs share: keys, locks, and the limit on the size of a folder.

A cache's folder holds a folder per key, named after the kind of cache and a digest of the key, which `key.json` spells
out. In it are shards, written once and never changed: a file of data, and a table with the same stem. The table is
written last, so a shard without one is what a killed job left.

Beside each key are two locks, which the system frees when a job ends, even after a crash. All jobs that use the key
share `<key>.use`, whose time of change is the time of the last use. A job must hold this lock alone to remove the key.
The one job that adds to the key holds `<key>.fill`, and jobs that need the same content wait for it. Where the file
system has no locks, jobs do not wait and remove nothing.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, ClassVar

from fer.errors import InputError
from fer.files import atomic_write, remove_temporaries
from fer.runs.lock import HAS_NO_LOCKS

GIGABYTE = 10**9  # the unit of every limit
KEY_FILE = 'key.json'
_DIGEST_BYTES = 16


def digest(content: bytes) -> str:
    """Returns 32 hexadecimal digits that identify the bytes."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


class DiskCache:
    """The content that a cache has for one key, in use until `close`."""

    kind: ClassVar[str]  # part of the names of folders, and of the flag `--<kind>_cache`
    data_suffix: ClassVar[str]
    table_suffix: ClassVar[str]

    def __init__(self, root: str | Path, key: Mapping[str, Any], limit: int):
        """Opens a key, which is made if missing, after cutting the cache to its limit.

        Args:
          root: folder of the cache.
          key: everything that the content depends on. Its values can be written as JSON.
          limit: bytes of all keys of this kind. Keys that a job is using stay nevertheless.

        Raises:
          InputError: `root` is a file.
        """
        self.root, self.limit, self._key = Path(root), limit, dict(key)
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f'--{self.kind}_cache={root}: a file; expected a folder')
        self.root.mkdir(parents=True, exist_ok=True)
        self.name = f'{self.kind}-{digest(json.dumps(self._key, sort_keys=True).encode())}'
        self.folder = self.root / self.name
        self.make_room(0)
        use = self.root / f'{self.name}.use'
        self._use = _lock(use, fcntl.LOCK_SH)
        with suppress(PermissionError, FileNotFoundError):  # in another user's folder
            os.utime(use)
        self.folder.mkdir(exist_ok=True)

    def close(self) -> None:
        """Ends the use, so that any job may remove the key."""
        if self._use:
            self._use.close()

    def make_room(self, needed: int) -> int:
        """Removes keys that no job is using, the longest unused first, until `needed` bytes fit.

        Returns:
          Bytes that are left below the limit. Negative if the cache is larger than the limit.
        """
        with _lock(self.root / '.room', fcntl.LOCK_EX) or nullcontext() as room:
            sizes = {
                use: sum(_size(path) for path in use.with_suffix('').iterdir())
                for use in self.root.glob(f'{self.kind}-*.use')
                if use.with_suffix('').is_dir()
            }
            left = self.limit - sum(sizes.values())
            for use in sorted(sizes, key=lambda path: path.stat().st_mtime) if room else ():
                if left >= needed:
                    break
                if self._remove_unused(use):
                    left += sizes[use]
        return left

    def _remove_unused(self, use: Path) -> bool:
        """Removes the key of a lock, and returns True, unless a job is using the key."""
        try:
            alone = _lock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        with alone or nullcontext():
            folder = use.with_suffix('')
            for table in folder.glob(f'*{self.table_suffix}'):  # first, so that an interrupted removal leaves none
                table.unlink()
            shutil.rmtree(folder)
        return True

    @contextmanager
    def filling(self, needed: int) -> Iterator[None]:
        """Keeps other jobs from adding to the key while the block runs.

        Args:
          needed: bytes that the block adds at most. Room is made for them.

        Raises:
          InputError: they do not fit, and the file system has no locks, without which no key is removed.
        """
        path = self.root / f'{self.name}.fill'
        try:
            lock = _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'{self.root}: waiting for another job, which fills the same {self.kind} cache', flush=True)
            lock = _lock(path, fcntl.LOCK_EX)
        with lock or nullcontext():
            if lock:
                self._remove_leftovers()
            if not (self.folder / KEY_FILE).exists():
                with atomic_write(self.folder / KEY_FILE) as file:
                    json.dump(self._key, file, indent=1, sort_keys=True)
            if needed > max(self.make_room(needed), 0) and not lock:
                raise InputError(
                    f'--{self.kind}_cache={self.root}: full, and this file system has no locks, so that no job can '
                    'remove anything; empty the folder or choose another'
                )
            yield

    def _remove_leftovers(self) -> None:
        """Removes what killed jobs did not finish. The lock ensures that no job is writing."""
        remove_temporaries(self.folder)
        for data in self.folder.glob(f'*{self.data_suffix}'):
            if not data.with_suffix(self.table_suffix).exists():
                data.unlink()

    def new_shard(self) -> Path:
        """Returns where to write the data of a new shard."""
        return self.folder / f'{secrets.token_hex(_DIGEST_BYTES)}{self.data_suffix}'


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a temporary file that was renamed meanwhile
        return 0


def _lock(path: Path, kind: int) -> IO | None:
    """Returns an open file that holds a lock until it is closed.

    Returns:
      None where the file system has no locks, and for the lock of another user whose cache this job may only read.

    Raises:
      BlockingIOError: `kind` has LOCK_NB, and another process holds the lock.
    """
    try:
        file = open(path, 'a')  # noqa: SIM115 (the caller closes it)
    except PermissionError:
        return None
    try:
        fcntl.flock(file, kind)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError) and error.errno in HAS_NO_LOCKS:
            return None
        raise
    return file
