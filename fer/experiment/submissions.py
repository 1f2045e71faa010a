"""What was handed to the scheduler: a JSON file for each array, kept beside the list that its jobs read."""

import json
from pathlib import Path
from typing import NamedTuple

from fer.files import atomic_write, read_object

JOBS_FOLDER = 'jobs'


class Submission(NamedTuple):
    """An array of tasks that was submitted."""

    tasks: list[str]
    jobs: list[str]  # the scheduler's ids, in the order in which they follow each other; none while it is submitted
    is_array: bool  # whether each of these is an array of jobs
    awaited: list[str]  # tasks that all have to end well before it begins


def write_submission(path: Path, submission: Submission) -> None:
    with atomic_write(path) as file:
        json.dump(submission._asdict(), file, indent=1)


def read_submissions(runs: str | Path) -> dict[str, Submission]:
    """The last submission of each task that ever was submitted; files that cannot be read are none."""
    found: dict[str, Submission] = {}
    for path in sorted((Path(runs) / JOBS_FOLDER).glob('*/*.json')):  # folders are called by their time
        try:
            submission = Submission(**read_object(path))
            for names in (submission.tasks, submission.jobs, submission.awaited):
                if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                    raise TypeError(f'{names}: expected names')
        except (OSError, ValueError, TypeError):
            continue
        found |= dict.fromkeys(submission.tasks, submission)
    return found
