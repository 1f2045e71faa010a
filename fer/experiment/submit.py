"""Handing tasks to qsub: job arrays, a table of one generation each, that wait for the arrays they need.

Three schedulers answer to qsub, and differ in how an array is asked for and waited for. Each job of an array runs
gpu_jobs/job.sh, which runs its task by `python -m fer.experiment run --task=...`. What a submission is made of is kept
in a folder of its own, `<runs>/jobs/<time>`, so that the same command may be given many times, with other flags, while
earlier jobs wait (dissertation 9.3).
"""

import re
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.experiment.plan import LACKING, OTHER, standings
from fer.experiment.submissions import JOBS_FOLDER, Submission, read_submissions, write_submission
from fer.experiment.tasks import Task
from fer.files import atomic_write
from fer.installation import CHECKOUT
from fer.runs.flagfiles import read_settings
from fer.runs.names import STATUS_FOLDER
from fer.runs.status import DONE, FAILED, QUEUED, STARTED, write_status

_OVERRIDES = 'overrides.flags'
_ID = re.compile(r'\d+(\[\])?(\.\S+)?')  # 123, 123.server, 123[].server
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
    max_array: int  # jobs of an array that the server takes; 0 for any number
    throttle: int  # jobs of an array that may run at the same time; 0 for any number


class Array(NamedTuple):
    """Tasks that may run side by side."""

    name: str
    tasks: list[Task]
    needs: list[str]  # names of arrays
    earlier: list[Submission]  # that hold what these need, and are still to end


class Dialect(NamedTuple):
    """How a scheduler's qsub is spoken to."""

    array: str  # the flag that asks for an array
    after: str  # {kind}:{ids} of single jobs
    after_array: str  # of arrays
    output: str  # the -o of a job, from {folder} and {name}
    shell: str  # the -S; PBS runs scripts with the user's own shell, whatever their first line says


_DIALECTS = {
    'openpbs': Dialect('-J', '{kind}:{ids}', '{kind}:{ids}', '{folder}/', '/bin/bash'),
    'torque': Dialect('-t', '{kind}:{ids}', '{kind}array:{ids}', '{folder}/', '/bin/bash'),
    'slurm': Dialect('-t', '{kind}:{ids}', '{kind}:{ids}', '{folder}/{name}.%A.%a', ''),
}


def submit(tasks: dict[str, Task], runs: str, site: Site, own_flags: list[str], overrides: str) -> None:
    """Submits what is neither done, nor queued, nor under way, and says each array's job.

    Args:
      tasks: each after what it needs.
      runs: folder of the runs.
      site: the scheduler.
      own_flags: of fer.experiment, which each job repeats.
      overrides: a flagfile whose settings are laid over those of runs that train; empty for none.

    Raises:
      InputError: there is no qsub, it refuses, a task lacks its data or weights, or a folder holds another run.
    """
    if CHECKOUT is None:
        raise InputError('submit: needs gpu_jobs/, which a wheel does not carry; run it in a checkout')
    seconds = _parse_walltime(site.walltime) - site.margin
    if seconds <= 0:
        raise InputError(f'--margin={site.margin}: expected less than --walltime={site.walltime}')
    found = standings(tasks, runs)
    for name, standing in found.items():
        if standing.state == LACKING:
            raise InputError(f'{name}: {standing.text}; expected it before anything is submitted')
    if others := [standing.text for standing in found.values() if standing.state == OTHER]:
        raise InputError(f'{others[0]}; expected another --runs')
    submissions = read_submissions(runs)
    under_way = {name: submissions.get(name) for name, standing in found.items() if standing.state in (QUEUED, STARTED)}
    for name, submission in under_way.items():
        if submission is None:
            raise InputError(f'{name}: {found[name].text}; expected nothing under way that is no job of the scheduler')
    if under_way:
        print(f'{len(under_way)} tasks are queued or under way already, and are not submitted again')
    if vain_jobs := {standing.vain_job for standing in found.values()} - {''}:
        print(f'what waits in vain is submitted again; its old jobs may go: qdel {" ".join(sorted(vain_jobs))}')
    waiting = {n: task for n, task in tasks.items() if found[n].state not in (DONE, QUEUED, STARTED)}
    if not waiting:
        print('nothing to submit')
        return
    dialect = _DIALECTS[site.scheduler if site.scheduler != 'auto' else find_scheduler()]
    root = Path.cwd()
    folder = root / runs / JOBS_FOLDER / f'{datetime.now(timezone.utc):%Y%m%d-%H%M%S-%f}'
    variables = {'FER_ROOT': root, 'FER_JOBS': folder, 'FER_STATUS': root / runs / STATUS_FOLDER}
    variables['FER_SITE'] = Path(site.file).absolute()
    for path in variables.values():
        if _UNSAFE.search(str(path)):
            raise InputError(f'{path}: expected a path without spaces, commas and the like, which qsub takes apart')
    if not variables['FER_SITE'].is_file():
        raise InputError(f'--site={site.file}: no such file; expected the settings of gpu_jobs/site.sh')
    folder.mkdir(parents=True)
    own_flags = [f'--time_limit={seconds}', *own_flags]
    if overrides:  # as they are now, whatever becomes of the file before the jobs begin
        with atomic_write(folder / _OVERRIDES) as file:
            file.writelines(f'--{n}={value}\n' for n, value in read_settings(overrides).items())
        own_flags.append(f'--overrides={folder / _OVERRIDES}')
    with atomic_write(folder / 'experiment.flags') as file:
        file.write('\n'.join([*own_flags, '']))
    made: dict[str, Submission] = {}
    for array in make_arrays(waiting, {name: s for name, s in under_way.items() if s}, site.max_array):
        made[array.name] = _submit_array(array, runs, folder, variables, dialect, site, made)
        jobs = made[array.name].jobs
        print(f'{jobs[-1]}: {array.name}, {len(array.tasks)} tasks{_describe_needs(array, made)}', flush=True)


