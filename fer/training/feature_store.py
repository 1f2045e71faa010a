# SPDX-License-Identifier: Apache-2.0
"""Features of frames on disk (--feature_cache), for every run with the same frozen CNN.

A key (fer/data/disk_cache.py) is all that features depend on, except the frame. A frame is named by a digest of its
file's bytes, so that windows, splits and copies of a data set share its features. A shard holds some frames:

  <name>.npy  float32 [n, D]
  <name>.csv  the digest of each frame, and a checksum of its features

Features whose checksum is wrong, or whose shard is not whole, are computed again.
"""

import csv
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer.arrays import load_array
from fer.data.disk_cache import DiskCache
from fer.files import atomic_write

_HEADER = ['digest', 'crc32']
_SHARD_BYTES = 2**26  # the work that a killed job loses, at most
_VERIFIED = 'verified'


class _Entry(NamedTuple):
    """The place of a frame's features."""

    shard: int
    row: int
    checksum: str  # of the table, or _VERIFIED after it was compared with the features


class FeatureStore(DiskCache):
    """The features of one key, in use until `close`."""

    kind, data_suffix, table_suffix = 'feature', '.npy', '.csv'

    def __init__(self, root: str | Path, key: Mapping[str, Any], depth: int, limit: int):
        """Opens a key, which is made if missing, and reads its tables.

        Args:
          root: folder of the store.
          key: all that features depend on, except the frame. Its values can be written as JSON.
          depth: D, features of a frame.
          limit: bytes of the whole store. A key that a job is using stays nevertheless.

        Raises:
          InputError: `root` is a file.
        """
        super().__init__(root, key, limit)
        self.depth = depth
        self._rows: dict[str, list[_Entry]] = {}  # by digest, several where features of a frame were damaged
        self._shards: list[np.ndarray] = []
        self._known: set[str] = set()  # tables that have been read
        self.refresh()

    def close(self) -> None:
        """Ends the use, and cuts the store to its limit."""
        super().close()
        self.make_room(0)

    def refresh(self) -> None:
        """Reads the tables of new shards."""
        for table in sorted(self.folder.glob(f'*{self.table_suffix}')):
            if table.name not in self._known:
                self._known.add(table.name)
                self._read_shard(table)

    def _read_shard(self, table: Path) -> None:
        """Adds the rows of a shard to the known ones, if the shard is whole."""
        try:
            values = load_array(table.with_suffix(self.data_suffix), 'r')
            with open(table, newline='', encoding='utf-8') as file:
                header, *lines = csv.reader(file)
        except (OSError, ValueError, csv.Error):  # missing, truncated or of another form
            return
        if header != _HEADER or values.dtype != np.float32 or values.shape != (len(lines), self.depth):
            return
        self._shards.append(values)
        for row, line in enumerate(lines):
            if len(line) == len(_HEADER):
                name, checksum = line
                self._rows.setdefault(name, []).append(_Entry(len(self._shards) - 1, row, checksum))

    def find(self, name: str) -> tuple[int, int] | None:
        """Returns where the features of a frame are, for `gather`. None if they are missing or damaged."""
        entries = self._rows.get(name, [])
        while entries:
            shard, row, checksum = entries[0]
            if checksum in (_VERIFIED, _checksum(self._shards[shard][row])):
                entries[0] = _Entry(shard, row, _VERIFIED)
                return shard, row
            del entries[0]
        return None

    @contextmanager
    def filling(self, needed: int) -> Iterator[None]:
        """Keeps other jobs from adding features while the block runs. The block finds what they added before."""
        with super().filling(needed):
            self.refresh()
            yield

    def add(self, frames: Iterable[tuple[str, np.ndarray]]) -> None:
        """Adds frames, each a digest and features float32 [D]. Call within `filling`."""
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
        array = self.new_shard()
        with atomic_write(array, 'wb') as file:
            np.save(file, np.ascontiguousarray(values, np.float32), allow_pickle=False)
        # Durable, like the array: after a power cut a table without its array would be in the way of both.
        with atomic_write(array.with_suffix(self.table_suffix)) as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(_HEADER)
            writer.writerows(zip(digests, map(_checksum, values), strict=True))

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Returns float32 [n, D], the features at `rows`, int [n, 2]: what `find` returned for each frame."""
        values = np.empty((len(rows), self.depth), np.float32)
        for shard in np.unique(rows[:, 0]):
            chosen = rows[:, 0] == shard
            values[chosen] = self._shards[shard][rows[chosen, 1]]
        return values


def _checksum(values: np.ndarray) -> str:
    return f'{zlib.crc32(np.ascontiguousarray(values, np.float32).data):08x}'
