# SPDX-License-Identifier: Apache-2.0
"""The scheduler's queue, as plain qstat lists it. All supported schedulers have a qstat."""

import re
import shutil
import subprocess

_ENDED = ('C', 'F', 'X')  # completed, finished, expired
_JOB = re.compile(r'^\s*(\d+)\S*\s.*\s([A-Z])\s+\S+\s*$', re.MULTILINE)
_TIMEOUT = 60  # seconds


def jobs_in_queue() -> set[str] | None:
    """Returns the numbers of all jobs that wait or run, or None if qstat is missing or fails."""
    if shutil.which('qstat') is None:
        return None
    try:
        done = subprocess.run(['qstat'], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    return {number for number, state in _JOB.findall(done.stdout) if state not in _ENDED}
