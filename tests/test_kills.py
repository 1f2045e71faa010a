# SPDX-License-Identifier: Apache-2.0
"""Runs that are killed at any moment resume with the same command, and end equal to an undisturbed run, to the bit."""

import dataclasses
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, paint_split, run, tiny_config
from runs import assert_same_run, best_weights, losses

from fer.files import is_temporary
from fer.runs.checkpoints import latest_checkpoint
from fer.runs.config import write_flagfile
from fer.training.checkpoints import remove_leftovers
from fer.training.log import RunLog
from fer.training.train import train

DATA = 'data-00000-of-00001'
KILLS = 20  # in all
KILLS_OF_A_RUN = 4  # after them, a run may finish
FLAGS = (
    *('--stage=temporal', '--train_epochs=10,20', '--image_size=32', '--width=0.05', '--seq_len=4', '--rnn_units=5'),
    *('--dropout=0.5', '--rnn_dropout=0.3', '--early_stopping=30', '--learning_rate=1e-3', '--seed=3', '--resume'),
)


class Corpus:
    """Painted videos, and the command that trains on them."""

    def __init__(self, folder, model):
        self.folder, self.model = folder, model
        paint_split(folder, 'train', [6, 2, 5, 3, 4, 2, 6, 3, 5, 4, 6, 2], seed=1)
        paint_split(folder, 'val', [3, 6, 2, 4, 5], seed=2)

    def command(self, run_dir):
        manifests = (f'--{split}_manifest={self.folder / split}.txt' for split in ('train', 'val'))
        return [sys.executable, 'train.py', f'--model={self.model}', *FLAGS, *manifests, f'--run_dir={run_dir}']

    def start(self, run_dir, output):
        with open(output, 'a') as file:
            return subprocess.Popen(self.command(run_dir), cwd=ROOT, stdout=file, stderr=file)

    def results(self, run_dir):
        run('evaluate.py', f'--run_dir={run_dir}', f'--manifest={self.folder / "val.txt"}')
        return (run_dir / 'results_val.txt').read_bytes()


