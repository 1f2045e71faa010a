# SPDX-License-Identifier: Apache-2.0
"""Jobs at the same time, or on other CPUs, give the same results to the bit as one job alone."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, run
from runs import assert_same_run, losses, weights

SMALL = ('--model=vgg_face', '--image_size=32', '--width=0.05', '--seq_len=6', '--rnn_units=5', '--batch_size=4')
EVALUATIONS = 8


def train(painted, run_dir, *more, **options):
    manifests = (f'--{split}_manifest={painted / split}.txt' for split in ('train', 'val'))
    return run('train.py', *SMALL, *manifests, f'--run_dir={run_dir}', *more, **options)


def confined(cpus, *arguments):
    """Runs `python ARGUMENTS` in a process that may use no other CPUs."""
    subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )


@pytest.mark.slow
def test_evaluations_and_a_run_share_a_cache(painted, tmp_path):
    """Eight evaluations and a training run share one corpus and both caches, which are empty at first."""
    train(painted, tmp_path / 'cnn', '--stage=finetune', '--max_steps=2')
    stage = ('--stage=temporal', f'--init_from={tmp_path}/cnn', '--train_epochs=2,1')
    caches = ('--feature_cache={}/features', '--frame_cache={}/frames')

    def command(root, number):
        manifest, output = painted / 'val.txt', root / f'out{number}'
        cache = f'--feature_cache={root}/features'
        return ('evaluate.py', f'--run_dir={tmp_path}/head', f'--manifest={manifest}', f'--output={output}', cache)

    train(painted, tmp_path / 'head', *stage, '--seed=7')
    alone, together = tmp_path / 'alone', tmp_path / 'together'
    for root in (alone, together):
        root.mkdir()
    train(painted, alone / 'run', *stage, *(cache.format(alone) for cache in caches))
    shutil.rmtree(alone / 'features')  # so that the evaluation does not find the features of the run
    run(*command(alone, 0))
    jobs = [
        subprocess.Popen(
            [sys.executable, *map(str, command(together, number))],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for number in range(EVALUATIONS)
    ]
    train(painted, together / 'run', *stage, *(cache.format(together) for cache in caches))
    for job in jobs:
        output, _ = job.communicate()
        assert job.returncode == 0, output.decode()
    expected = (alone / 'out0' / 'results_val.txt').read_bytes()
    assert [(together / f'out{n}' / 'results_val.txt').read_bytes() == expected for n in range(EVALUATIONS)] == [
        True
    ] * EVALUATIONS
    assert_same_run(alone / 'run', together / 'run')


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason='has one CPU')
@pytest.mark.parametrize('model', ['vgg_face', pytest.param('resnet50', marks=pytest.mark.slow)])
def test_runs_with_as_many_threads_are_the_same(painted, tmp_path, model):
    """With --intra_op_threads=2, on all CPUs and on one. --inter_op_threads changes nothing."""
    settings = (f'--model={model}', '--stage=finetune', '--max_steps=3', '--intra_op_threads=2')
    train(painted, tmp_path / 'all', *settings)
    manifests = (f'--{split}_manifest={painted / split}.txt' for split in ('train', 'val'))
    some = ('train.py', *SMALL, *manifests, *settings, '--inter_op_threads=1', f'--run_dir={tmp_path}/one')
    confined({min(os.sched_getaffinity(0))}, *some)
    assert_same_run(tmp_path / 'all', tmp_path / 'one')


@pytest.mark.slow
@pytest.mark.parametrize('model', ['vgg_face', 'resnet50'])
def test_more_threads_change_the_last_digits(painted, tmp_path, model):
    """Equal runs would mean that the flag has no effect."""
    settings = (f'--model={model}', '--stage=finetune', '--max_steps=1', '--width=0.25', '--image_size=64')
    for threads in (1, 4):
        train(painted, tmp_path / f'{threads}', *settings, f'--intra_op_threads={threads}')
    one, four = (weights(tmp_path / f'{threads}') for threads in (1, 4))
    assert sum((one[name] != four[name]).any() for name in one) > 0
    (first,), (second,) = (losses(tmp_path / f'{threads}') for threads in (1, 4))
    assert float(first[1]) == pytest.approx(float(second[1]), rel=1e-4)  # ResNet-50 normalises over few frames here
