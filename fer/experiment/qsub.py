# SPDX-License-Identifier: Apache-2.0
"""Calls of qsub, in the dialects of three schedulers: OpenPBS, Torque and Slurm."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.experiment.submissions import Submission
from fer.installation import CHECKOUT

_ID = re.compile(r'\d+(\[\])?(\.\S+)?')  # 123, 123.server, 123[].server


class Dialect(NamedTuple):
    """The options in which the qsub commands of the schedulers differ."""

    array: str  # the flag that asks for an array
    after: str  # dependency on single jobs, {kind}:{ids}
    after_array: str  # dependency on arrays
    output: str  # the -o of a job, from {folder} and {name}
    shell: str  # the -S of a job. Without it PBS ignores the script's first line and uses the user's own shell


DIALECTS = {
    'openpbs': Dialect('-J', '{kind}:{ids}', '{kind}:{ids}', '{folder}/', '/bin/bash'),
    'torque': Dialect('-t', '{kind}:{ids}', '{kind}array:{ids}', '{folder}/', '/bin/bash'),
    'slurm': Dialect('-t', '{kind}:{ids}', '{kind}:{ids}', '{folder}/{name}.%A.%a', ''),
}


class JobRequest(NamedTuple):
    """The requests of a job to the scheduler."""

    queue: str  # '' is the default queue
    resources: str
    walltime: str
    throttle: int  # jobs of an array that may run at the same time, 0 for any number


def find_scheduler() -> str:
    """Returns the key in DIALECTS of the qsub on the PATH."""
    if shutil.which('qsub') is None:
        raise InputError('qsub: not on the PATH; expected a PBS cluster, or Slurm with its qsub')
    if shutil.which('scontrol'):
        return 'slurm'
    about = subprocess.run(['qsub', '--version'], capture_output=True, text=True)
    return 'openpbs' if 'pbs_version' in about.stdout + about.stderr else 'torque'


def make_command(
    dialect: Dialect,
    request: JobRequest,
    *,
    name: str,
    tasks: int,
    folder: Path,
    variables: dict[str, Path],
    waits: list[str],
) -> list[str]:
    """Returns the qsub command of a job array.

    Args:
      dialect: of the scheduler.
      request: what each job asks for.
      name: of the array.
      tasks: number of jobs.
      folder: receives the output of the jobs.
      variables: environment variables of the jobs.
      waits: dependencies, as `dependencies` returns them.
    """
    resources = ','.join(filter(None, (request.resources, f'walltime={request.walltime}')))
    command = ['qsub', '-N', f'fer-{name}', '-j', 'oe', '-r', 'y', '-l', resources]
    command += ['-o', dialect.output.format(folder=folder, name=name)]
    if request.queue:
        command += ['-q', request.queue]
    if dialect.shell:
        command += ['-S', dialect.shell]
    if tasks > 1:
        command += [dialect.array, f'1-{tasks}{f"%{request.throttle}" if request.throttle else ""}']
    else:  # OpenPBS refuses an array of one job
        variables = {**variables, 'FER_INDEX': Path('1')}
    command += ['-v', ','.join(f'{name}={value}' for name, value in variables.items())]
    if waits:
        command += ['-W', f'depend={",".join(waits)}']
    return [*command, f'{CHECKOUT}/gpu_jobs/job.sh']


def dependencies(dialect: Dialect, kind: str, submissions: list[Submission]) -> list[str]:
    """Returns the dependencies on the last job of each submission.

    Args:
      dialect: of the scheduler.
      kind: `afterok` or `afterany`.
      submissions: to wait for.
    """
    found = []
    for form, is_array in ((dialect.after, False), (dialect.after_array, True)):
        ids = [submission.jobs[-1] for submission in submissions if submission.is_array == is_array]
        if ids:
            found.append(form.format(kind=kind, ids=':'.join(ids)))
    return found


def run_qsub(command: list[str]) -> str:
    """Runs qsub and returns the id of the job. Raises InputError if qsub refuses."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    # A site's qsub may print more lines, but the id has a line of its own. Slurm's qsub prints errors in place of the
    # id, and its exit code is unreliable.
    ids = [line.strip() for line in done.stdout.splitlines() if _ID.fullmatch(line.strip())]
    if done.returncode or len(ids) != 1:
        output = ' '.join((done.stderr + done.stdout).split())
        raise InputError(f'{" ".join(command)}: exit code {done.returncode}: {output}')
    return ids[0]
