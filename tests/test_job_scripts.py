# SPDX-License-Identifier: Apache-2.0
"""gpu_jobs/train.pbs and gpu_jobs/evaluate.pbs: without a scheduler, and with a real one."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import ROOT, run
from conftest import tiny_config
from test_experiment import SCHEDULERS, command, fake_qsub, outside_a_job, wait_for, write_site

from fer.runs.flagfiles import read_settings
from fer.settings import format_values, settings_of
from fer.training.requests import EvaluationRequest

SCRIPTS = ('train.pbs', 'evaluate.pbs')


@pytest.fixture
def checkout(tmp_path) -> Path:
    """Makes a folder that looks like the repository's root to a job, and settings of a site without a GPU."""
    root = tmp_path / 'root'
    root.mkdir()
    for name in ('gpu_jobs', 'fer', 'train.py', 'evaluate.py'):
        (root / name).symlink_to(ROOT / name)
    write_site(root)
    (root / 'my.flags').write_text('--seed=1\n')
    return root


def spool(root: Path, script: str) -> str:
    """Copies a script to another folder, as schedulers do, and returns the copy."""
    folder = root.parent / 'spool'
    folder.mkdir(exist_ok=True)
    return shutil.copy(ROOT / 'gpu_jobs' / script, folder / '8.SC')


def write_python(root: Path, *lines: str) -> dict[str, str]:
    """Writes a virtual environment whose Python runs some lines of shell, and returns variables of a job that use it.

    `python -c` is this test's Python.
    """
    python = root / 'env' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text('\n'.join(['#!/bin/bash', f'[ "$1" = -c ] && exec {sys.executable} "$@"', *lines, '']))
    python.chmod(0o755)
    return {'FER_SITE': str(write_site(root, VENV=str(root / 'env'), MARGIN='1')), 'PBS_O_WORKDIR': str(root)}


@pytest.mark.parametrize(
    ('script', 'variables', 'message'),
    [
        ('train.pbs', {}, 'neither FLAGFILE nor FLAGS is set'),
        ('evaluate.pbs', {}, 'neither RUN_DIR, FLAGFILE nor FLAGS is set'),
        ('train.pbs', {'FLAGFILE': 'none.flags'}, 'FLAGFILE=none.flags: no such file; give a path from {root}'),
        ('train.pbs', {'PBS_O_WORKDIR': '/'}, "no gpu_jobs/common.sh in /; run qsub in the repository's root"),
        # qsub -v FLAGS="--stage=audio --train_epochs=5,25": the piece `25` is lost in Slurm.
        ('train.pbs', {'FLAGS': '--stage=audio --train_epochs=5'}, 'FLAGS ends with the list --train_epochs, and'),
        ('train.pbs', {'FLAGFILE': 'my.flags', 'FLAGS': '--augment flip'}, 'FLAGS ends with the list --augment, and'),
        # qsub -v FLAGS="--train_epochs=5,25 --stage=audio"
        ('train.pbs', {'FLAGS': '--train_epochs=5', '25 --stage': 'audio'}, "the comma before '25 --stage=audio'"),
        ('evaluate.pbs', {'FLAGS': '--split=a', '25': ''}, "cut FLAGS at the comma before '25'; put the flags in a"),
    ],
)
def test_bad_submissions_are_one_line(checkout, script, variables, message):
    variables = {'PBS_O_WORKDIR': str(checkout), 'FER_SITE': str(checkout / 'site.sh')} | variables
    done = command(checkout.parent, 'bash', spool(checkout, script), environment=variables, code=2)
    assert done.err.startswith(f'gpu_jobs/{script}: ')
    assert message.format(root=checkout) in done.err
    assert done.err.count('\n') == 1


@pytest.mark.parametrize(
    ('script', 'variables', 'arguments'),
    [
        ('train.pbs', {'FLAGFILE': 'my.flags'}, ['--flagfile=my.flags', '--resume']),
        (
            'train.pbs',
            {'FLAGFILE': 'my.flags', 'FLAGS': '--val_manifest=* --train_epochs=5,25'},
            ['--flagfile=my.flags', '--val_manifest=*', '--train_epochs=5,25', '--resume'],
        ),
        ('train.pbs', {'FLAGS': ' --train_epochs=5  --seed=3 '}, ['--train_epochs=5', '--seed=3', '--resume']),
        (
            'evaluate.pbs',
            {'RUN_DIR': 'runs/a b', 'MANIFEST': 'data/val.txt', 'SPLIT': 'val', 'FLAGS': '--batch_size=2'},
            ['--run_dir=runs/a b', '--manifest=data/val.txt', '--split=val', '--batch_size=2'],
        ),
        ('evaluate.pbs', {'FLAGFILE': 'my.flags'}, ['--flagfile=my.flags']),
    ],
)
def test_flags_of_a_submission_reach_the_command(checkout, script, variables, arguments):
    variables = write_python(checkout, 'printf "%s\\n" "$PWD" "$@"') | variables
    done = command(checkout.parent, 'bash', spool(checkout, script), environment=variables)
    assert done.out.splitlines() == [str(checkout), script.replace('.pbs', '.py'), *arguments]


