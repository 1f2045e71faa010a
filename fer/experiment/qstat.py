"""What the scheduler has of the jobs that were handed to it; plain qstat, which all of them have."""

import re
import shutil
import subprocess

_ENDED = ('C', 'F', 'X')  # completed, finished, expired
_JOB = re.compile(r'^\s*(\d+)\S*\s.*\s([A-Z])\s+\S+\s*$', re.MULTILINE)
_PATIENCE = 60  # seconds


def jobs_in_queue() -> set[str] | None:
    """The numbers of all jobs that wait or run; None where there is no qstat, or it does not answer."""
    if shutil.which('qstat') is None:
        return None
    try:
        done = subprocess.run(['qstat'], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    return {number for number, state in _JOB.findall(done.stdout) if state not in _ENDED}
