"""Files that are either whole or absent, whatever becomes of the process, the disk or the power.

A disk that takes no more is no fault of the work: whoever writes through here leaves what was there before, and raises
an OSError that names the file, which `fer.cli.run` makes one line. And JSON that others may have had their hands on.
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
_LARGEST = 2**63 - 1  # whole number of a JSON file; a larger one is no count of anything, nor can it be made a float

# What is to be done about a disk that takes no more, by the error's number; the work then goes on.
REMEDIES = {
    errno.ENOSPC: 'free some space',
    errno.EDQUOT: 'free some of the quota',
    errno.EFBIG: 'raise the limit on the size of files (ulimit -f)',
    errno.EIO: 'see to the disk',
}


@contextmanager
def atomic_write(path: str | Path, mode: str = 'w', durable: bool = True) -> Iterator[IO]:
    """Opens a temporary file beside `path` that takes its place when the block ends without an exception.

    Args:
      path: the file to write; its folder must exist.
      mode: `w` (UTF-8, line ends as written) or `wb`.
      durable: whether the file is on the disk itself before it takes its place. Else a power cut may leave an empty
        one, which is for files by the thousand whose readers notice: a sync takes up to tens of milliseconds.

    Raises:
      OSError: the disk does not take the file; what was at `path` is still there.
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
    """A temporary folder whose files take their places in `folder` together when the block ends without an exception.

    For files that speak of each other, such as results and their metrics: a disk that has room for the first only
    leaves the earlier ones of both; a name that is there already takes no room when its file is replaced. They come in
    the order in which they were written.

    Args:
      folder: where the files belong; made if missing.
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
    """A temporary folder beside `folder` that takes its place when the block ends without an exception.

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
    # Short, so that whatever name the file system takes for the file can be written; and drawn, not counted, because
    # jobs on several machines write to one folder.
    return folder / _TEMPORARY.format(secrets.token_hex(_TOKEN))


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Has errors within name the file: those of a write name none, and a temporary's name helps nobody."""
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
    """An error of the file system in one line: the file, and what is wrong."""
    return ': '.join(str(part) for part in (error.filename, error.strerror or error) if part)


def error_in(text: str, path: str | Path) -> OSError | None:
    """The file system's error in what another program or library says about writing `path`: at the end of a line."""
    for number in errno.errorcode:
        words = os.strerror(number)
        if any(line.endswith(words) for line in text.splitlines()):
            return OSError(number, words, str(path))
    return None


def sync(file: IO) -> None:
    """Has a file that is being written be on the disk itself."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Has a folder's names be on the disk itself, where the file system can do that.

    Where it cannot, a power cut may bring back what a name stood for before, which is whole as well.
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
    """Whether a file or folder is one that a writer that was killed has left, or that one is writing."""
    return path.match(_TEMPORARY.format('[0-9a-f]' * (2 * _TOKEN)))


def remove_temporaries(folder: Path, older: float = 0) -> None:
    """Takes away what writers that were killed have left in a folder.

    Args:
      folder: where nobody is writing, or `older` is longer than anybody writes at a file.
      older: seconds since a file was last written to.
    """
    for path in folder.glob(_TEMPORARY.format('[0-9a-f]' * (2 * _TOKEN))):
        with suppress(FileNotFoundError):  # it has got its name meanwhile
            if time.time() - path.stat().st_mtime < older:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def read_object(path: str | Path) -> dict[str, Any]:
    """The object that a JSON file holds; its numbers are finite, and whole ones have 64 bits.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is not UTF-8, not JSON, no object, nested too deeply, or has other numbers.
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
        raise ValueError('no object')
    return value


def _whole_number(text: str) -> int:
    number = int(text)  # refuses thousands of digits with a ValueError of its own
    if abs(number) > _LARGEST:
        raise ValueError(f'a whole number of {len(text.lstrip("-"))} digits')
    return number


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f'the number {text[:20]}; expected finite ones')
    return number
