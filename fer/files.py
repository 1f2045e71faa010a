"""Files that are either whole or absent."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


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
    temporary = path.with_name(f'.{secrets.token_hex(8)}.tmp')
    encoding, newline = (None, None) if 'b' in mode else ('utf-8', '')
    try:
        with open(temporary, mode, encoding=encoding, newline=newline) as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
