# SPDX-License-Identifier: Apache-2.0
"""Makes runs of the dissertation's tables, with all runs that they need: python -m fer.experiment VERB --table=6.3

The verb is one of
  plan      prints the state of each run, in the order in which they must run, and why runs failed
  run       makes the runs on this machine
  submit    submits the runs with qsub, as job arrays that wait for each other (gpu_jobs/)

Run it in the repository's root, because flagfiles name data/, weights/ and runs/. Exit codes: 0 done, 1 (of run) some
runs are not done, 2 bad input, or no run has its data. 85 stopped by a signal or --time_limit. After 85 the same
command resumes the work.
"""

import functools
import time

from absl import flags

from fer import cli
from fer.errors import InputError

flags.DEFINE_list(
    'table', None, 'Runs to make, by section, table or run: 6.3, 6.3-t1, 6.3-t1-r5, 6.5 (6.5e and 6.5l), or all.'
)
flags.DEFINE_integer('seeds', 1, 'Number of seeds of each run: 0, 1, ...', lower_bound=1, upper_bound=1000)
flags.DEFINE_list('task', None, 'Single tasks instead of --table, without the runs that they need: 6.3-t1-r5-seed0.')
flags.DEFINE_list(
    'without',
    [],
    "Tables to leave out. A run that would start from one of their runs starts from that run's own starting point.",
)
flags.DEFINE_string('configs', 'configs', 'Folder of the flagfiles.')
flags.DEFINE_string('data', 'data', 'Folder of the prepared datasets: afew, rafdb, affectnet, fer2013.')
flags.DEFINE_string('weights', 'weights', 'Folder of the public weights. Empty: networks start from fresh weights.')
flags.DEFINE_string('runs', 'runs', 'Folder of the runs.')
flags.DEFINE_string('overrides', '', 'Flagfile of train.py whose settings override those of --configs.')
flags.DEFINE_integer('jobs', 1, 'run: number of tasks that run at the same time.', lower_bound=1, upper_bound=64)
flags.DEFINE_integer(
    'time_limit', 0, 'run: seconds after which the work is stopped and saved. 0: never.', lower_bound=0
)
flags.DEFINE_string('queue', '', "submit: queue of the jobs, qsub's -q.")
flags.DEFINE_string('resources', '', "submit: resources of a job except its walltime, qsub's -l.")
flags.DEFINE_string('walltime', '24:00:00', 'submit: walltime of each job, hours:minutes:seconds.')
flags.DEFINE_integer(
    'margin', 300, 'submit: seconds before the end of the walltime when work is stopped and saved.', lower_bound=0
)
flags.DEFINE_integer(
    'max_array',
    0,
    'submit: most jobs of an array that the server accepts. Larger arrays are split. 0: any number.',
    lower_bound=0,
)
flags.DEFINE_integer(
    'throttle', 0, 'submit: jobs of an array that may run at the same time. 0: any number.', lower_bound=0
)
flags.DEFINE_integer(
    'attempts',
    1,
    'submit: successive jobs for each task, each of which resumes the one before. For schedulers that do not requeue.',
    lower_bound=1,
)
flags.DEFINE_string('site', 'gpu_jobs/site.sh', "submit: file of the site's settings, which jobs read too.")
flags.DEFINE_enum('scheduler', 'auto', ['auto', 'openpbs', 'torque', 'slurm'], 'submit: scheduler that qsub is for.')


def main(verb: str) -> int:
    began = time.monotonic()
    values = flags.FLAGS
    tasks = _make_tasks()
    # Modules are imported where they are needed, so that --help is fast.
    if verb == 'plan':
        from fer.experiment.plan import print_plan

        print_plan(tasks, values.runs)
        return 0
    if verb == 'run':
        from fer.experiment.plan import require_inputs
        from fer.experiment.run import Machine, run_tasks

        if values.table is not None:  # a single task of a job writes its error into its status instead
            require_inputs(tasks, values.runs)
        deadline = began + values.time_limit if values.time_limit else None
        return run_tasks(tasks, Machine(values.runs, values.jobs, deadline))
    _submit(tasks)
    return 0


def _make_tasks() -> dict:
    """Returns the tasks that --table or --task asks for."""
    from fer.experiment.configs import read_configs
    from fer.experiment.tasks import Places, make_tasks

    values = flags.FLAGS
    if (values.table is None) == (values.task is None):
        raise InputError('--table: give either --table or --task')
    places = Places(values.data, values.weights, values.runs)
    tables, seeds = values.table, list(range(values.seeds))
    if values.task is not None:
        tables, seeds = _parse_tasks(values.task)
    tasks = make_tasks(read_configs(values.configs), tables, seeds, places, values.without, values.overrides)
    if values.task is None:
        return tasks
    if unknown := [name for name in values.task if name not in tasks]:
        raise InputError(f'--task={unknown[0]}: no such task; expected a run and seed that `plan` lists')
    return {name: tasks[name] for name in values.task}


def _submit(tasks: dict) -> None:
    """Submits tasks with the settings of the site."""
    from fer.experiment.qsub import JobRequest
    from fer.experiment.submit import Site, submit

    values = flags.FLAGS
    own_flags = [f'--{name}={values[name].value}' for name in ('configs', 'data', 'weights', 'runs')]
    own_flags.append(f'--without={",".join(values.without)}')
    request = JobRequest(values.queue, values.resources, values.walltime, values.throttle)
    site = Site(values.site, values.scheduler, request, values.margin, values.attempts, values.max_array)
    submit(tasks, values.runs, site, own_flags, values.overrides)


def _parse_tasks(names: list[str]) -> tuple[list[str], list[int]]:
    """Returns the run ids and seeds of names such as 6.3-t1-r5-seed0."""
    pairs = [name.rpartition('-seed') for name in names]
    for name, (run_id, _, seed) in zip(names, pairs, strict=True):
        if not run_id or not seed.isdecimal():
            raise InputError(f'--task={name}: expected a run and its seed, as in 6.3-t1-r5-seed0')
    return list(dict.fromkeys(run_id for run_id, _, _ in pairs)), sorted({int(seed) for _, _, seed in pairs})


run = functools.partial(cli.run_verb, main, verbs=('plan', 'run', 'submit'))

if __name__ == '__main__':
    run()