@pytest.mark.parametrize(
    ('script', 'arguments'),
    [
        ('train.pbs', ['--stage=finetune', '--model=vgg_face', '--train_epochs=5,25', '--resume']),
        ('evaluate.pbs', ['--run_dir=runs/own/0', '--manifest=data/afew/val.txt', '--split=val']),
    ],
)
def test_flags_written_into_a_script_reach_the_command(checkout, script, arguments):
    variables = write_python(checkout, 'printf "%s\\n" "$PWD" "$@"')
    copy = Path(spool(checkout, script))
    copy.write_text(re.sub(r'^# (FLAGS=|RUN_DIR=)', r'\1', copy.read_text(), flags=re.MULTILINE))
    done = command(checkout.parent, 'bash', copy, environment=variables)
    assert done.out.splitlines() == [str(checkout), script.replace('.pbs', '.py'), *arguments]


@pytest.mark.parametrize('scheduler', SCHEDULERS)
def test_jobs_stop_before_their_walltime(checkout, scheduler):
    """FER_MARGIN is a second here, and the walltime two."""
    waits = ('trap "exit 85" TERM', 'for n in {1..600}; do sleep 0.1; done')
    variables = write_python(checkout, *waits) | {'FLAGFILE': 'my.flags'}
    variables |= SCHEDULERS[scheduler][1] | {'PATH': fake_qsub(checkout, scheduler)['PATH']}
    if scheduler == 'slurm':
        variables['SLURM_SUBMIT_DIR'] = variables.pop('PBS_O_WORKDIR')
    lines = r'resources_used.walltime = 00:00:00\n    Resource_List.walltime = 00:00:02\n'
    (checkout / 'tools' / 'qstat').write_text(f'#!/bin/bash\necho "$*" > {checkout}/qstat\nprintf "    {lines}"\n')
    command(checkout.parent, 'bash', spool(checkout, 'train.pbs'), environment=variables, code=85)
    job = next(iter(SCHEDULERS[scheduler][1].values()))
    assert (checkout / 'qstat').read_text() == f'-f {job}\n'
    requeued = (checkout / ('scontrol' if scheduler == 'slurm' else 'qrerun')).read_text()
    assert requeued == ('requeue 8\n' if scheduler == 'slurm' else f'{job}\n')


def test_a_cancelled_job_of_slurm_stays_cancelled(checkout):
    variables = write_python(checkout, 'kill -USR1 $$') | {'FLAGFILE': 'my.flags', 'SLURM_JOB_ID': '8'}
    variables['PATH'] = fake_qsub(checkout, 'slurm')['PATH']
    for state, is_requeued in (('COMPLETING None', False), ('COMPLETING TimeLimit', True)):
        (checkout / 'tools' / 'squeue').write_text(f'#!/bin/bash\necho "{state}"\n')
        (checkout / 'tools' / 'squeue').chmod(0o755)
        command(checkout.parent, 'bash', spool(checkout, 'train.pbs'), environment=variables, code=85)
        assert (checkout / 'scontrol').exists() == is_requeued


def test_a_job_that_cannot_requeue_tells_so(checkout):
    variables = write_python(checkout, 'kill -USR1 $$') | {'FLAGFILE': 'my.flags', 'PATH': '/usr/bin:/bin'}
    done = command(checkout.parent, 'bash', spool(checkout, 'evaluate.pbs'), environment=variables, code=85)
    assert done.err.splitlines()[-1] == 'stopped; repeat the same qsub to continue'


def write_flags(data: Path, path: Path, **changes) -> None:
    """Writes the flagfile of a tiny audio run on painted videos."""
    config = tiny_config(data, 'audio', 'audio_gru', **changes)
    path.write_text(''.join(f'--{name}={text}\n' for name, text in format_values(config).items()))


def read_steps(folder: Path) -> list[int]:
    with open(folder / 'train_log.csv', newline='') as file:
        return [int(row['step']) for row in csv.DictReader(file)]


