# SPDX-License-Identifier: Apache-2.0
"""Records of submitted job arrays: a JSON file for each, next to the list of tasks that its jobs read."""

import json
from pathlib import Path
from typing import NamedTuple

from fer.files import atomic_write, read_object

JOBS_FOLDER = 'jobs'


class Submission(NamedTuple):
    """A submitted array of tasks."""

    tasks: list[str]
    jobs: list[str]  # the scheduler's ids, one per attempt in order. Empty while the array is being submitted
    is_array: bool  # True if each of these jobs is a job array
    awaited: list[str]  # tasks that must all succeed before it starts


def write_submission(path: Path, submission: Submission) -> None:
    """Writes the record of an array."""
    with atomic_write(path) as file:
        json.dump(submission._asdict(), file, indent=1)


def read_submissions(runs: str | Path) -> dict[str, Submission]:
    """Returns the last submission of each task that was ever submitted. Unreadable files are ignored."""
    found: dict[str, Submission] = {}
    for path in sorted((Path(runs) / JOBS_FOLDER).glob('*/*.json')):  # a folder's name is the time of its submission
        try:
            submission = Submission(**read_object(path))
            for names in (submission.tasks, submission.jobs, submission.awaited):
                if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                    raise TypeError(f'{names}: expected names')
        except (OSError, ValueError, TypeError):
            continue
        found |= dict.fromkeys(submission.tasks, submission)
    return found
