"""Files that are either whole or absent."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_TEMPORARY = '.{}.tmp'
_TOKEN = 8  # random bytes in a temporary name


@contextmanager
def atomic_write(path: str | Path, mode: str = 'w') -> Iterator[IO]:
    """Opens a temporary file beside `path` that takes its place when the block ends without an exception.

    Args:
      path: the file to write; its folder must exist.
      mode: `w` (UTF-8, line ends as written) or `wb`.
    """
    path = Path(path)
    # Short, so that whatever name the file system takes for the file can be written; and drawn, not counted, because
    # jobs on several machines write to one folder.
    temporary = path.with_name(_TEMPORARY.format(secrets.token_hex(_TOKEN)))
    encoding, newline = (None, None) if 'b' in mode else ('utf-8', '')
    try:
        with open(temporary, mode, encoding=encoding, newline=newline) as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a file is one that a writer that was killed has left, or that one is writing."""
    return path.match(_TEMPORARY.format('[0-9a-f]' * (2 * _TOKEN)))


def remove_temporaries(folder: Path, older: float = 0) -> None:
    """Takes away what writers that were killed have left in a folder.

    Args:
      folder: where nobody is writing, or `older` is longer than anybody writes at a file.
      older: seconds since a file was last written to.
    """
    for path in folder.glob(_TEMPORARY.format('[0-9a-f]' * (2 * _TOKEN))):
        with contextlib.suppress(FileNotFoundError):  # it has got its name meanwhile
            if time.time() - path.stat().st_mtime >= older:
                path.unlink()
