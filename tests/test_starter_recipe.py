# SPDX-License-Identifier: Apache-2.0
"""The commands of `make weights`: what they need, their order, and what a second call repeats."""

import json
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, run

# Runs fer.demo.weights with steps that write the files of a command instead of running it, and prints the commands.
RECORD = """
import json, sys
from pathlib import Path
from fer.demo import weights

def step(*words):
    print(' '.join(words))
    values = dict(word[2:].split('=', 1) for word in words if '=' in word)
    if 'fer.prepare' in words:
        for split in ('train', 'val', 'test'):
            path = Path(values['output'], f'{split}.txt')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    if 'fer.experiment' in words:
        for seed in range(int(values['seeds'])):
            folder = Path(values['runs'], 'pretrain', 'resnet18', f'{values["table"]}-seed{seed}')
            folder.mkdir(parents=True, exist_ok=True)
            (folder / 'finished.json').write_text(json.dumps({'checkpoint': 'model.ckpt-7'}))
    if 'evaluate.py' in words:
        Path(values['run_dir'], 'metrics_test.json').write_text(json.dumps({'checkpoint': 'model.ckpt-7'}))

weights.step = step
weights.multiplies_bfloat16 = lambda: True
weights.run()
"""


def test_missing_data_end_in_one_line(tmp_path):
    done = run('-m', 'fer.demo.weights', folder=tmp_path, ok=False)
    assert (done.code, done.out, done.err.count('\n')) == (2, '', 1)
    assert 'data/fer2013/val.txt, data/fer2013/test.txt: no such file; give --fer2013' in done.err
    done = run('-m', 'fer.demo.weights', '--fer2013=none', folder=tmp_path, ok=False)
    assert (done.code, done.err.count('\n')) == (2, 1)
    assert '--fer2013=none: no such folder' in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_second_call_keeps_what_is_done(tmp_path):
    first = run('-c', RECORD, '--fer2013=.', '--seeds=2', folder=tmp_path).out.splitlines()
    runs = [f'runs/pretrain/resnet18/face-t1-r1-seed{seed}' for seed in (0, 1)]
    assert first == [
        '-m fer.prepare --dataset=fer2013 --detector=none --source=. --output=data/fer2013',
        '-m fer.experiment run --configs=configs/open --table=face-t1-r1 --seeds=2 --data=data --runs=runs '
        '--overrides=configs/open/bfloat16.flags',
        *[f'evaluate.py --run_dir={folder} --manifest=data/fer2013/test.txt --split=test' for folder in runs],
        f'-m fer.starter build --name=face --run={runs[0]} --scored_runs={",".join(runs)} --test_split=test '
        '--output=runs/starter',
    ]
    # Prepared data need no source. Results of an earlier checkpoint are made again.
    stale = tmp_path / runs[1] / 'metrics_test.json'
    stale.write_text(json.dumps({'checkpoint': 'model.ckpt-3'}))
    assert run('-c', RECORD, '--seeds=2', folder=tmp_path).out.splitlines() == [first[1], first[3], first[4]]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_a_step_end(tmp_path, number):
    """The step gets the signal, ends by itself, and its exit code 85 becomes that of the command."""
    child = (
        'import signal, sys, time, pathlib; signal.signal(signal.SIGINT, lambda *_: None); '
        'signal.signal(signal.SIGTERM, lambda *_: sys.exit(85)); pathlib.Path("began").touch(); time.sleep(60)'
    )
    code = f'from fer import cli; from fer.demo.steps import step; cli.run(lambda: step("-c", {child!r}))'
    process = subprocess.Popen([sys.executable, '-c', code], cwd=tmp_path, env={'PYTHONPATH': str(ROOT)})
    while not (tmp_path / 'began').exists():
        time.sleep(0.05)
    process.send_signal(number)
    if number == signal.SIGINT:  # it leaves Ctrl-C to the step
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 85
