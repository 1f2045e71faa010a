"""Features of frames on disk, for every run with the same frozen CNN; several jobs may use them at once.

A folder of the store holds a folder per key, named by a digest of all that features depend on but the frame, which is
written out in its `key.json`. A frame is named by a digest of its file's bytes, so that windows, splits and copies of
a data set share it. In a key's folder are shards, written once and never changed: `<name>.npy`, float32 [n, D], and
`<name>.csv`, the digest and a checksum of each row. A shard counts when its table is there, which is written last, and
a row when its checksum is right: what a job that was killed leaves, or a disk damages, is computed again.

Beside each key are two locks, which the system frees when a job ends, however it ends. `<key>.use` is shared by the
jobs that use the key, and its time says when it was last used: to remove a key, a job has to have this lock alone.
`<key>.fill` is held by the one job that adds to it, while others that need the same features wait for them.
"""

import contextlib
import csv
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from fer.arrays import load_array
from fer.errors import InputError
from fer.files import atomic_write, remove_temporaries

KEY_FILE = 'key.json'
_HEADER = ['digest', 'crc32']
_SHARD_BYTES = 2**26  # the work that a killed job loses, at most
_DIGEST_BYTES = 16
_RIGHT = 'right'


class _Entry(NamedTuple):
    """Where a frame's features lie."""

    shard: int
    row: int
    checksum: str  # as its table has it; _RIGHT once it was compared


def digest(content: bytes) -> str:
    """What a frame is named by: 32 hexadecimal digits, of the bytes of its file."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def key_name(key: Mapping) -> str:
    """The folder of a key, whose values are of JSON."""
    return digest(json.dumps(key, sort_keys=True).encode())


class FeatureStore:
    """One key of a store, in use until `close`."""

    def __init__(self, root: str | Path, key: Mapping, depth: int, limit: int):
        """Opens a key, which is made if need be, once the store has been cut back to `limit` bytes.

        Args:
          root: folder of the store.
          key: all that features depend on, but for the frame; values as of JSON.
          depth: D, features of a frame.
          limit: bytes of the whole store. A key that a job is using stays nevertheless.

        Raises:
          InputError: `root` is a file.
        """
        self.root, self.depth, self.limit = Path(root), depth, limit
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f'--feature_cache={root}: a file; expected a folder')
        self.root.mkdir(parents=True, exist_ok=True)
        self.name = key_name(key)
        self.folder = self.root / self.name
        self._rows: dict[str, list[_Entry]] = {}  # by digest; several where one was damaged
        self._shards: list[np.ndarray] = []
        self._known: set[str] = set()  # tables that have been read
        make_room(self.root, 0, limit)
        self._use = _lock(self.root / f'{self.name}.use', fcntl.LOCK_SH)
        os.utime(self._use.fileno())
        self.folder.mkdir(exist_ok=True)
        self._key = dict(key)
        self.refresh()

    def close(self) -> None:
        """Ends the use; the store is then cut back to its limit."""
        self._use.close()
        make_room(self.root, 0, self.limit)

    def refresh(self) -> None:
        """Reads the shards that have come since."""
        for table in sorted(self.folder.glob('*.csv')):
            if table.name not in self._known:
                self._known.add(table.name)
                self._read_shard(table)

    def _read_shard(self, table: Path) -> None:
        """Takes note of the rows of a shard that is whole."""
        try:
            values = load_array(table.with_suffix('.npy'), 'r')
            with open(table, newline='', encoding='utf-8') as file:
                header, *lines = csv.reader(file)
        except (OSError, ValueError, csv.Error):  # no array, one cut short, or not of our making
            return
        if header != _HEADER or values.dtype != np.float32 or values.shape != (len(lines), self.depth):
            return
        self._shards.append(values)
        for row, line in enumerate(lines):
            if len(line) == len(_HEADER):
                name, checksum = line
                self._rows.setdefault(name, []).append(_Entry(len(self._shards) - 1, row, checksum))

    def find(self, name: str) -> tuple[int, int] | None:
        """Where the features of a frame lie, as `gather` takes it; None where they are not there, or damaged."""
        entries = self._rows.get(name, [])
        while entries:
            shard, row, checksum = entries[0]
            if checksum in (_RIGHT, _checksum(self._shards[shard][row])):
                entries[0] = _Entry(shard, row, _RIGHT)
                return shard, row
            del entries[0]
        return None

    @contextlib.contextmanager
    def filling(self, missing_bytes: int) -> Iterator[None]:
        """Within, no other job adds to the key; what others added before is known.

        Args:
          missing_bytes: how much is about to be added, at most; room is made for it.
        """
        path = self.root / f'{self.name}.fill'
        try:
            lock = _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'{self.root}: waiting for the features that another job is computing', flush=True)
            lock = _lock(path, fcntl.LOCK_EX)
        with lock:
            self.refresh()
            self._remove_leftovers()
            if not (self.folder / KEY_FILE).exists():
                with atomic_write(self.folder / KEY_FILE) as file:
                    json.dump(self._key, file, indent=1, sort_keys=True)
            make_room(self.root, missing_bytes, self.limit)
            yield

    def _remove_leftovers(self) -> None:
        """Takes away what a killed job did not finish; the lock says that nobody is writing."""
        remove_temporaries(self.folder)
        for array in self.folder.glob('*.npy'):
            if not array.with_suffix('.csv').exists():
                array.unlink()

    def add(self, frames: Iterable[tuple[str, np.ndarray]]) -> None:
        """Adds frames, within `filling`.

        Args:
          frames: digests, and features float32 [D].
        """
        most = max(1, _SHARD_BYTES // (4 * self.depth))
        digests: list[str] = []
        values: list[np.ndarray] = []
        for name, features in frames:
            digests.append(name)
            values.append(features)
            if len(digests) == most:
                self._write_shard(digests, np.stack(values))
                digests, values = [], []
        if digests:
            self._write_shard(digests, np.stack(values))
        self.refresh()

    def _write_shard(self, digests: Sequence[str], values: np.ndarray) -> None:
        array = self.folder / f'{secrets.token_hex(_DIGEST_BYTES)}.npy'
        with atomic_write(array, 'wb') as file:
            np.save(file, np.ascontiguousarray(values, np.float32), allow_pickle=False)
        # On the disk, like the array before it: a table whose array is not there would be in the way of both.
        with atomic_write(array.with_suffix('.csv')) as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(_HEADER)
            writer.writerows(zip(digests, map(_checksum, values), strict=True))

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Features of frames.

        Args:
          rows: int [n, 2], what `find` says of each.

        Returns:
          float32 [n, D].
        """
        values = np.empty((len(rows), self.depth), np.float32)
        for shard in np.unique(rows[:, 0]):
            chosen = rows[:, 0] == shard
            values[chosen] = self._shards[shard][rows[chosen, 1]]
        return values


