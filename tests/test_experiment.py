# SPDX-License-Identifier: Apache-2.0
"""The graph of runs in configs/: planned, run, and submitted to fake schedulers and a real one."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, Finished

from fer.errors import InputError
from fer.experiment.arrays import make_arrays
from fer.experiment.checks import is_done, other_settings
from fer.experiment.configs import order, read_configs, select
from fer.experiment.plan import BLOCKED, MISSING, OTHER, READY, task_states
from fer.experiment.submissions import Submission, write_submission
from fer.experiment.tasks import Places, make_tasks
from fer.results.metrics import score_results, write_metrics
from fer.results.results_file import Results, write_results
from fer.runs.flagfiles import read_settings
from fer.runs.heartbeat import SILENT_SECONDS
from fer.runs.status import (
    DONE,
    FAILED,
    QUEUED,
    STARTED,
    STOPPED,
    read_status,
    status_path,
    write_status,
)

PLACES = Places('data', 'weights', 'runs')


def write_config(root: Path, path: str, *lines: str) -> None:
    """Writes a flagfile below configs/."""
    target = root / 'configs' / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text('\n'.join(['# a comment', *lines, '']))


def train_lines(run_id: str, *lines: str, stage: str = 'finetune', model: str = 'vgg_face') -> tuple[str, ...]:
    manifests = ('--train_manifest=data/afew/train.txt', '--val_manifest=data/afew/val.txt')
    where = f'--run_dir=runs/{stage}/{model}/{run_id}-seed0'
    return (f'--stage={stage}', f'--model={model}', *manifests, where, *lines)


def fusion_lines(run_id: str, *results: str) -> tuple[str, ...]:
    return (f'--results={",".join(results)}', '--method=2', f'--output=runs/late_fusion/method2/{run_id}-seed0')


def results_of(run_id: str) -> str:
    return f'runs/finetune/vgg_face/{run_id}-seed0/results_val.txt'


@pytest.fixture
def chapter(tmp_path, monkeypatch) -> Path:
    """Makes the working folder: five runs that train, in three generations, and a late fusion."""
    monkeypatch.chdir(tmp_path)
    stills = ('--train_manifest=data/a/train.txt,data/b/train.txt', '--val_manifest=data/a/val.txt,data/b/test.txt')
    pretrained = train_lines('6.1-t1-r1', '--init_from=weights/vgg_face.mat', *stills, stage='pretrain')
    write_config(tmp_path, '6.1-pretrain/t1-vgg_face/r1.flags', *pretrained)
    start = '--init_from=runs/pretrain/vgg_face/6.1-t1-r1-seed0'
    for run in (2, 10):
        write_config(tmp_path, f'6.2-finetune/t1-vgg_face/r{run}.flags', *train_lines(f'6.2-t1-r{run}', start))
    last = train_lines('6.2-t2-r1', '--init_from=runs/finetune/vgg_face/6.2-t1-r2-seed0')
    write_config(tmp_path, '6.2-finetune/t2-vgg_face/r1.flags', *last)
    write_config(tmp_path, '6.5e-early/t1-x/r1.flags', *train_lines('6.5e-t1-r1', start, stage='early_fusion'))
    fused = fusion_lines('6.5l-t1-r1', results_of('6.2-t1-r2'), results_of('6.2-t1-r10'))
    write_config(tmp_path, '6.5l-late/t1-x/r1.flags', *fused)
    return tmp_path


def make(tables: str, seeds: int = 1, without: str = '', places: Places = PLACES, overrides: str = ''):
    left_out = without.split(',') if without else []
    return make_tasks(read_configs('configs'), tables.split(','), list(range(seeds)), places, left_out, overrides)


def finish(task, split: str = 'val') -> None:
    """Writes the files of a finished run."""
    task.folder.mkdir(parents=True, exist_ok=True)
    answers = np.arange(7) % 7
    results = Results([f'v{k}' for k in range(7)], np.eye(7), answers, answers, np.ones(7, int), ['-'] * 7)
    write_results(task.folder / f'results_{split}.txt', results)
    checkpoint = 'model.ckpt-7'
    metrics = score_results(results, 'made up') | {'checkpoint': checkpoint}
    write_metrics(task.folder / f'metrics_{split}.json', metrics)
    (task.folder / 'finished.json').write_text(json.dumps({'checkpoint': checkpoint}))


def test_runs_come_after_those_they_need(chapter):
    configs = read_configs('configs')
    assert list(configs) == ['6.1-t1-r1', '6.2-t1-r2', '6.2-t1-r10', '6.2-t2-r1', '6.5e-t1-r1', '6.5l-t1-r1']
    assert configs['6.5l-t1-r1'].needs == ('6.2-t1-r2', '6.2-t1-r10')
    assert order(configs, ['6.5l-t1-r1']) == ['6.1-t1-r1', '6.2-t1-r2', '6.2-t1-r10', '6.5l-t1-r1']
    assert order(configs, ['6.2-t2-r1']) == ['6.1-t1-r1', '6.2-t1-r2', '6.2-t2-r1']


@pytest.mark.parametrize(
    ('table', 'found'),
    [
        ('6.2', ['6.2-t1-r2', '6.2-t1-r10', '6.2-t2-r1']),
        ('6.2-t1', ['6.2-t1-r2', '6.2-t1-r10']),
        ('6.2-t1-r10', ['6.2-t1-r10']),
        ('6.5', ['6.5e-t1-r1', '6.5l-t1-r1']),
        ('6.5l', ['6.5l-t1-r1']),
    ],
)
def test_tables_are_selected_by_prefix(chapter, table, found):
    configs = read_configs('configs')
    assert select(configs, [table]) == found
    assert select(configs, ['all']) == list(configs)
    for wrong in ('6', '6.2-t', '6.2-t1-r1', 't1', ''):
        with pytest.raises(InputError, match='no run has that name'):
            select(configs, [wrong])


def test_tasks_need_tasks_of_their_own_seed(chapter):
    tasks = make('6.2-t2', seeds=2, places=Places('/d', '/w', '/r'))
    assert list(tasks) == [f'{run}-seed{k}' for k in (0, 1) for run in ('6.1-t1-r1', '6.2-t1-r2', '6.2-t2-r1')]
    task = tasks['6.2-t2-r1-seed1']
    assert task.folder == Path('/r/finetune/vgg_face/6.2-t2-r1-seed1')
    assert task.needs == ('6.2-t1-r2-seed1',)
    command, evaluation = task.commands
    assert command[:3] == ('train.py', '--flagfile=configs/6.2-finetune/t2-vgg_face/r1.flags', '--seed=1')
    assert '--init_from=/r/finetune/vgg_face/6.2-t1-r2-seed1' in command
    assert '--train_manifest=/d/afew/train.txt' in command
    assert evaluation == ('evaluate.py', f'--run_dir={task.folder}', '--manifest=/d/afew/val.txt', '--split=val')
    first = tasks['6.1-t1-r1-seed1']
    assert first.splits == ('a', 'b')
    assert [command[2:] for command in first.commands[1:]] == [
        ('--manifest=/d/a/val.txt', '--split=a'),
        ('--manifest=/d/b/test.txt', '--split=b'),
    ]
    assert first.inputs == ('/d/a/train.txt', '/d/b/train.txt', '/d/a/val.txt', '/d/b/test.txt', '/w/vgg_face.mat')
    (fusion,) = make('6.5l', seeds=2)['6.5l-t1-r1-seed1'].commands
    assert f'--results={results_of("6.2-t1-r2")},{results_of("6.2-t1-r10")}'.replace('seed0', 'seed1') in fusion


def test_left_out_runs_are_replaced_by_their_start(chapter):
    tasks = make('6.2-t2', without='6.1')
    assert list(tasks) == ['6.2-t1-r2-seed0', '6.2-t2-r1-seed0']
    assert '--init_from=weights/vgg_face.mat' in tasks['6.2-t1-r2-seed0'].commands[0]
    assert tasks['6.2-t1-r2-seed0'].needs == ()
    fresh = make('6.2-t2', without='6.1', places=PLACES._replace(weights=''))
    assert '--init_from=' in fresh['6.2-t1-r2-seed0'].commands[0]
    with pytest.raises(InputError, match=r'needs more of 6\.2-t1-r2 than its weights'):
        make('6.5l', without='6.2-t1')
    with pytest.raises(InputError, match='nothing is left'):
        make('6.1', without='6.1')


def test_overrides_come_after_the_flagfile(chapter):
    Path('small.flags').write_text('--width=0.05\n')
    (command, _) = make('6.2-t1-r2', overrides='small.flags')['6.2-t1-r2-seed0'].commands
    assert command.index('--flagfile=small.flags') > command.index('--init_from=runs/pretrain/vgg_face/6.1-t1-r1-seed0')


def bad_configs() -> dict:
    good = train_lines('6.2-t1-r1')
    needs = '--init_from=runs/finetune/vgg_face/{}-seed0'.format
    return {
        'circle': (
            {
                '6.2-a/t1-b/r1': (*good, needs('6.2-t1-r2')),
                '6.2-a/t1-b/r2': train_lines('6.2-t1-r2', needs('6.2-t1-r1')),
            },
            r'in a circle: 6\.2-t1-r1 needs 6\.2-t1-r2 needs 6\.2-t1-r1$',
        ),
        'itself': ({'6.2-a/t1-b/r1': (*good, needs('6.2-t1-r1'))}, 'needs itself'),
        'missing': ({'6.2-a/t1-b/r1': (*good, needs('6.1-t1-r9'))}, r'needs 6\.1-t1-r9-seed0; expected a run below'),
        'folder': ({'6.2-a/t1-b/r2': good}, r'--run_dir=.*; expected a folder named 6\.2-t1-r2-seed0'),
        'no model': ({'6.2-a/t1-b/r1': [line for line in good if 'model' not in line]}, 'no --model; expected one'),
        'no members': ({'6.5l-a/t1-b/r1': ('--method=1',)}, 'no --results; expected one in a flagfile of fusion.py'),
        'no flag': ({'6.2-a/t1-b/r1': (*good, 'seq_len=80')}, 'expected --flag=value'),
        'no file': ({'6.2-a/t1-b/r1': ('--flagfile=configs/none.flags', *good)}, 'none.flags'),
        'twice': ({'6.2-a/t1-b/r1': good, '6.2-c/t1-d/r1': good}, r'name or folder 6\.2-t1-r1 is already used by'),
        'empty': ({}, 'expected a folder of runs'),
    }


@pytest.mark.parametrize('case', bad_configs())
def test_bad_flagfiles_are_named(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    files, message = bad_configs()[case]
    (tmp_path / 'configs').mkdir()
    for path, lines in files.items():
        write_config(tmp_path, f'{path}.flags', *lines)
    with pytest.raises(InputError, match=message) as caught:
        read_configs('configs')
    assert '\n' not in str(caught.value)


def test_flagfiles_are_read_as_absl_does(tmp_path):
    (tmp_path / 'shared').write_text('--seq_len=80\n--attention\n--width=1\n')
    (tmp_path / 'own').write_text(f'--flagfile={tmp_path / "shared"}\n\n// a comment\n--seq_len=40\n')
    assert read_settings(tmp_path / 'own') == {'attention': 'True', 'width': '1', 'seq_len': '40'}


def states_of(tasks) -> dict[str, str]:
    return {name.removesuffix('-seed0'): state.state for name, state in task_states(tasks, 'runs').items()}


def test_a_plan_shows_the_state_of_tasks(chapter, monkeypatch):
    monkeypatch.setenv('PATH', '/usr/bin:/bin')
    monkeypatch.setattr('fer.experiment.plan.jobs_in_queue', lambda: None)
    tasks = make('6.2,6.5l')
    missing = task_states(tasks, 'runs')['6.1-t1-r1-seed0']
    assert missing.state == MISSING
    assert 'data/a/train.txt' in missing.text
    assert 'weights/vgg_face.mat' in missing.text
    assert states_of(tasks)['6.5l-t1-r1'] == BLOCKED
    for path in {path for task in tasks.values() for path in task.inputs}:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    assert set(states_of(tasks).values()) == {READY}
    finish(tasks['6.1-t1-r1-seed0'], 'a')
    assert states_of(tasks)['6.1-t1-r1'] == READY
    finish(tasks['6.1-t1-r1-seed0'], 'b')
    write_status('runs', '6.2-t1-r2-seed0', FAILED, 'train.py: exit code 2;\nsomething')
    write_status('runs', '6.2-t1-r10-seed0', STOPPED, 'x')
    expected = {'6.1-t1-r1': DONE, '6.2-t1-r2': FAILED, '6.2-t1-r10': STOPPED, '6.2-t2-r1': BLOCKED}
    assert states_of(tasks) == {**expected, '6.5l-t1-r1': BLOCKED}
    text = task_states(tasks, 'runs')['6.2-t1-r2-seed0'].text
    assert 'train.py: exit code 2; something' in text

    # Submitted to a scheduler, in two attempts.
    name = '6.2-t1-r2-seed0'
    record = Path('runs/jobs/20260101/6.2-t1.json')
    record.parent.mkdir(parents=True)
    write_status('runs', name, QUEUED, job='')
    write_submission(record, Submission([name], [], True, []))
    assert task_states(tasks, 'runs')[name].text.endswith('being submitted')
    write_submission(record, Submission([name], ['123[].server', '124[].server'], True, ['6.1-t1-r1-seed0']))
    for queue, state in ((None, QUEUED), ({'123', '124'}, QUEUED), ({'124'}, QUEUED), ({'125'}, FAILED)):
        monkeypatch.setattr('fer.experiment.plan.jobs_in_queue', lambda queue=queue: queue)
        assert task_states(tasks, 'runs')[name].state == state
    assert 'disappeared from the queue' in task_states(tasks, 'runs')[name].text
    monkeypatch.setattr('fer.experiment.plan.jobs_in_queue', lambda: {'124'})
    write_status('runs', name, STOPPED, job='123[4].server')
    assert 'as job 124[].server, requeued' in task_states(tasks, 'runs')[name].text
    write_status('runs', name, STARTED, job='123[4].server')  # no longer in the queue
    assert 'disappeared without a message' in task_states(tasks, 'runs')[name].text
    write_status('runs', name, STARTED, job='124[4].server')
    assert states_of(tasks)['6.2-t1-r2'] == STARTED

    # The runs that it needs are done, but its array also waits for a run that failed.
    write_status('runs', name, QUEUED, job='')
    write_status('runs', '6.1-t1-r9-seed3', FAILED, 'x')
    write_submission(record, Submission([name], ['124[].server'], True, ['6.1-t1-r1-seed0', '6.1-t1-r9-seed3']))
    assert task_states(tasks, 'runs')[name] == (
        BLOCKED,
        'its job array also waits for 6.1-t1-r9-seed3, which failed; job 124[].server can never start',
        '124[].server',
    )


def test_a_done_run_has_its_last_checkpoint_evaluated(chapter):
    (task,) = make('6.2-t1-r2', without='6.1', places=PLACES._replace(weights='')).values()
    finish(task)
    assert is_done(task)
    (task.folder / 'finished.json').write_text('{"checkpoint": "model.ckpt-8"}')  # evaluated before it ended
    assert not is_done(task)
    (task.folder / 'finished.json').unlink()
    assert not is_done(task)
    for damage in ('', '[]', '{"checkpoint":', '[' * 100000):
        (task.folder / 'finished.json').write_text(damage)
        assert not is_done(task)


def test_a_run_with_other_settings_is_refused(chapter):
    (chapter / 'small.flags').write_text('--width=0.05\n')
    (task,) = make('6.2-t1-r2', without='6.1', places=PLACES._replace(weights='')).values()
    (small,) = make('6.2-t1-r2', without='6.1', places=PLACES._replace(weights=''), overrides='small.flags').values()
    finish(task)
    (task.folder / 'flags.txt').write_text('--model=vgg_face\n--seed=0\n--width=1.0\n--init_from=/elsewhere\n')
    assert other_settings(task) == []
    assert is_done(task)
    # A run that was cut short is still the same run, and is resumed.
    (task.folder / 'flags.txt').write_text('--model=vgg_face\n--seed=0\n--width=1.0\n--max_steps=7\n')
    assert other_settings(task) == []
    assert not is_done(task)
    assert other_settings(small) == ['--width=1.0 (0.05)']
    assert states_of({small.name: small})['6.2-t1-r2'] == OTHER


def test_tasks_without_signs_of_life_have_failed(chapter, monkeypatch):
    monkeypatch.setattr('fer.experiment.plan.jobs_in_queue', lambda: None)  # this machine may have a qstat
    (task,) = (task for task in make('6.5e', without='6.1', places=PLACES._replace(weights='')).values())
    for path in task.inputs:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    name = task.name
    write_status('runs', name, STARTED)  # by this process, which is alive
    assert task_states({name: task}, 'runs')[name].state == STARTED
    ended = subprocess.Popen(['true'])
    ended.wait()
    write_status('runs', name, STARTED, job=f'pid {ended.pid}')
    assert 'disappeared without a message' in task_states({name: task}, 'runs')[name].text
    write_status('runs', name, STARTED, job='77.server')  # a job counts as alive by its signs of life
    assert task_states({name: task}, 'runs')[name].state == STARTED
    silent = time.time() - SILENT_SECONDS - 1
    os.utime(status_path('runs', name), (silent, silent))
    assert task_states({name: task}, 'runs')[name].state == FAILED


def test_tasks_of_an_array_are_independent(chapter):
    tasks = make('all', seeds=2)
    arrays = make_arrays(tasks, {})
    assert [(array.name, len(array.tasks), array.needs) for array in arrays] == [
        ('6.1-t1', 2, []),
        ('6.2-t1.1', 4, ['6.1-t1']),
        ('6.5e-t1.1', 2, ['6.1-t1']),
        ('6.2-t2.2', 2, ['6.2-t1.1']),
        ('6.5l-t1.2', 2, ['6.2-t1.1']),
    ]
    later = {name: task for name, task in tasks.items() if '6.1-' not in name}
    submitted = Submission(['6.1-t1-r1-seed0', '6.1-t1-r1-seed1'], ['9[].s'], True, [])
    first = make_arrays(later, dict.fromkeys(submitted.tasks, submitted))[0]
    assert (first.name, first.earlier) == ('6.2-t1', [submitted])


# From here on the commands themselves run. Most run late fusion, which takes a second.


@pytest.fixture
def fusions(tmp_path) -> Path:
    """Makes a working folder with gpu_jobs/ and four fusions: r3 reads the results of r1, r4 a missing file."""
    for name in ('gpu_jobs', 'fer'):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / 'data').mkdir()
    rng = np.random.default_rng(3)
    for name in ('a', 'b'):
        logits = rng.normal(size=(21, 7))
        ids = [f'v{k:02d}' for k in range(21)]
        results = Results(ids, logits, logits.argmax(axis=1), np.arange(21) % 7, np.ones(21, int), ['-'] * 21)
        (tmp_path / 'data' / name).mkdir()
        write_results(tmp_path / 'data' / name / 'results_val.txt', results)
    both = ('data/a/results_val.txt', 'data/b/results_val.txt')
    made = 'runs/late_fusion/method2/7-t1-r1-seed0/results_val.txt'
    members_of = {'t1-x/r1': both, 't1-x/r2': both, 't1-x/r3': (made, *both), 't2-x/r4': ('data/none/results_val.txt',)}
    for path, members in members_of.items():
        run_id = f'7-{path.replace("-x/", "-")}'
        write_config(tmp_path, f'7-x/{path}.flags', *fusion_lines(run_id, *members))
    return tmp_path


def outside_a_job() -> dict[str, str]:
    """Returns this test's environment without the variables of a job that may run it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(('PBS_', 'SLURM_', 'FER_'))}
    return kept | {'PYTHONPATH': str(ROOT)}


