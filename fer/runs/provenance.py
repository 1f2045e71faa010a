# SPDX-License-Identifier: Apache-2.0
"""The origin of a file: the code, the time, and the file that its numbers come from. Standard library only."""

import hashlib
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from fer.installation import CHECKOUT, COMMIT_FILE


def now() -> str:
    """Returns the time in UTC as ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def commit() -> str | None:
    """Returns the commit of the code, 40 hex digits: the checkout's, or the one that the wheel was built from.

    Returns None outside of a checkout and a wheel, without git, and for a wheel built from uncommitted changes.
    """
    if CHECKOUT is None:
        return COMMIT_FILE.read_text(encoding='ascii').strip() if COMMIT_FILE.exists() else None
    return _git('rev-parse', 'HEAD')


def uncommitted_changes() -> bool | None:
    """Returns whether a tracked file differs from the commit of the code. None if `commit` returns None."""
    if CHECKOUT is None:
        return False if commit() else None
    answer = _git('status', '--porcelain', '--untracked-files=no')
    return None if answer is None else bool(answer)


def digest(path: str | Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def stamp(results: str | Path) -> dict[str, str | bool | None]:
    """Returns what a metrics file records about its origin, so that a number edited by hand can be found later.

    Args:
      results: the results file that the metrics are computed from, already written.

    Returns:
      A dictionary with four keys: `results_sha256` is the digest of the results, `written` is the time, and `commit`
      and `uncommitted_changes` are of the code that evaluates or fuses.
    """
    return {
        'results_sha256': digest(results),
        'written': now(),
        'commit': commit(),
        'uncommitted_changes': uncommitted_changes(),
    }


def _git(*arguments: str) -> str | None:
    assert CHECKOUT is not None
    try:
        answer = subprocess.run(['git', '-C', CHECKOUT, *arguments], capture_output=True, text=True)
    except OSError:  # no git here
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