def make_room(root: Path, needed: int, limit: int) -> None:
    """Removes the keys that were used longest ago and that no job is using, until `needed` bytes fit in `limit`.

    Args:
      root: folder of the store.
      needed: bytes to come.
      limit: bytes that the store may have.
    """
    with _lock(root / '.room', fcntl.LOCK_EX):
        sizes = {}
        for lock in root.glob('*.use'):
            folder = lock.with_suffix('')
            if folder.is_dir():
                sizes[lock] = sum(_size(path) for path in folder.iterdir())
        total = sum(sizes.values()) + needed
        for lock in sorted(sizes, key=lambda path: path.stat().st_mtime):
            if total <= limit:
                return
            try:
                alone = _lock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # in use
                continue
            with alone:
                # A removal that is interrupted leaves no table without its array.
                for table in lock.with_suffix('').glob('*.csv'):
                    table.unlink()
                shutil.rmtree(lock.with_suffix(''))
                total -= sizes[lock]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a temporary file that got its name meanwhile
        return 0


def _checksum(values: np.ndarray) -> str:
    return f'{zlib.crc32(np.ascontiguousarray(values, np.float32).data):08x}'


def _lock(path: Path, kind: int) -> IO:
    """An open file that holds a lock until it is closed. Raises BlockingIOError where LOCK_NB cannot have it."""
    file = open(path, 'a')  # noqa: SIM115 (closed by whoever holds the lock)
    try:
        fcntl.flock(file, kind)
    except BaseException:
        file.close()
        raise
    return file
