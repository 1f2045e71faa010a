# SPDX-License-Identifier: Apache-2.0
"""Finds files below a folder by names from outside, and never a file elsewhere."""

import os
import stat
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError

MOST_BYTES = 64 * 2**20  # of a file that is read for a page
_LONGEST_NAME = 4096  # bytes

Signature = tuple[int, int, int]  # inode, size and time of the last write. It changes when a file is written


class Root(NamedTuple):
    """A folder that may be read, and everything below it. Links inside that lead out of it may not."""

    path: Path  # absolute, without links

    @classmethod
    def at(cls, flag: str, folder: str) -> 'Root':
        """Returns the root that a flag names.

        Raises:
          InputError: there is no such folder.
        """
        path = Path(folder)
        if not path.is_dir():
            raise InputError(f'--{flag}={folder}: {"a file" if path.exists() else "not found"}; expected a folder')
        return cls(path.resolve())

    def find(self, name: str) -> Path | None:
        """Returns the file or folder of a name, absolute and without links. None if it does not exist below the root.

        Args:
          name: from outside. Its parts are separated by `/`. A name with an empty part, `.`, `..`, a backslash or a
            control character is refused, so that absolute paths are refused too.
        """
        parts = name.split('/')
        is_odd = any(part in ('', '.', '..') or '\\' in part or min(part) < ' ' for part in parts)
        if is_odd or len(os.fsencode(name)) > _LONGEST_NAME:
            return None
        return self.inside(self.path / name)

    def inside(self, path: str | Path) -> Path | None:
        """Returns a path of this machine, absolute and without links. None if it does not exist below the root."""
        try:
            real = Path(path).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # missing, a circle of links, or no path at all
            return None
        return real if real.is_relative_to(self.path) else None

    def read_in(self, folder: Path, name: str) -> Path | None:
        """Returns a file of a folder that is safe to read, or None if it is missing.

        Raises:
          InputError: the name leads out of the root, is not a file (a pipe would never end), or is too large.
        """
        path = folder / name
        if not os.path.lexists(path):
            return None
        real = self.inside(path)
        if real is None:
            raise InputError(f'{name}: a link that leads out of {self.path}, or to nothing, so it is not read')
        try:
            status = real.stat()
        except FileNotFoundError:  # deleted in this moment
            return None
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f'{name}: expected a file')
        if status.st_size > MOST_BYTES:
            raise InputError(f'{name}: {status.st_size / 2**20:.0f} MiB; pages read at most {MOST_BYTES // 2**20} MiB')
        return real


def sign(path: Path) -> Signature:
    """Returns the signature of a file.

    Raises:
      OSError: the file was deleted.
    """
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