def cpu_seconds(process):
    """Returns the CPU seconds of a process, a clock that also slows down on a busy machine."""
    fields = Path(f'/proc/{process.pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def observe(process, run_dir):
    """Waits for a run to end. Returns its CPU seconds when it began to train, and in all."""
    began = length = 0.0
    while process.poll() is None:
        length = cpu_seconds(process)
        if not (run_dir / 'train_log.csv').exists():
            began = length
        time.sleep(0.01)
    assert process.returncode == 0
    return began, length


def kill_after(process, moment):
    """Kills a process after so many CPU seconds. Returns whether it was still running."""
    while process.poll() is None:
        if cpu_seconds(process) >= moment:
            process.kill()
            break
        time.sleep(0.001)
    assert process.wait() in (0, -signal.SIGKILL)
    return process.returncode != 0


def kept_step(run_dir):
    checkpoint = latest_checkpoint(run_dir)
    return int(checkpoint.rpartition('-')[2]) if checkpoint else 0


def describe(run_dir, last_step):
    """Describes the run folder after a kill: the last step kept and logged, and the unfinished files."""
    if not (run_dir / 'flags.txt').exists():
        return 'before the run began'
    half = [path.name for path in run_dir.iterdir() if re.search(r'\.tmp|tempstate', path.name)]
    logged = losses(run_dir) if (run_dir / 'train_log.csv').exists() else []
    return f'step {kept_step(run_dir)} of {last_step} kept, {len(logged)} logged {" ".join(half)}'


@pytest.mark.slow
@pytest.mark.parametrize('model', ['vgg_face', 'resnet50'])  # one has dropout, one moving averages
def test_run_resumes_when_killed_at_any_moment(tmp_path, model):
    rng = random.Random(model)
    corpus = Corpus(tmp_path / 'data', model)
    whole, output = tmp_path / 'whole', tmp_path / 'output.txt'
    startup, length = observe(corpus.start(whole, output), whole)
    last_step = kept_step(whole)
    expected = corpus.results(whole)
    print(f'\n{model}: {last_step} steps, {startup:.1f} CPU seconds until the first, {length:.1f} in all')
    survived = 0
    for number in itertools.count(1):
        run_dir = tmp_path / f'run_{number}'
        kills = 0
        while kills < min(KILLS_OF_A_RUN, KILLS // 2 - survived) and (step := kept_step(run_dir)) < last_step:
            remaining = startup + (length - startup) * (1 - step / last_step)
            moment = rng.uniform(0, remaining)
            process = corpus.start(run_dir, output)
            if not kill_after(process, moment):
                break
            kills += 1
            met = describe(run_dir, last_step)
            print(f'kill {survived + kills} after {moment:.1f} of {remaining:.1f} s: {met}', flush=True)
        assert corpus.start(run_dir, output).wait() == 0, output.read_text()[-3000:]
        assert_same_run(whole, run_dir)
        best = best_weights(whole)
        assert all((value == best[name]).all() for name, value in best_weights(run_dir).items())
        assert corpus.results(run_dir) == expected
        assert names_of_a_run(run_dir) == names_of_a_run(whole)
        survived += kills
        print(f'{survived} of {survived} kills survived; {len(best)} variables and all results the same to the bit')
        if survived == KILLS // 2:
            break


# The system calls that a run is killed before. The first five leave no checkpoint to resume from. Then follow the calls
# after the first checkpoint, those that write and delete later ones, and those at the end of a run.
MOMENTS = [
    *(('rename', name) for name in ('flags.txt', 'class_counts.json', 'restored.txt')),
    *(('rename', f'model.ckpt-2.{part}') for part in (DATA, 'index')),
    *(('rename', name) for name in ('checkpoint', f'best.ckpt-2.{DATA}', 'best.ckpt-2.index', 'best_checkpoint')),
    *(('rename', f'model.ckpt-4.{part}') for part in (DATA, 'index')),
    *(('unlink', f'model.ckpt-2.{part}') for part in ('index', DATA)),
    *(('rename', name) for name in ('curves.png', 'finished.json')),
]


# This library replaces functions of the C library, which Python and TensorFlow call. It kills the process when it is
# about to rename a file to KILL_AT, or to delete KILL_AT.
KILLER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static void check(const char *call, const char *path) {
    char now[8192];
    snprintf(now, sizeof now, "%s %s", call, path);
    if (getenv("KILL_AT") && strcmp(now, getenv("KILL_AT")) == 0) raise(SIGKILL);
}
int rename(const char *from, const char *to) {
    check("rename", to);
    return ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(from, to);
}
int unlink(const char *path) {
    check("unlink", path);
    return ((int (*)(const char *))dlsym(RTLD_NEXT, "unlink"))(path);
}
"""


@pytest.fixture(scope='module')
def killer(tmp_path_factory):
    if shutil.which('cc') is None:
        pytest.skip('needs a C compiler')
    library = tmp_path_factory.mktemp('killer') / 'killer.so'
    compile_it = ['cc', '-shared', '-fPIC', '-x', 'c', '-', '-o', library, '-ldl']
    subprocess.run(compile_it, input=KILLER, text=True, check=True)
    return library


@pytest.fixture(scope='module')
def whole(painted_sound, tmp_path_factory):
    """Returns the folder and settings of a run that keeps the best of three epochs of two steps."""
    folder = tmp_path_factory.mktemp('whole')
    config = tiny_config(painted_sound, 'audio', 'ffn', run_dir=str(folder), train_epochs='3', keep_best=True)
    train(config, resume=False, overwrite=False)
    return folder, config


@pytest.mark.slow
@pytest.mark.parametrize(('call', 'name'), MOMENTS)
def test_run_resumes_when_killed_between_files(whole, killer, tmp_path, capsys, call, name):
    folder, config = whole
    run_dir = tmp_path / 'run'
    run_dir.mkdir()
    write_flagfile(tmp_path / 'flags.txt', dataclasses.replace(config, run_dir=str(run_dir)))
    command = [sys.executable, 'train.py', f'--flagfile={tmp_path / "flags.txt"}', '--resume']
    environment = {**os.environ, 'LD_PRELOAD': str(killer), 'KILL_AT': f'{call} {run_dir / name}'}
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (run_dir / name).exists() == (call == 'unlink')
    is_kept = (call, name) not in MOMENTS[:5]
    capsys.readouterr()
    train(dataclasses.replace(config, run_dir=str(run_dir)), resume=True, overwrite=False)
    assert ('resumed from' if is_kept else 'no checkpoint to resume from') in capsys.readouterr().out
    assert_same_run(folder, run_dir)
    best = best_weights(folder)
    assert all((value == best[key]).all() for key, value in best_weights(run_dir).items())
    assert names_of_a_run(folder) == names_of_a_run(run_dir)


def test_logs_are_cut_back_to_complete_steps(tmp_path):
    """A row is cut inside its last name, or a step has only one of two datasets."""
    config = tiny_config(tmp_path, 'audio', 'ffn', val_manifest='a/val.txt,b/val.txt')
    rows = ['step,epoch,phase,correct,total,accuracy,f1,dataset', *(f'2,1,1,1,2,0.5,0.3,{name}' for name in 'ab')]
    for cut in ('4,2,1,1,2,0.5,0.3,a\n4,2,1,2,2,1.0,1.0,', '4,2,1,1,2,0.5,0.3,a\n', '4,2', '6,3,1,1,2,0.5,0.3,a\n'):
        (tmp_path / 'val_log.csv').write_text('\n'.join(rows) + '\n' + cut)
        with RunLog(tmp_path, 4, config) as log:
            assert log.has_validated(2)
            assert not log.has_validated(4)
            assert log.best_step() == 2
        assert (tmp_path / 'val_log.csv').read_text().splitlines() == rows


def test_unfinished_checkpoints_are_ignored_and_removed(tmp_path):
    def touch(*names):
        for name in names:
            (tmp_path / name).write_text('')

    def name_in_state(*names):
        lines = [f'all_model_checkpoint_paths: "{name}"' for name in names]
        (tmp_path / 'checkpoint').write_text('\n'.join([f'model_checkpoint_path: "{names[-1]}"', *lines]))

    assert latest_checkpoint(tmp_path) is None
    touch(f'model.ckpt-9.{DATA}', f'model.ckpt-9.{DATA}.tempstate7', 'model.ckpt-9.index.tempstate7')
    assert latest_checkpoint(tmp_path) is None
    touch('model.ckpt-9.index', f'model.ckpt-10.{DATA}', 'model.ckpt-10.index', 'best.ckpt-12.index')
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'model.ckpt-10')  # the newest, by number
    name_in_state('model.ckpt-9')
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'model.ckpt-9')  # the one in the state file
    name_in_state('/elsewhere/model.ckpt-9', '/elsewhere/model.ckpt-11')
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'model.ckpt-9')  # the newest that is there
    touch(f'best.ckpt-12.{DATA}', f'best.ckpt-13.{DATA}')
    touch('model.ckpt-9.index.tempstate8', 'model.ckpt-9.meta', 'model.ckpt-notes.index')
    remove_leftovers(tmp_path)
    left = {f'model.ckpt-9.{DATA}', 'model.ckpt-9.index', f'best.ckpt-12.{DATA}', 'best.ckpt-12.index', 'checkpoint'}
    assert {path.name for path in tmp_path.iterdir()} == left | {'model.ckpt-9.meta', 'model.ckpt-notes.index'}


def names_of_a_run(run_dir):
    return sorted(path.name for path in run_dir.iterdir() if not is_of_a_session(path))


def is_of_a_session(path):
    """Returns whether every session of a run may leave such a file: events, environments, temporary files."""
    return path.name.startswith(('events.', 'environment_')) or is_temporary(path)
