# SPDX-License-Identifier: Apache-2.0
"""Submits tasks to a scheduler with qsub, as job arrays that wait for the arrays they need.

An array holds tasks of one table that can run at the same time. Each of its jobs runs gpu_jobs/job.sh, which runs one
task with `python -m fer.experiment run --task=...`. The files of a submission are in a folder of their own,
`<runs>/jobs/<time>`. So the command can be repeated with other flags while earlier jobs wait (dissertation 9.3).
"""

import re
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.experiment.arrays import Array, make_arrays
from fer.experiment.plan import MISSING, OTHER, TaskState, task_states
from fer.experiment.qsub import DIALECTS, Dialect, JobRequest, dependencies, find_scheduler, make_command, run_qsub
from fer.experiment.submissions import JOBS_FOLDER, Submission, read_submissions, write_submission
from fer.experiment.tasks import Task
from fer.files import atomic_write
from fer.installation import CHECKOUT
from fer.runs.flagfiles import read_settings
from fer.runs.names import STATUS_FOLDER
from fer.runs.status import DONE, FAILED, QUEUED, STARTED, write_status

_OVERRIDES = 'overrides.flags'
_UNSAFE = re.compile(r'[\s,"\'$`\\;&|<>()*?=]')  # not allowed in paths, because qsub's -v or its shell would split them


class Site(NamedTuple):
    """The settings of a site."""

    file: str  # the shell file with the settings that jobs read themselves
    scheduler: str  # `auto` or a key of DIALECTS
    request: JobRequest
    margin: int  # seconds before the end of the walltime when work is stopped
    attempts: int  # jobs in a row for each task
    max_array: int  # maximum number of jobs of an array on this server, 0 for any number


class _Batch(NamedTuple):
    """The things that all arrays of one call of `submit` share."""

    runs: str
    folder: Path  # of the files that the jobs read
    variables: dict[str, Path]  # environment variables of the jobs
    dialect: Dialect
    site: Site


def submit(tasks: dict[str, Task], runs: str, site: Site, own_flags: list[str], overrides: str) -> None:
    """Submits the tasks that are neither done nor queued nor running, and prints the job of each array.

    Args:
      tasks: each after the tasks that it needs.
      runs: folder of the runs.
      site: settings of the site.
      own_flags: flags of fer.experiment that each job repeats.
      overrides: a flagfile whose settings override those of training runs, or ''.

    Raises:
      InputError: qsub is missing or fails, a task has no data or weights, or a folder holds a run with other settings.
    """
    if CHECKOUT is None:
        raise InputError('submit: needs gpu_jobs/, which a wheel does not contain; run it in a checkout')
    seconds = _parse_walltime(site.request.walltime) - site.margin
    if seconds <= 0:
        raise InputError(f'--margin={site.margin}: expected less than --walltime={site.request.walltime}')
    states = task_states(tasks, runs)
    _check_states(states)
    under_way = _find_under_way(states, read_submissions(runs))
    if stuck := {state.stuck_job for state in states.values()} - {''}:
        print(
            f'tasks that could never start are submitted again; remove their old jobs: qdel {" ".join(sorted(stuck))}'
        )
    waiting = {name: task for name, task in tasks.items() if states[name].state not in (DONE, QUEUED, STARTED)}
    if not waiting:
        print('nothing to submit')
        return
    batch = _make_batch(runs, site)
    _write_flags(batch.folder, [f'--time_limit={seconds}', *own_flags], overrides)
    made: dict[str, Submission] = {}
    for array in make_arrays(waiting, under_way, site.max_array):
        made[array.name] = _submit_array(array, batch, made)
        jobs = made[array.name].jobs
        print(f'{jobs[-1]}: {array.name}, {len(array.tasks)} tasks{_describe_needs(array, made)}', flush=True)


def _check_states(states: dict[str, TaskState]) -> None:
    for name, state in states.items():
        if state.state == MISSING:
            raise InputError(f'{name}: {state.text}; add it before anything is submitted')
    if others := [state.text for state in states.values() if state.state == OTHER]:
        raise InputError(f'{others[0]}; choose another --runs')