def test_a_stopped_training_job_resumes_and_is_evaluated(checkout, painted_sound):
    folder = checkout / 'runs' / 'own'
    write_flags(painted_sound, checkout / 'my.flags', train_epochs='100000', run_dir='runs/own')
    variables = {'FER_SITE': str(checkout / 'site.sh'), 'SLURM_SUBMIT_DIR': str(checkout)}
    environment = outside_a_job() | variables | {'FLAGFILE': 'my.flags'}
    with subprocess.Popen(['bash', spool(checkout, 'train.pbs')], cwd=checkout.parent, env=environment) as process:
        wait_for(folder / 'checkpoint', process)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(timeout=120) == 85
    last = read_steps(folder)[-1] + 3
    again = variables | {'FLAGFILE': 'my.flags', 'FLAGS': f'--max_steps={last}'}
    command(checkout.parent, 'bash', spool(checkout, 'train.pbs'), environment=again)
    assert read_steps(folder) == list(range(1, last + 1))
    evaluated = variables | {'RUN_DIR': 'runs/own', 'MANIFEST': str(painted_sound / 'val_clips.txt'), 'SPLIT': 'again'}
    command(checkout.parent, 'bash', spool(checkout, 'evaluate.pbs'), environment=evaluated)
    assert json.loads((folder / 'metrics_again.json').read_text())['total'] == 6


def test_examples_name_a_flagfile_of_each_stage():
    text = (ROOT / 'gpu_jobs' / 'train.pbs').read_text()
    examples = dict(re.findall(r'^#   (\w+) +qsub -v FLAGFILE=(\S+) gpu_jobs/train.pbs$', text, re.MULTILINE))
    assert [*examples] == ['pretrain', 'finetune', 'temporal', 'audio', 'early_fusion']
    assert [read_settings(ROOT / path)['stage'] for path in examples.values()] == [*examples]


def test_resume_with_overwrite_is_refused():
    done = run('train.py', '--flagfile=configs/6.4-audio/t2-audio_gru/r1.flags', '--resume', '--overwrite', ok=False)
    assert done.code == 2
    assert done.err == 'train.py: --overwrite: not together with --resume, which keeps the run; give one of them\n'


def test_evaluation_takes_no_list():
    """The scripts look for lists in the flags of train.py only."""
    assert [name for name, one in settings_of(EvaluationRequest).items() if one.is_tuple] == []


@pytest.mark.slow
def test_single_jobs_run_on_a_real_scheduler(checkout, painted_sound):
    """Runs a training job that reaches its walltime and resumes, its evaluation, and a job whose FLAGS were cut.

    It needs a qsub whose jobs start within minutes, for example Slurm on this machine (docs/testing.md explains how).
    """
    if shutil.which('qsub') is None:
        pytest.skip('no qsub here')
    folder = checkout / 'runs' / 'own'
    write_flags(painted_sound, checkout / 'my.flags', train_epochs='100000', run_dir='runs/own')
    site = write_site(checkout, MARGIN='30')
    for name in SCRIPTS:  # edited for a machine without a GPU
        text, number = re.subn(
            '(?m)^#PBS -l select=.*', '#PBS -l select=1:ncpus=1', (ROOT / 'gpu_jobs' / name).read_text()
        )
        assert number == 1
        (checkout / name).write_text(text)

    def submit(variables: str, script: str, *options: str) -> Path:
        output = checkout / f'{variables.partition("=")[0]}.out'
        given = ('-j', 'oe', '-o', str(output), *options, '-v', f'FER_SITE={site},{variables}')
        print('qsub', *given, script, command(checkout, 'qsub', *given, script).out)
        return output

    def wait_for_text(output: Path, text: str) -> None:
        deadline = time.monotonic() + 600
        while not output.exists() or text not in output.read_text():
            assert time.monotonic() < deadline, output.exists() and output.read_text()
            time.sleep(1)
        print(*output.read_text().splitlines()[-2:], sep='\n')

    trained = submit('FLAGFILE=my.flags', 'train.pbs', '-l', 'walltime=00:01:00')
    cut = submit('FLAGS=--train_epochs=5,25', 'train.pbs')
    wait_for_text(trained, 'stopped by SIGTERM')
    last = read_steps(folder)[-1] + 3
    write_flags(painted_sound, checkout / 'my.flags', train_epochs='100000', run_dir='runs/own', max_steps=last)
    wait_for_text(cut, 'FLAGS ends with the list --train_epochs, and qsub -v cuts lists')
    wait_for_text(trained, f'step {last}')
    wait_for_text(trained, 'run: ')
    assert read_steps(folder) == list(range(1, last + 1))
    submit(f'RUN_DIR=runs/own,MANIFEST={painted_sound}/val_clips.txt,SPLIT=again', 'evaluate.pbs')
    wait_for_text(folder / 'metrics_again.json', '"total": 6')