def command(root: Path, *arguments: str, environment: dict | None = None, code: int | None = 0) -> Finished:
    """Runs a command in a working folder and checks its exit code unless `code` is None."""
    environment = {**outside_a_job(), **(environment or {})}
    done = subprocess.run(arguments, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    if code is not None:
        assert done.returncode == code, done.stderr[-3000:] + done.stdout[-2000:]
    return Finished(done.returncode, done.stdout, done.stderr)


def experiment(root: Path, *arguments: str, **options) -> Finished:
    return command(root, sys.executable, '-m', 'fer.experiment', *arguments, **options)


def test_a_failure_is_reported_and_others_run(fusions):
    done = experiment(fusions, 'run', '--table=all', '--jobs=2', code=1)
    assert '3 done, 1 failed: 3/4 runs done' in done.out
    assert done.out.count('7-t2-r4-seed0: ') == 1
    message = (
        'fusion.py: exit code 2; runs/status/7-t2-r4-seed0.log: fusion.py: data/none/results_val.txt: No such file'
    )
    assert message in done.out
    plan = experiment(fusions, 'plan', '--table=all').out.splitlines()
    assert [line.split()[:2] for line in plan[:3]] == [['done', f'7-t1-r{k}-seed0'] for k in (1, 2, 3)]
    assert message in plan[3]
    assert plan[-1] == '3 done, 1 failed: 3/4 runs done'

    # Done tasks do not run again, and failed tasks do.
    made = fusions / 'runs' / 'late_fusion' / 'method2' / '7-t1-r1-seed0' / 'results_val.txt'
    before = made.stat().st_mtime_ns
    (fusions / 'data' / 'none').mkdir()
    shutil.copy(fusions / 'data' / 'a' / 'results_val.txt', fusions / 'data' / 'none' / 'results_val.txt')
    assert '4 done: 4/4 runs done' in experiment(fusions, 'run', '--table=all').out
    assert made.stat().st_mtime_ns == before
    assert read_status(fusions / 'runs', '7-t2-r4-seed0').state == DONE


def test_tasks_that_need_a_failed_one_wait(fusions):
    path = fusions / 'data' / 'a' / 'results_val.txt'
    path.write_text('no results\n')
    done = experiment(fusions, 'run', '--table=7-t1', code=1)
    assert '2 failed, 1 blocked: 0/3 runs done' in done.out
    assert not (fusions / 'runs' / 'status' / '7-t1-r3-seed0.txt').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('plan',), '--table: give either --table or --task'),
        (('plan', '--table=7', '--task=7-t1-r1-seed0'), '--table: give either --table or --task'),
        (('walk', '--table=7'), 'walk: expected one of plan, run, submit'),
        ((), 'nothing: expected one of plan, run, submit'),
        (('--table=7', 'plan'), "'plan' is not a flag"),
        (('plan', '--table=7', 'run'), "'run' is not a flag"),
        (('plan', '--table=7', '--seeds=0'), 'seeds'),
        (('run', '--task=7-t1-r1'), '--task=7-t1-r1: expected a run and its seed'),
        (('run', '--task=7-t1-r9-seed0'), '--table=7-t1-r9: no run has that name'),
        (('plan', '--table=7', '--configs=elsewhere'), '--configs=elsewhere: no <section>'),
        (('submit', '--table=7', '--walltime=1h'), '--walltime=1h: expected hours:minutes:seconds'),
        (('submit', '--table=7', '--walltime=00:05:00'), '--margin=300: expected less than --walltime=00:05:00'),
    ],
)
def test_bad_flags_are_one_line(fusions, arguments, message):
    done = experiment(fusions, *arguments, code=2)
    assert message in done.err
    assert done.err.count('\n') == 1
    assert not (fusions / 'runs').exists()


