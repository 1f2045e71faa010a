"""Handing tasks to qsub: job arrays, a table of one generation each, that wait for the arrays they need.

Three schedulers answer to qsub, and differ in how an array is asked for and waited for. Each job of an array runs
gpu_jobs/job.sh, which runs its task by `python -m fer.experiment run --task=...`. What a submission is made of is kept
in a folder of its own, `<runs>/jobs/<time>`, so that the same command may be given many times, with other flags, while
earlier jobs wait (dissertation 9.3).
"""

import os
import re
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.experiment.plan import LACKING, standings
from fer.experiment.queue import number_of
from fer.experiment.status import DONE, FAILED, QUEUED, STARTED, read_status, write_status
from fer.experiment.tasks import ROOT, Task

_UNKNOWN_JOB = 'being submitted'
JOB_SCRIPT = ROOT / 'gpu_jobs' / 'job.sh'
_UNSAFE = re.compile(r'[\s,"\'$`\\;&|<>()*?=]')  # in a path that goes through qsub's -v, or a shell within it


class Site(NamedTuple):
    """What a site's scheduler wants to know."""

    file: str  # with the settings that jobs read themselves
    scheduler: str  # auto, or a key of _DIALECTS
    queue: str
    resources: str
    walltime: str
    margin: int  # seconds before the end of the walltime when work is stopped
    attempts: int  # jobs in a row for each task


class Array(NamedTuple):
    """Tasks that may run side by side."""

    name: str
    tasks: list[Task]
    needs: list[str]  # names of arrays
    jobs: list[str]  # ids of jobs of earlier submissions that are still to end


class Dialect(NamedTuple):
    """How a scheduler's qsub is spoken to."""

    array: str  # the flag that asks for an array
    after: str  # {kind}:{ids} of single jobs
    after_array: str  # of arrays
    output: str  # the -o of a job, from {folder} and {name}


_DIALECTS = {
    'openpbs': Dialect('-J', '{kind}:{ids}', '{kind}:{ids}', '{folder}/'),
    'torque': Dialect('-t', '{kind}:{ids}', '{kind}array:{ids}', '{folder}/'),
    'slurm': Dialect('-t', '{kind}:{ids}', '{kind}:{ids}', '{folder}/{name}.%A.%a'),
}


def submit(tasks: dict[str, Task], runs: str, site: Site, own_flags: list[str]) -> None:
    """Submits what is neither done, nor queued, nor under way, and says each array's job.

    Args:
      tasks: each after what it needs.
      runs: folder of the runs.
      site: the scheduler.
      own_flags: of fer.experiment, which each job repeats.

    Raises:
      InputError: there is no qsub, it refuses, or a task lacks its data or weights.
    """
    seconds = _parse_walltime(site.walltime) - site.margin
    if seconds <= 0:
        raise InputError(f'--margin={site.margin}: expected less than --walltime={site.walltime}')
    found = standings(tasks, runs)
    for name, standing in found.items():
        if standing.state == LACKING:
            raise InputError(f'{name}: {standing.text}; expected it before anything is submitted')
    under_way = [name for name, standing in found.items() if standing.state in (QUEUED, STARTED)]
    for name in under_way:
        if number_of(_job(runs, name)) == '':
            raise InputError(f'{name}: {found[name].text}; expected nothing under way that is no job of the scheduler')
    if under_way:
        print(f'{len(under_way)} tasks are queued or under way already, and are not submitted again')
    waiting = {n: task for n, task in tasks.items() if found[n].state not in (DONE, QUEUED, STARTED)}
    if not waiting:
        print('nothing to submit')
        return
    dialect = _DIALECTS[site.scheduler if site.scheduler != 'auto' else find_scheduler()]
    arrays = make_arrays(waiting, {name: _job(runs, name) for name in under_way})
    root = Path.cwd()
    folder = root / runs / 'jobs' / f'{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{os.getpid()}'
    if _UNSAFE.search(str(folder)):
        raise InputError(f'{folder}: expected a path without spaces, commas and the like, which qsub takes apart')
    folder.mkdir(parents=True)
    (folder / 'experiment.flags').write_text('\n'.join([*own_flags, f'--time_limit={seconds}', '']))
    ids: dict[str, tuple[str, bool]] = {}  # array: its last job, and whether that is an array of jobs
    for array in arrays:
        listing = folder / f'{array.name}.txt'
        listing.write_text(''.join(f'{task.name}\n' for task in array.tasks))
        variables = {'FER_ROOT': root, 'FER_JOBS': folder, 'FER_TASKS': listing, 'FER_STATUS': root / runs / 'status'}
        variables['FER_SITE'] = Path(site.file).absolute()
        job = ''
        for task in array.tasks:  # before there is a job, which may begin, and say so, at once
            write_status(runs, task.name, QUEUED, job=_UNKNOWN_JOB)
        for attempt in range(site.attempts):
            waits = _after(dialect, 'afterany', [ids[array.name]]) if attempt else _dependencies(dialect, array, ids)
            try:
                job = _qsub(_command(dialect, site, array, folder, variables, waits))
            except InputError as error:
                for task in array.tasks:
                    write_status(runs, task.name, FAILED, str(error))
                raise
            ids[array.name] = job, len(array.tasks) > 1
        for index, task in enumerate(array.tasks, start=1):
            if _job(runs, task.name) == _UNKNOWN_JOB:
                write_status(runs, task.name, QUEUED, job=f'{job} task {index}' if len(array.tasks) > 1 else job)
        print(f'{job}: {array.name}, {len(array.tasks)} tasks{_describe_needs(array, ids)}', flush=True)


