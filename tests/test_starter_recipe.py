# SPDX-License-Identifier: Apache-2.0
"""The commands of `make weights`: what they need, their order, and what a second call repeats."""

import json
import signal
import subprocess
import sys
import time

import markdown
import pytest
from conftest import ROOT, run

from fer.demo.recipes import RECIPES
from fer.experiment.configs import read_configs

PAGE = ROOT / 'docs' / 'open-data.md'

# Runs fer.demo.weights with steps that write the files of a command instead of running it, and prints the commands.
RECORD = """
import json, sys
from pathlib import Path
from fer.demo import weights

def step(*words):
    print(' '.join(words))
    values = dict(word[2:].split('=', 1) for word in words if '=' in word)
    if 'fer.prepare' in words:
        for recipe in weights.RECIPES.values():
            if Path(values['output']).name == recipe.folder:
                for manifest in recipe.manifests:
                    path = Path(values['output'], manifest)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
    if 'fer.experiment' in words:
        for name in values['table'].split(','):
            for seed in range(int(values['seeds'])):
                folder = Path(values['runs'], 'stage', 'model', f'{name}-seed{seed}')
                folder.mkdir(parents=True, exist_ok=True)
                (folder / 'finished.json').write_text(json.dumps({'checkpoint': 'model.ckpt-7'}))
    if 'evaluate.py' in words:
        path = Path(values['run_dir'], f'metrics_{values["split"]}.json')
        path.write_text(json.dumps({'checkpoint': 'model.ckpt-7'}))

weights.step = step
weights.multiplies_bfloat16 = lambda: True
weights.run()
"""


def test_missing_data_end_in_one_line(tmp_path):
    done = run('-m', 'fer.demo.weights', folder=tmp_path, ok=False)
    assert (done.code, done.out, done.err.count('\n')) == (2, '', 1)
    assert 'data/fer2013/train.txt (and 2 more): no such file; give --fer2013' in done.err
    done = run('-m', 'fer.demo.weights', '--fer2013=none', folder=tmp_path, ok=False)
    assert (done.code, done.err.count('\n')) == (2, 1)
    assert '--fer2013=none: no such folder' in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_second_call_keeps_what_is_done(tmp_path):
    first = run('-c', RECORD, '--fer2013=.', '--ravdess=.', '--seeds=2', folder=tmp_path).out.splitlines()
    faces, voices = ([f'runs/stage/model/{run}-seed{seed}' for seed in (0, 1)] for run in ('face-t1-r1', 'voice-t2-r1'))
    folds = [f'runs/stage/model/voice-t1-r{fold}-seed{seed}' for fold in range(1, 6) for seed in (0, 1)]
    tables = 'face-t1-r1,voice-t2-r1,voice-t1-r1,voice-t1-r2,voice-t1-r3,voice-t1-r4,voice-t1-r5'
    build, output = '-m fer.starter build --name=', '--output=runs/starter'
    assert first == [
        '-m fer.prepare --dataset=fer2013 --detector=none --source=. --output=data/fer2013',
        '-m fer.prepare --dataset=ravdess --audio_features=functionals --sample_rate=16000 --people_folds=5 --source=. '
        '--output=data/ravdess_audio',
        f'-m fer.experiment run --configs=configs/open --table={tables} --seeds=2 --data=data --runs=runs '
        '--overrides=configs/open/bfloat16.flags',
        *[f'evaluate.py --run_dir={face} --manifest=data/fer2013/test.txt --split=test' for face in faces],
        f'{build}face --run={faces[0]} --scored_runs={",".join(faces)} --val_split=val --test_split=test {output}',
        *[
            f'evaluate.py --run_dir={voice} --manifest=data/ravdess_audio/train_functionals.txt --split=train'
            for voice in voices
        ],
        f'{build}voice --run={voices[0]} --scored_runs={",".join(folds)} --val_split= --test_split=val {output}',
    ]
    # Prepared data need no source. Results of an earlier checkpoint are made again.
    (tmp_path / faces[1] / 'metrics_test.json').write_text(json.dumps({'checkpoint': 'model.ckpt-3'}))
    second = run('-c', RECORD, '--seeds=2', folder=tmp_path).out.splitlines()
    assert second == [first[2], first[4], first[5], first[8]]


def test_runs_of_the_starter_set_have_flagfiles():
    configs = read_configs(str(ROOT / 'configs' / 'open'))
    for recipe in RECIPES.values():
        manifests = {f'data/{recipe.folder}/{manifest}' for manifest in recipe.manifests}
        for name in (recipe.built, *recipe.scored, recipe.evaluation.run):
            read = [configs[name].settings.get(flag, '') for flag in ('train_manifest', 'val_manifest')]
            assert {path for paths in read for path in paths.split(',') if path} <= manifests
        commands = [' '.join(words) for block in markdown.read_blocks(PAGE) for words in block.commands]
        settings = ' '.join((f'--dataset={recipe.dataset}', *recipe.prepare_flags))
        assert [line for line in commands if settings in line and f'--output=data/{recipe.folder}' in line]


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