SCHEDULERS = {
    'openpbs': ('PBS_ARRAY_INDEX', {'PBS_JOBID': '8[2].pbs'}),
    'torque': ('PBS_ARRAYID', {'PBS_JOBID': '8[2].torque'}),
    'slurm': ('SLURM_ARRAY_TASK_ID', {'SLURM_JOB_ID': '8'}),
}


def write_site(root: Path, **values: str) -> Path:
    settings = (ROOT / 'gpu_jobs' / 'site.sh').read_text()
    for name, value in {'VENV': sys.prefix, 'GPU': 'no', **values}.items():
        settings, number = re.subn(rf'(?m)^FER_{name}="[^"]*"', f'FER_{name}="{value}"', settings)
        assert number == 1
    (root / 'site.sh').write_text(settings)
    return root / 'site.sh'


@pytest.fixture
def site(fusions) -> Path:
    """Writes site settings whose environment is this test's."""
    return write_site(fusions)


def fake_qsub(root: Path, scheduler: str) -> dict:
    """Returns an environment whose qsub records its arguments and answers like the scheduler's."""
    tools = root / 'tools'
    tools.mkdir()
    answer = {'openpbs': '$n[].pbs', 'torque': '$n[].torque', 'slurm': '$n'}[scheduler]
    version = {'openpbs': 'pbs_version = 22.05.11', 'torque': 'Version: 6.1.2', 'slurm': ''}[scheduler]
    script = [
        '#!/bin/bash',
        f'[ "$1" = --version ] && {{ echo "{version}" >&2; exit; }}',
        f'n=$(($(cat {root}/asked 2> /dev/null | wc -l) + 1))',
        f'(IFS=$\'\\t\'; echo "$*" >> {root}/asked)',
        f'echo "{answer}"',
    ]
    (tools / 'qsub').write_text('\n'.join(script) + '\n')
    (tools / 'qstat').write_text(
        f'#!/bin/bash\nfor n in $(seq $(wc -l < {root}/asked)); do echo "$n name user 0 Q main"; done\n'
    )
    if scheduler == 'slurm':
        (tools / 'scontrol').write_text(f'#!/bin/bash\necho "$*" >> {root}/scontrol\n')
    else:
        (tools / 'qrerun').write_text(f'#!/bin/bash\necho "$*" >> {root}/qrerun\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    return {'PATH': f'{tools}:/usr/bin:/bin', 'FER_SITE': str(root / 'site.sh')}


def read_asked(root: Path) -> list[dict[str, str]]:
    """Returns the flags and the script of each call of qsub."""
    calls = []
    for line in (root / 'asked').read_text().splitlines():
        *pairs, script = line.split('\t')
        calls.append({**dict(zip(pairs[::2], pairs[1::2], strict=True)), 'script': script})
    return calls


@pytest.mark.parametrize('scheduler', SCHEDULERS)
def test_tables_are_submitted_as_dependent_arrays(fusions, site, scheduler):
    environment = tools = fake_qsub(fusions, scheduler)
    has_slurm = shutil.which('scontrol', path='/usr/bin:/bin')  # if scontrol is on the PATH, `auto` means Slurm
    extra = [f'--scheduler={scheduler}'] if has_slurm and scheduler != 'slurm' else []
    script = fusions / 'gpu_jobs' / 'submit.sh'
    done = command(fusions, 'bash', str(script), '--table=7', '--seeds=2', *extra, environment=environment)
    asked = read_asked(fusions)
    array = {'openpbs': '-J', 'torque': '-t', 'slurm': '-t'}[scheduler]
    assert [call['-N'] for call in asked] == ['fer-7-t1', 'fer-7-t2', 'fer-7-t1.1']
    assert [call.get(array) for call in asked] == ['1-4', '1-2', '1-2']
    job = {'openpbs': '1[].pbs', 'torque': '1[].torque', 'slurm': '1'}[scheduler]
    after = 'afterokarray' if scheduler == 'torque' else 'afterok'
    assert [call.get('-W') for call in asked] == [None, None, f'depend={after}:{job}']
    assert all(call['-l'] == 'walltime=24:00:00' and '-q' not in call for call in asked)
    assert {call.get('-S') for call in asked} == ({None} if scheduler == 'slurm' else {'/bin/bash'})
    variables = dict(pair.split('=') for pair in asked[0]['-v'].split(','))
    listed = Path(variables['FER_TASKS']).read_text().split()
    assert listed == ['7-t1-r1-seed0', '7-t1-r2-seed0', '7-t1-r1-seed1', '7-t1-r2-seed1']
    assert f'{job}: 7-t1, 4 tasks' in done.out
    assert f'7-t1.1, 2 tasks, after {job} (7-t1)' in done.out

    # Starts the jobs as a scheduler does: in another folder, with its own variables and not this shell's.
    index, about = SCHEDULERS[scheduler]
    elsewhere = fusions / 'elsewhere'
    elsewhere.mkdir()
    for call in (asked[0], asked[2]):
        given = dict(pair.split('=') for pair in call['-v'].split(','))
        for number in range(1, int(call[array].removeprefix('1-')) + 1):
            environment = {**about, **given, index: str(number), 'PATH': '/usr/bin:/bin', 'PYTHONPATH': ''}
            command(elsewhere, 'bash', call['script'], environment=environment)
    plan = experiment(fusions, 'plan', '--table=7', '--seeds=2', environment={'PATH': '/bin/none'})
    assert plan.out.splitlines()[-1].endswith('6/8 runs done')
    assert read_status(fusions / 'runs', '7-t1-r3-seed1').job == next(iter(about.values()))

    # Queued tasks are not queued again, and done tasks do not run again.
    again = command(fusions, 'bash', str(script), '--table=7-t2', '--seeds=3', *extra, environment=tools)
    assert '2 tasks are queued or running already' in again.out
    assert read_asked(fusions)[-1].get(array) is None
    assert 'FER_INDEX=1' in read_asked(fusions)[-1]['-v']


def test_arrays_above_the_servers_limit_are_split(fusions):
    """The limit is OpenPBS' max_array_size. An array that needs a split array waits for all its parts."""
    environment = fake_qsub(fusions, 'openpbs')
    write_site(fusions, MAX_ARRAY='3', THROTTLE='2')
    script = str(fusions / 'gpu_jobs' / 'submit.sh')
    command(fusions, 'bash', script, '--table=7', '--seeds=2', '--scheduler=openpbs', environment=environment)
    asked = read_asked(fusions)
    assert [(call['-N'], call.get('-J')) for call in asked] == [
        ('fer-7-t1', '1-2%2'),
        ('fer-7-t1.part2', '1-2%2'),
        ('fer-7-t2', '1-2%2'),
        ('fer-7-t1.1', '1-2%2'),
    ]
    assert asked[-1]['-W'] == 'depend=afterok:1[].pbs:2[].pbs'
    listed = [Path(dict(pair.split('=') for pair in call['-v'].split(','))['FER_TASKS']) for call in asked]
    names = [name for path in listed for name in path.read_text().split()]
    assert len(names) == len(set(names)) == 8


def test_each_attempt_waits_for_the_one_before(fusions):
    environment = fake_qsub(fusions, 'torque')
    write_site(fusions, ATTEMPTS='3')
    script = str(fusions / 'gpu_jobs' / 'submit.sh')
    command(fusions, 'bash', script, '--table=7-t1', '--scheduler=torque', environment=environment)
    assert [call.get('-W') for call in read_asked(fusions)] == [
        None,
        'depend=afteranyarray:1[].torque',
        'depend=afteranyarray:2[].torque',
        'depend=afterokarray:3[].torque',
        'depend=afterany:4[].torque',
        'depend=afterany:5[].torque',
    ]


def test_an_error_of_qsub_is_quoted(fusions, site):
    environment = fake_qsub(fusions, 'torque')
    (fusions / 'tools' / 'qsub').write_text('#!/bin/bash\necho "qsub: Unknown queue" >&2\nexit 170\n')
    script = str(fusions / 'gpu_jobs' / 'submit.sh')
    done = command(fusions, 'bash', script, '--table=7-t1', '--scheduler=torque', environment=environment, code=2)
    assert 'exit code 170: qsub: Unknown queue' in done.err
    assert done.err.count('\n') == 1
    plan = experiment(fusions, 'plan', '--table=7-t1', environment={'PATH': '/bin/none'}).out
    assert plan.count('exit code 170: qsub: Unknown queue') == 2  # the third was not submitted


def long_run(root: Path, data: Path) -> Path:
    """Makes a run 8-t1-r1 that does not end by itself, and returns its folder."""
    (root / 'data' / 'afew').symlink_to(data)
    tiny = ('--seq_len=4', '--rnn_units=3', '--rnn_layers=1', '--batch_size=4', '--learning_rate=1e-3')
    lines = train_lines('8-t1-r1', *tiny, '--train_epochs=100000', stage='audio', model='audio_gru')
    write_config(root, '8-x/t1-x/r1.flags', *(line.replace('.txt', '_clips.txt') for line in lines))
    return root / 'runs' / 'audio' / 'audio_gru' / '8-t1-r1-seed0'


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def children_of(pid: int) -> list[str]:
    return [child for path in Path(f'/proc/{pid}/task').glob('*/children') for child in path.read_text().split()]


def job_variables(root: Path, *tasks: str) -> dict:
    """Returns the environment variables of a job, for an array of some tasks."""
    jobs = root / 'runs' / 'jobs' / 'x'
    jobs.mkdir(parents=True)
    (root / 'runs' / 'status').mkdir()
    (jobs / 'experiment.flags').write_text('--runs=runs\n')
    (jobs / 'list').write_text('\n'.join([*tasks, '']))
    names = {'FER_ROOT': root, 'FER_JOBS': jobs, 'FER_TASKS': jobs / 'list', 'FER_STATUS': root / 'runs' / 'status'}
    return {name: str(path) for name, path in names.items()} | {'FER_SITE': str(root / 'site.sh')}


def test_plan_shows_jobs_that_cannot_start_python(fusions):
    variables = job_variables(fusions, '7-t1-r1-seed0') | {'PBS_JOBID': '5[1].pbs', 'PBS_ARRAY_INDEX': '1'}
    script = str(fusions / 'gpu_jobs' / 'job.sh')
    write_site(fusions, VENV='/nowhere')
    command(fusions, 'bash', script, environment=variables, code=1)
    plan = experiment(fusions, 'plan', '--table=7-t1', environment={'PATH': '/bin/none'}).out
    assert 'job 5[1].pbs: gpu_jobs/environment.sh: /nowhere: no complete environment; delete it and source' in plan
    done = command(fusions, 'bash', script, environment=variables | {'PBS_ARRAY_INDEX': '2'}, code=1)
    assert 'no line 2 in' in done.err


def test_a_job_without_index_fails_its_array(fusions):
    write_site(fusions)
    variables = job_variables(fusions, '7-t1-r1-seed0', '7-t1-r2-seed0') | {'PBS_JOBID': '5.pbs'}
    command(fusions, 'bash', str(fusions / 'gpu_jobs' / 'job.sh'), environment=variables, code=1)
    plan = experiment(fusions, 'plan', '--table=7-t1', environment={'PATH': '/bin/none'}).out
    assert plan.count('job 5.pbs: no array index in PBS_ARRAY_INDEX, PBS_ARRAYID or SLURM_ARRAY_TASK_ID') == 2


def test_a_job_without_a_gpu_fails(fusions):
    write_site(fusions, GPU='yes')
    variables = job_variables(fusions, '7-t1-r1-seed0') | {'PBS_JOBID': '5.pbs', 'FER_INDEX': '1'}
    script = str(fusions / 'gpu_jobs' / 'job.sh')
    command(fusions, 'bash', script, environment=variables | {'CUDA_VISIBLE_DEVICES': ''}, code=1)
    assert 'TensorFlow finds no GPU' in read_status(fusions / 'runs', '7-t1-r1-seed0').text


def test_missing_or_incomplete_site_settings_are_named(fusions):
    script = str(fusions / 'gpu_jobs' / 'submit.sh')
    done = command(fusions, 'bash', script, '--table=7', environment={'FER_SITE': '/none/site.sh'}, code=2)
    assert '/none/site.sh' in done.err
    site = {'FER_SITE': str(write_site(fusions, VENV=''))}
    assert 'FER_VENV: empty' in command(fusions, 'bash', script, '--table=7', environment=site, code=2).err
    assert not (fusions / 'runs').exists()


def test_a_container_runs_jobs_but_does_not_submit(fusions):
    site = {'FER_SITE': str(write_site(fusions, CONTAINER='/images/fer.sif', CONTAINER_FLAGS='--nv --bind /data'))}
    tools = fake_qsub(fusions, 'slurm')
    for name, text in {
        'apptainer': f'echo "$*" >> {fusions}/apptainer\nshift 6\nexec {sys.prefix}/bin/python "$@"',
        'python3': f'exec {sys.prefix}/bin/python "$@"',
    }.items():
        (fusions / 'tools' / name).write_text(f'#!/bin/bash\n{text}\n')
        (fusions / 'tools' / name).chmod(0o755)
    command(fusions, 'bash', str(fusions / 'gpu_jobs' / 'submit.sh'), '--table=7-t2', environment=tools | site, code=0)
    assert not (fusions / 'apptainer').exists()
    (call,) = read_asked(fusions)
    given = dict(pair.split('=') for pair in call['-v'].split(','))
    command(fusions, 'bash', call['script'], environment=given | tools | {'SLURM_JOB_ID': '1'}, code=1)
    assert (fusions / 'apptainer').read_text().startswith('exec --nv --bind /data /images/fer.sif python -m fer.exp')
    assert 'data/none/results_val.txt' in read_status(fusions / 'runs', '7-t2-r4-seed0').text


@pytest.mark.parametrize(
    'number', [signal.SIGKILL, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGHUP))]
)
def test_commands_end_with_the_process_that_started_them(fusions, painted_sound, number):
    """Otherwise two processes would write to the folder when the work is started again."""
    folder = long_run(fusions, painted_sound)
    began = ('-m', 'fer.experiment', 'run', '--table=8')
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    with subprocess.Popen([sys.executable, *began], cwd=fusions, env=environment, stderr=subprocess.DEVNULL) as process:
        wait_for(folder / 'checkpoint', process)
        children = children_of(process.pid)
        assert children
        process.send_signal(number)
        assert process.wait(timeout=60) == (-number if number == signal.SIGKILL else 85)
    deadline = time.monotonic() + 60
    while any(Path(f'/proc/{pid}').exists() for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with open(folder / 'train_log.csv', newline='') as file:
        last = list(csv.DictReader(file))[-1]['step']
    assert (folder / f'model.ckpt-{last}.index').exists()  # it saved its last step


@pytest.mark.parametrize(
    'scheduler', ['slurm', *(pytest.param(name, marks=pytest.mark.slow) for name in ('openpbs', 'torque'))]
)
def test_a_job_at_its_walltime_is_requeued(fusions, site, scheduler, painted_sound):
    """The scheduler's signal stops a training run, which ends with 85. The next job finishes it."""
    folder = long_run(fusions, painted_sound)
    index, about = SCHEDULERS[scheduler]
    variables = job_variables(fusions, '8-t1-r1-seed0') | about | {index: '1'} | fake_qsub(fusions, scheduler)
    job = ['bash', str(fusions / 'gpu_jobs' / 'job.sh')]
    with subprocess.Popen(job, cwd='/', env=outside_a_job() | variables) as process:
        wait_for(folder / 'checkpoint', process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 85
    requeued = (fusions / ('scontrol' if scheduler == 'slurm' else 'qrerun')).read_text()
    assert requeued == ('requeue 8\n' if scheduler == 'slurm' else f'{about["PBS_JOBID"]}\n')
    assert read_status(fusions / 'runs', '8-t1-r1-seed0').state == STOPPED
    with open(folder / 'train_log.csv', newline='') as file:
        steps = [int(row['step']) for row in csv.DictReader(file)]
    assert steps == list(range(1, len(steps) + 1))

    # A lower --max_steps, which a resumed run may have, lets the next job finish and evaluate.
    path = fusions / 'configs' / '8-x' / 't1-x' / 'r1.flags'
    path.write_text(path.read_text() + f'--max_steps={steps[-1] + 3}\n')
    command(fusions, *job, environment=variables)
    assert read_status(fusions / 'runs', '8-t1-r1-seed0').state == DONE
    with open(folder / 'train_log.csv', newline='') as file:
        assert [int(row['step']) for row in csv.DictReader(file)] == list(range(1, steps[-1] + 4))
    assert (folder / 'metrics_val.json').exists()


@pytest.mark.slow
def test_a_table_runs_on_a_real_scheduler(fusions, painted_sound):
    """Runs arrays, a dependency, a job that reaches its walltime and resumes, and a failure that blocks other jobs.

    It needs a qsub whose jobs start within minutes, for example Slurm on this machine (docs/testing.md explains how).
    """
    if shutil.which('qsub') is None:
        pytest.skip('no qsub here')
    (fusions / 'data' / 'afew').symlink_to(painted_sound)
    tiny = ('--seq_len=4', '--rnn_units=3', '--rnn_layers=1', '--batch_size=4', '--learning_rate=1e-3')
    lines = train_lines('7-t3-r1', *tiny, '--train_epochs=100000', stage='audio', model='audio_gru')
    trained = fusions / 'configs' / '7-x' / 't3-x' / 'r1.flags'
    write_config(fusions, '7-x/t3-x/r1.flags', *(line.replace('.txt', '_clips.txt') for line in lines))
    audio = 'runs/audio/audio_gru/7-t3-r1-seed0/results_val.txt'
    write_config(fusions, '7-x/t4-x/r1.flags', *fusion_lines('7-t4-r1', audio))
    late = 'data/late/results_val.txt'  # does not exist yet
    write_config(fusions, '7-x/t1-x/r4.flags', *fusion_lines('7-t1-r4', late))
    (fusions / 'configs' / '7-x' / 't2-x' / 'r4.flags').unlink()
    site = {'FER_SITE': str(write_site(fusions, WALLTIME='00:01:00', MARGIN='30'))}
    submit = ('bash', str(fusions / 'gpu_jobs' / 'submit.sh'), '--table=7')
    print(command(fusions, *submit, environment=site).out)

    step, is_repaired, plan = 0, False, ['']
    deadline = time.monotonic() + 1200
    while not plan[-1].endswith('6/6 runs done'):
        assert time.monotonic() < deadline, plan
        time.sleep(3)
        plan = experiment(fusions, 'plan', '--table=7').out.splitlines()
        lines = {line.split()[1]: line for line in plan[:-1]}
        if not step and 'requeued; step ' in lines['7-t3-r1-seed0']:
            print(*plan, sep='\n')
            step = int(lines['7-t3-r1-seed0'].rpartition(' ')[2])
            trained.write_text(trained.read_text() + f'--max_steps={step + 5}\n')
        if not is_repaired and 'can never start' in lines['7-t1-r3-seed0']:
            print(*plan, sep='\n')
            assert lines['7-t1-r3-seed0'].startswith('blocked')
            assert 'its job array also waits for 7-t1-r4-seed0, which failed' in lines['7-t1-r3-seed0']
            assert lines['7-t1-r4-seed0'].startswith('failed')
            assert f'fusion.py: {late}: No such file' in lines['7-t1-r4-seed0']
            is_repaired = True
            (fusions / late).parent.mkdir()
            shutil.copy(fusions / 'data' / 'a' / 'results_val.txt', fusions / late)
            again = command(fusions, *submit, environment=site).out
            print(again)
            assert 'tasks that could never start are submitted again; remove their old jobs: qdel ' in again
    print(*plan, sep='\n')
    assert step
    assert is_repaired
    log = (fusions / 'runs' / 'status' / '7-t3-r1-seed0.log').read_text()
    assert 'stopped by SIGTERM' in log
    assert 'resumed from ' in log
    with open(fusions / Path(audio).parent / 'train_log.csv', newline='') as file:
        assert [int(row['step']) for row in csv.DictReader(file)] == list(range(1, step + 6))