def make_arrays(tasks: dict[str, Task], jobs: dict[str, str]) -> list[Array]:
    """Tasks of one table that need nothing of each other, together; arrays come after those that they need.

    Args:
      tasks: each after what it needs.
      jobs: of tasks that others may need and that are under way, which job each is.
    """
    generation: dict[str, int] = {}
    for name, task in tasks.items():
        generation[name] = 1 + max((generation[need] for need in task.needs if need in generation), default=-1)
    home = {
        name: f'{task.config.run_id.rpartition("-")[0]}{f".{generation[name]}" if generation[name] else ""}'
        for name, task in tasks.items()
    }
    groups: dict[tuple[int, str], list[Task]] = {}
    for name, task in tasks.items():
        groups.setdefault((generation[name], home[name]), []).append(task)
    arrays = []
    for (_, array), members in sorted(groups.items(), key=lambda item: item[0]):
        needs = [need for task in members for need in task.needs]
        arrays.append(
            Array(
                array,
                members,
                list(dict.fromkeys(home[need] for need in needs if need in tasks)),
                list(dict.fromkeys(jobs[need] for need in needs if need in jobs)),
            )
        )
    return arrays


def find_scheduler() -> str:
    """Which scheduler's qsub is on the PATH."""
    if shutil.which('qsub') is None:
        raise InputError('qsub: not on the PATH; expected a PBS cluster, or Slurm with its qsub')
    if shutil.which('scontrol'):
        return 'slurm'
    about = subprocess.run(['qsub', '--version'], capture_output=True, text=True)
    return 'openpbs' if 'pbs_version' in about.stdout + about.stderr else 'torque'


def _command(
    dialect: Dialect, site: Site, array: Array, folder: Path, variables: dict[str, Path], waits: list[str]
) -> list[str]:
    resources = f'{site.resources},walltime={site.walltime}' if site.resources else f'walltime={site.walltime}'
    command = ['qsub', '-N', f'fer-{array.name}', '-j', 'oe', '-r', 'y', '-l', resources]
    command += ['-o', dialect.output.format(folder=folder, name=array.name)]
    if site.queue:
        command += ['-q', site.queue]
    if len(array.tasks) > 1:
        command += [dialect.array, f'1-{len(array.tasks)}']
    else:  # OpenPBS knows no array of one
        variables = {**variables, 'FER_INDEX': Path('1')}
    command += ['-v', ','.join(f'{name}={value}' for name, value in variables.items())]
    if waits:
        command += ['-W', f'depend={",".join(waits)}']
    return [*command, str(JOB_SCRIPT)]


def _dependencies(dialect: Dialect, array: Array, ids: dict[str, tuple[str, bool]]) -> list[str]:
    """What the array waits for: all that it needs has ended well."""
    earlier = dict.fromkeys(_array_of(job) for job in array.jobs)
    return _after(dialect, 'afterok', [*(ids[need] for need in array.needs), *earlier])


def _array_of(job: str) -> tuple[str, bool]:
    """The job to wait for where one is `7`, `7.server`, `7 task 2`, `7[].server task 2` or `7[2].server`.

    Returns:
      Its id, and whether it is an array.
    """
    whole, is_task, _ = job.partition(' task ')
    return re.sub(r'\[\d+\]', '[]', whole), bool(is_task) or '[' in whole


def _after(dialect: Dialect, kind: str, jobs: list[tuple[str, bool]]) -> list[str]:
    found = []
    for form, is_array in ((dialect.after, False), (dialect.after_array, True)):
        ids = [job for job, several in jobs if several == is_array]
        if ids:
            found.append(form.format(kind=kind, ids=':'.join(ids)))
    return found


def _qsub(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    words = done.stdout.split()
    # Slurm's qsub prints its complaint where the job's id would be, and its exit code is not to be relied on.
    if done.returncode or len(words) != 1 or not words[0][0].isdigit():
        said = ' '.join((done.stderr + done.stdout).split())
        raise InputError(f'{" ".join(command)}: exit code {done.returncode}: {said}')
    return words[0]


def _job(runs: str, name: str) -> str:
    status = read_status(runs, name)
    return status.job if status else ''


def _describe_needs(array: Array, ids: dict[str, tuple[str, bool]]) -> str:
    needs = [*(f'{ids[need][0]} ({need})' for need in array.needs), *array.jobs]
    return f', after {", ".join(needs)}' if needs else ''


def _parse_walltime(text: str) -> int:
    """Seconds of hours:minutes:seconds."""
    parts = text.split(':')
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise InputError(f'--walltime={text}: expected hours:minutes:seconds')
    hours, minutes, seconds = map(int, parts)
    return 3600 * hours + 60 * minutes + seconds
