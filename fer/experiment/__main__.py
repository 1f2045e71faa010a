"""Runs of the dissertation's tables and what they need: python -m fer.experiment plan|run|submit --table=6.3 --seeds=5

  plan      what must run, in order, what is done, what failed and why
  run       runs it on this machine
  submit    hands it to qsub, as job arrays that wait for each other (gpu_jobs/)

In the repository's root, where flagfiles look for data/, weights/ and runs/. Exit codes: 0 done; 1 (run) not all is
done; 2 bad input; 85 stopped by a signal or --time_limit, nothing lost: the same command goes on.
"""

import functools
import time

from absl import flags

from fer import cli
from fer.errors import InputError

flags.DEFINE_list('table', None, 'Sections, tables or runs: 6.3, 6.3-t1, 6.3-t1-r5, 6.5 (6.5e and 6.5l), or all.')
flags.DEFINE_integer('seeds', 1, 'Runs of each: seeds 0, 1, ...', lower_bound=1, upper_bound=1000)
flags.DEFINE_list('task', None, 'Instead of --table: just these, as 6.3-t1-r5-seed0, without what they need.')
flags.DEFINE_list(
    'without', [], 'Tables not to run: what starts from one of their runs starts from what that one starts from.'
)
flags.DEFINE_string('configs', 'configs', 'Folder of the flagfiles.')
flags.DEFINE_string('data', 'data', 'Folder of the prepared datasets: afew, rafdb, affectnet, fer2013.')
flags.DEFINE_string('weights', 'weights', 'Folder of the public weights; empty: networks begin with fresh ones.')
flags.DEFINE_string('runs', 'runs', 'Folder of the runs.')
flags.DEFINE_string('overrides', '', 'A flagfile of train.py whose settings win over those of --configs.')
flags.DEFINE_integer('jobs', 1, 'run: how many side by side.', lower_bound=1, upper_bound=64)
flags.DEFINE_integer(
    'time_limit', 0, 'run: seconds after which what is under way is stopped and kept; 0: never.', lower_bound=0
)
flags.DEFINE_string('queue', '', "submit: qsub's -q.")
flags.DEFINE_string('resources', '', "submit: qsub's -l, the walltime aside.")
flags.DEFINE_string('walltime', '24:00:00', 'submit: of each job, hours:minutes:seconds.')
flags.DEFINE_integer(
    'margin', 300, 'submit: seconds before the end of the walltime when work is stopped and kept.', lower_bound=0
)
flags.DEFINE_integer(
    'max_array', 0, 'submit: most jobs of an array that the server takes; wider ones are split. 0: any.', lower_bound=0
)
flags.DEFINE_integer('throttle', 0, 'submit: jobs of an array that may run at a time. 0: any number.', lower_bound=0)
flags.DEFINE_integer(
    'attempts', 1, 'submit: jobs in a row that go on with a task, where the scheduler does not requeue.', lower_bound=1
)
flags.DEFINE_string('site', 'gpu_jobs/site.sh', "submit: the site's settings, which jobs read as well.")
flags.DEFINE_enum('scheduler', 'auto', ['auto', 'openpbs', 'torque', 'slurm'], 'submit: whose qsub it is.')


def main(verb: str) -> int:
    # Here, not above: --help is answered first.
    from fer.experiment.configs import read_configs
    from fer.experiment.tasks import Places, make_tasks

    began, values = time.monotonic(), flags.FLAGS
    if (values.table is None) == (values.task is None):
        raise InputError('--table: expected it, or --task, and not both')
    places = Places(values.data, values.weights, values.runs)
    tables, seeds = values.table, list(range(values.seeds))
    if values.task is not None:
        tables, seeds = _parse_tasks(values.task)
    tasks = make_tasks(read_configs(values.configs), tables, seeds, places, values.without, values.overrides)
    if values.task is not None:
        if unknown := [name for name in values.task if name not in tasks]:
            raise InputError(f'--task={unknown[0]}: no such task')
        tasks = {name: tasks[name] for name in values.task}
    if verb == 'plan':
        from fer.experiment.plan import print_plan

        print_plan(tasks, values.runs)
        return 0
    if verb == 'run':
        from fer.experiment.run import Machine, run_tasks

        deadline = began + values.time_limit if values.time_limit else None
        return run_tasks(tasks, Machine(values.runs, values.jobs, deadline))
    from fer.experiment.submit import Site, submit

    own_flags = [f'--{name}={values[name].value}' for name in ('configs', 'data', 'weights', 'runs')]
    own_flags.append(f'--without={",".join(values.without)}')
    site = Site(
        values.site,
        values.scheduler,
        values.queue,
        values.resources,
        values.walltime,
        values.margin,
        values.attempts,
        values.max_array,
        values.throttle,
    )
    submit(tasks, values.runs, site, own_flags, values.overrides)
    return 0


def _parse_tasks(names: list[str]) -> tuple[list[str], list[int]]:
    """The run_ids and seeds of names such as 6.3-t1-r5-seed0."""
    pairs = [name.rpartition('-seed') for name in names]
    for name, (run_id, _, seed) in zip(names, pairs, strict=True):
        if not run_id or not seed.isdecimal():
            raise InputError(f'--task={name}: expected a run and its seed, as 6.3-t1-r5-seed0')
    return list(dict.fromkeys(run_id for run_id, _, _ in pairs)), sorted({int(seed) for _, _, seed in pairs})


run = functools.partial(cli.run_verb, main, verbs=('plan', 'run', 'submit'))

if __name__ == '__main__':
    run()
