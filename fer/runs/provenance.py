"""Which code made a file, when, and which file a number was made from. Standard library only."""

import hashlib
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from fer.installation import CHECKOUT, COMMIT_FILE


def now() -> str:
    """The time, UTC, as ISO 8601 writes it, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def commit() -> str | None:
    """Returns the commit of the code, 40 hex digits: the checkout's, or the one that a wheel was built from.

    None outside both, without git, and for a wheel that was built from uncommitted changes.
    """
    if CHECKOUT is None:
        return COMMIT_FILE.read_text(encoding='ascii').strip() if COMMIT_FILE.exists() else None
    return _git('rev-parse', 'HEAD')


def uncommitted_changes() -> bool | None:
    """Returns whether a tracked file of the code differs from that commit, None where `commit` returns None."""
    if CHECKOUT is None:
        return False if commit() else None
    answer = _git('status', '--porcelain', '--untracked-files=no')
    return None if answer is None else bool(answer)


def digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def stamp(results: str | Path) -> dict[str, str | bool | None]:
    """What a metrics file says of its origin, so that a number changed by hand later shows.

    Args:
      results: the results file that the metrics are of, as written.

    Returns:
      `results_sha256`, its digest; `written`, the time; `commit` and `uncommitted_changes`, of the code that
      answered, or fused, and computes the metrics.
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
