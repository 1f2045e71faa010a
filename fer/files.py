# SPDX-License-Identifier: Apache-2.0
"""Writing files that are never half-written, even after a crash, a full disk or a power cut. Reading untrusted JSON.

A write that fails keeps the earlier file, and raises an OSError that names the file. `fer.cli.run` prints the error as
one line.
"""

import errno
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_TEMPORARY = '.{}.tmp'
_TOKEN = 8  # random bytes in a temporary name
_LARGEST = 2**63 - 1  # largest whole number in a JSON file. A larger one cannot be a count, and may not fit a float

# The remedy for a failed write, by the error's number. Afterwards the work can be resumed.
REMEDIES = {
    errno.ENOSPC: 'free some space',
    errno.EDQUOT: 'free some of the quota',
    errno.EFBIG: 'raise the limit on the size of files (ulimit -f)',
    errno.EIO: 'check the disk',
}


@contextmanager
def atomic_write(path: str | Path, mode: str = 'w', durable: bool = True) -> Iterator[IO]:
    """Opens a temporary file beside `path` that takes its place when the block ends without an exception.

    Args:
      path: the file to write. Its folder must exist.
      mode: `w` (UTF-8, line ends as written) or `wb`.
      durable: True to sync the file to the disk before it takes its place. Otherwise a power cut may leave an empty
        file. A sync takes up to tens of milliseconds, so False suits thousands of files whose readers notice damage.

    Raises:
      OSError: the file cannot be written. The earlier file at `path` is kept.
    """
    path = Path(path)
    temporary = _temporary(path.parent)
    encoding, newline = (None, None) if 'b' in mode else ('utf-8', '')
    try:
        with naming(path):
            with open(temporary, mode, encoding=encoding, newline=newline) as file:
                yield file
                if durable:
                    sync(file)
            os.replace(temporary, path)
            if durable:
                sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_files(folder: str | Path) -> Iterator[Path]:
    """Makes a temporary folder whose files move to `folder` together when the block ends without an exception.

    For files that belong together, such as results and their metrics. If the disk has room for only some of them, all
    earlier files are kept. Files move in the order in which they were written. Replacing a file needs no room.

    Args:
      folder: where the files belong. Made if missing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(folder)
    try:
        with naming(folder):
            temporary.mkdir()
            yield temporary
            for path in sorted(temporary.iterdir(), key=lambda path: path.lstat().st_mtime_ns):
                os.replace(path, folder / path.name)
            sync_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """Makes a temporary folder beside `folder` that takes its place when the block ends without an exception.

    Args:
      folder: empty or absent.
    """
    folder = Path(folder).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(folder.parent)
    try:
        with naming(folder):
            temporary.mkdir()
            yield temporary
            os.replace(temporary, folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(folder: Path) -> Path:
    # A short name, so that it fits wherever the file's own name fits. It is random instead of numbered, because jobs on
    # several machines write to one folder.
    return folder / _TEMPORARY.format(secrets.token_hex(_TOKEN))


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Makes errors of the file system name `path` while the block runs, instead of a temporary file or no file."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        elif isinstance(error.filename, str) and is_temporary(Path(error.filename)):
            error.filename, error.filename2 = str(path), None
        elif isinstance(error.filename, str) and is_temporary(Path(error.filename).parent):
            error.filename = str(Path(path) / Path(error.filename).name)
        raise


def describe(error: OSError) -> str:
    """Returns an error of the file system as one line: the file, and what is wrong."""
    return ': '.join(str(part) for part in (error.filename, error.strerror or error) if part)


def error_in(text: str, path: str | Path) -> OSError | None:
    """Finds an error of the file system in another program's message about writing `path`.

    Returns:
      The error if a line of the message ends with its words, such as `No space left on device`. Otherwise None.
    """
    for number in errno.errorcode:
        words = os.strerror(number)
        if any(line.endswith(words) for line in text.splitlines()):
            return OSError(number, words, str(path))
    return None


def sync(file: IO) -> None:
    """Waits until an open file's content is on the disk itself."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Waits until a folder's names are on the disk itself, if the file system supports that.

    Without that support, a power cut may bring back the earlier file of a name, which is complete too.
    """
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def files_below(root: Path) -> list[Path]:
    """Returns the files of a folder at any depth, sorted. Folders that are links are entered, each folder once."""
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(root, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in entered:  # a second link to it, or a circle
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders.sort()
        found += [Path(place, name) for name in names]
    return sorted(found)


def is_temporary(path: Path) -> bool:
    """Returns True for a temporary file or folder. Its writer may still be running or may have been killed."""
    return path.match(_TEMPORARY.format('[0-9a-f]' * (2 * _TOKEN)))


def remove_temporaries(folder: Path, older: float = 0) -> None:
    """Removes the temporary files of killed writers from a folder.

    Args:
      folder: no process may be writing to it, unless `older` is longer than any file takes to write.
      older: removes only files whose last write was at least so many seconds ago.
    """
    for path in folder.glob(_TEMPORARY.format('[0-9a-f]' * (2 * _TOKEN))):
        with suppress(FileNotFoundError):  # it was renamed meanwhile
            if time.time() - path.stat().st_mtime < older:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def read_object(path: str | Path) -> dict[str, Any]:
    """Reads the object of a JSON file. Its numbers are finite, and whole ones fit 64 bits.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is not UTF-8, not JSON, not an object, nested too deeply, or has a number outside these limits.
    """
    try:
        value = json.loads(
            Path(path).read_text(encoding='utf-8'),
            parse_int=_whole_number,
            parse_float=_finite_number,
            parse_constant=_finite_number,
        )
    except RecursionError:
        raise ValueError('nested too deeply') from None
    if not isinstance(value, dict):
        raise ValueError('not an object')
    return value


def _whole_number(text: str) -> int:
    number = int(text)  # raises ValueError for thousands of digits
    if abs(number) > _LARGEST:
        raise ValueError(f'a whole number of {len(text.lstrip("-"))} digits; expected at most 64 bits')
    return number


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f'the number {text[:20]}; expected a finite one')
    return number