def _find_under_way(states: dict[str, TaskState], submissions: dict[str, Submission]) -> dict[str, Submission]:
    """Returns the submissions of tasks that are queued or running."""
    found = {}
    for name, state in states.items():
        if state.state not in (QUEUED, STARTED):
            continue
        if name not in submissions:
            raise InputError(f'{name}: {state.text}; wait until it ends, because no job of the scheduler runs it')
        found[name] = submissions[name]
    if found:
        print(f'{len(found)} tasks are queued or running already, and are not submitted again')
    return found


def _make_batch(runs: str, site: Site) -> _Batch:
    """Makes the folder of a submission."""
    dialect = DIALECTS[site.scheduler if site.scheduler != 'auto' else find_scheduler()]
    root = Path.cwd()
    folder = root / runs / JOBS_FOLDER / f'{datetime.now(timezone.utc):%Y%m%d-%H%M%S-%f}'
    variables = {'FER_ROOT': root, 'FER_JOBS': folder, 'FER_STATUS': root / runs / STATUS_FOLDER}
    variables['FER_SITE'] = Path(site.file).absolute()
    for path in variables.values():
        if _UNSAFE.search(str(path)):
            raise InputError(f'{path}: expected a path without spaces, commas and the like, where qsub splits it')
    if not variables['FER_SITE'].is_file():
        raise InputError(f'--site={site.file}: no such file; expected settings like gpu_jobs/site.sh')
    folder.mkdir(parents=True)
    return _Batch(runs, folder, variables, dialect, site)


def _write_flags(folder: Path, own_flags: list[str], overrides: str) -> None:
    """Writes the flags of the jobs. The overrides are copied, so that later changes of their file have no effect."""
    if overrides:
        with atomic_write(folder / _OVERRIDES) as file:
            file.writelines(f'--{name}={value}\n' for name, value in read_settings(overrides).items())
        own_flags = [*own_flags, f'--overrides={folder / _OVERRIDES}']
    with atomic_write(folder / 'experiment.flags') as file:
        file.write('\n'.join([*own_flags, '']))


def _submit_array(array: Array, batch: _Batch, made: dict[str, Submission]) -> Submission:
    """Submits an array once for each attempt. Each attempt waits for the one before.

    Args:
      array: the tasks.
      batch: what all arrays share.
      made: the arrays submitted so far, by name.

    Raises:
      InputError: qsub refuses. The tasks are marked as failed.
    """
    before = [*(made[need] for need in array.needs), *array.earlier]
    names = [task.name for task in array.tasks]
    submission = Submission(names, [], len(names) > 1, [name for earlier in before for name in earlier.tasks])
    listing, record = batch.folder / f'{array.name}.txt', batch.folder / f'{array.name}.json'
    with atomic_write(listing) as file:
        file.writelines(f'{name}\n' for name in names)
    write_submission(record, submission)
    for name in names:  # now, because a job may start and write its own status at once
        write_status(batch.runs, name, QUEUED, job='')
    waits = dependencies(batch.dialect, 'afterok', before)
    for _ in range(batch.site.attempts):
        command = make_command(
            batch.dialect,
            batch.site.request,
            name=array.name,
            tasks=len(names),
            folder=batch.folder,
            variables=batch.variables | {'FER_TASKS': listing},
            waits=waits,
        )
        try:
            job = run_qsub(command)
        except InputError as error:
            for name in names:
                write_status(batch.runs, name, FAILED, str(error))
            raise
        submission = submission._replace(jobs=[*submission.jobs, job])
        write_submission(record, submission)
        waits = dependencies(batch.dialect, 'afterany', [submission])
    return submission


def _describe_needs(array: Array, made: dict[str, Submission]) -> str:
    needs = [f'{made[need].jobs[-1]} ({need})' for need in array.needs]
    needs += [submission.jobs[-1] for submission in array.earlier]
    return f', after {", ".join(needs)}' if needs else ''


def _parse_walltime(text: str) -> int:
    """Returns the seconds of hours:minutes:seconds."""
    parts = text.split(':')
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise InputError(f'--walltime={text}: expected hours:minutes:seconds')
    hours, minutes, seconds = map(int, parts)
    return 3600 * hours + 60 * minutes + seconds