def _submit_array(
    array: Array,
    runs: str,
    folder: Path,
    variables: dict[str, Path],
    dialect: Dialect,
    site: Site,
    made: dict[str, Submission],
) -> Submission:
    """Hands an array over, as often in a row as there are attempts; raises InputError where qsub refuses."""
    before = [*(made[need] for need in array.needs), *array.earlier]
    names = [task.name for task in array.tasks]
    submission = Submission(names, [], len(names) > 1, [name for s in before for name in s.tasks])
    listing, record = folder / f'{array.name}.txt', folder / f'{array.name}.json'
    with atomic_write(listing) as file:
        file.writelines(f'{name}\n' for name in names)
    write_submission(record, submission)
    for name in names:  # before there is a job, which may begin, and say so, at once
        write_status(runs, name, QUEUED, job='')
    waits = _after(dialect, 'afterok', before)
    for _ in range(site.attempts):
        try:
            job = _qsub(_command(dialect, site, array, folder, variables | {'FER_TASKS': listing}, waits))
        except InputError as error:
            for name in names:
                write_status(runs, name, FAILED, str(error))
            raise
        submission = submission._replace(jobs=[*submission.jobs, job])
        write_submission(record, submission)
        waits = _after(dialect, 'afterany', [submission])
    return submission


def make_arrays(tasks: dict[str, Task], under_way: dict[str, Submission], max_array: int = 0) -> list[Array]:
    """Tasks of one table that need nothing of each other, together; arrays come after those that they need.

    Args:
      tasks: each after what it needs.
      under_way: of tasks that others may need and that were submitted before, which submission each is of.
      max_array: most tasks of an array; 0 for any number. What is wider becomes several arrays, `6.2-t1` and then
        `6.2-t1.part2`, as even as possible.
    """
    generation: dict[str, int] = {}
    for name, task in tasks.items():
        generation[name] = 1 + max((generation[need] for need in task.needs if need in generation), default=-1)
    home = {
        name: f'{task.config.run_id.rpartition("-")[0]}{f".{generation[name]}" if generation[name] else ""}'
        for name, task in tasks.items()
    }
    whole: dict[str, list[str]] = {}
    for name in tasks:
        whole.setdefault(home[name], []).append(name)
    for array, names in whole.items():
        parts = -(-len(names) // max_array) if max_array else 1
        for position, name in enumerate(names):
            part = position * parts // len(names)
            home[name] = f'{array}.part{part + 1}' if part else array
    groups: dict[tuple[int, str], list[Task]] = {}
    for name, task in tasks.items():
        groups.setdefault((generation[name], home[name]), []).append(task)
    arrays = []
    for (_, array), members in sorted(groups.items(), key=lambda item: item[0]):
        needs = list(dict.fromkeys(need for task in members for need in task.needs))
        earlier = [under_way[need] for need in needs if need in under_way]
        unique = [submission for index, submission in enumerate(earlier) if submission not in earlier[:index]]
        arrays.append(Array(array, members, list(dict.fromkeys(home[need] for need in needs if need in tasks)), unique))
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
    if dialect.shell:
        command += ['-S', dialect.shell]
    if len(array.tasks) > 1:
        command += [dialect.array, f'1-{len(array.tasks)}{f"%{site.throttle}" if site.throttle else ""}']
    else:  # OpenPBS knows no array of one
        variables = {**variables, 'FER_INDEX': Path('1')}
    command += ['-v', ','.join(f'{name}={value}' for name, value in variables.items())]
    if waits:
        command += ['-W', f'depend={",".join(waits)}']
    return [*command, f'{CHECKOUT}/gpu_jobs/job.sh']


def _after(dialect: Dialect, kind: str, submissions: list[Submission]) -> list[str]:
    """What is to be waited for: the last job of each."""
    found = []
    for form, is_array in ((dialect.after, False), (dialect.after_array, True)):
        ids = [submission.jobs[-1] for submission in submissions if submission.is_array == is_array]
        if ids:
            found.append(form.format(kind=kind, ids=':'.join(ids)))
    return found


def _qsub(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    # An id is a line of its own, whatever a site's qsub says besides. Slurm's prints complaints where the id would be,
    # and its exit code is not to be relied on.
    ids = [line.strip() for line in done.stdout.splitlines() if _ID.fullmatch(line.strip())]
    if done.returncode or len(ids) != 1:
        said = ' '.join((done.stderr + done.stdout).split())
        raise InputError(f'{" ".join(command)}: exit code {done.returncode}: {said}')
    return ids[0]


def _describe_needs(array: Array, made: dict[str, Submission]) -> str:
    needs = [f'{made[need].jobs[-1]} ({need})' for need in array.needs]
    needs += [submission.jobs[-1] for submission in array.earlier]
    return f', after {", ".join(needs)}' if needs else ''


def _parse_walltime(text: str) -> int:
    """Seconds of hours:minutes:seconds."""
    parts = text.split(':')
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise InputError(f'--walltime={text}: expected hours:minutes:seconds')
    hours, minutes, seconds = map(int, parts)
    return 3600 * hours + 60 * minutes + seconds
