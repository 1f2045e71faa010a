# SPDX-License-Identifier: Apache-2.0
"""The lock of a run folder: one writer, even after crashes, with the system's locks and without."""

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import ROOT, run, tiny_config, tiny_flags

import fer.runs.lock
from fer.errors import InputError
from fer.runs.heartbeat import SILENT_SECONDS
from fer.runs.lock import locked
from fer.runs.names import LOCK_FILE

# A process on a file system without locks, which gives signs of life every 0.2 s.
WITHOUT_FLOCK = """
import errno, fcntl, fer.runs.heartbeat, fer.runs.lock
def flock(*_):
    raise OSError(errno.ENOLCK, 'No locks available')
fcntl.flock, fer.runs.heartbeat.TOUCH_SECONDS, fer.runs.lock._SETTLE_SECONDS = flock, 0.2, 0.1
"""
HOLD = """
import sys, time
from pathlib import Path
from fer.runs.lock import locked
with locked(Path(sys.argv[1])):
    print('held', flush=True)
    time.sleep(600)
"""
# Takes the lock again and again. Creating the file fails if another process holds the lock, too.
CONTEND = """
import os, sys, time
from pathlib import Path
from fer.errors import InputError
from fer.runs.lock import locked
folder, taken = Path(sys.argv[1]), 0
while taken < 100:
    try:
        with locked(folder):
            os.close(os.open(folder / 'alone', os.O_CREAT | os.O_EXCL))
            os.unlink(folder / 'alone')
            taken += 1
    except InputError:
        pass
"""


@contextlib.contextmanager
def python(code, *arguments):
    """Runs code in a process, which is killed at the end."""
    with subprocess.Popen([sys.executable, '-c', code, *map(str, arguments)], cwd=ROOT, text=True, **PIPES) as process:
        try:
            yield process
        finally:
            process.kill()


PIPES = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}


@contextlib.contextmanager
def held(folder, before=''):
    with python(before + HOLD, folder) as process:
        assert process.stdout.readline() == 'held\n', process.stderr.read()
        yield process


@pytest.fixture
def no_flock(monkeypatch):
    """Makes the file system one without locks."""

    def flock(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', flock)
    monkeypatch.setattr(fer.runs.lock, '_SETTLE_SECONDS', 0.1)


def write_lock(folder, silent, host='elsewhere', pid=7):
    """Writes the lock of a job whose last sign of life was `silent` seconds ago."""
    folder.mkdir()
    about = {'host': host, 'pid': pid, 'job': '123.server', 'since': '2026-01-01T00:00:00+00:00', 'token': 'x'}
    (folder / LOCK_FILE).write_text(json.dumps(about))
    then = time.time() - silent
    os.utime(folder / LOCK_FILE, (then, then))


def test_the_second_process_is_told_who_holds_it(tmp_path, monkeypatch):
    monkeypatch.setenv('PBS_JOBID', '123.server')
    folder = tmp_path / 'run'
    with held(folder) as process:
        with pytest.raises(InputError) as refused, locked(folder):
            pass
        line = str(refused.value)
        who = f'{folder}: in use by job 123.server, process {process.pid} on {socket.gethostname()}, since 20'
        assert line.startswith(who)
        assert '\n' not in line
        assert [path.name for path in folder.iterdir()] == [LOCK_FILE]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (folder / LOCK_FILE).exists()
        with locked(folder):
            assert json.loads((folder / LOCK_FILE).read_text())['pid'] == os.getpid()
    assert not (folder / LOCK_FILE).exists()


def test_a_folder_that_stays_empty_is_removed(tmp_path):
    with locked(tmp_path / 'runs' / 'stage' / 'empty'):
        pass
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / 'runs' / 'full'):
        (tmp_path / 'runs' / 'full' / 'flags.txt').write_text('')
    assert [path.name for path in (tmp_path / 'runs' / 'full').iterdir()] == ['flags.txt']
    (tmp_path / 'mine').mkdir()
    with pytest.raises(KeyboardInterrupt), locked(tmp_path / 'mine'):
        raise KeyboardInterrupt
    assert list((tmp_path / 'mine').iterdir()) == []
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='a file; expected a folder'), locked(tmp_path / 'file'):
        pass


def test_of_many_processes_one_holds_the_lock(tmp_path):
    """Even while they remove the file that others have just opened."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(python(CONTEND, tmp_path)) for _ in range(3)]
        for process in processes:
            assert process.wait(timeout=60) == 0, process.stderr.read()


@pytest.mark.usefixtures('no_flock')
def test_without_flock_a_silent_lock_is_taken(tmp_path, capsys):
    write_lock(tmp_path / 'fresh', silent=SILENT_SECONDS - 60)
    with (
        pytest.raises(InputError, match=r'in use by job 123.server, process 7 on elsewhere'),
        locked(tmp_path / 'fresh'),
    ):
        pass
    assert (tmp_path / 'fresh' / LOCK_FILE).exists()
    write_lock(tmp_path / 'silent', silent=SILENT_SECONDS + 60)
    with locked(tmp_path / 'silent'):
        assert json.loads((tmp_path / 'silent' / LOCK_FILE).read_text())['pid'] == os.getpid()
    assert 'taken over from job 123.server, process 7 on elsewhere, since 2026-01-01' in (
        out := capsys.readouterr().out
    )
    assert 'silent for 6 minutes' in out
    with subprocess.Popen(['true']) as process:
        process.wait()
    write_lock(tmp_path / 'gone', silent=0, host=socket.gethostname(), pid=process.pid)
    with locked(tmp_path / 'gone'):
        assert 'which has ended' in capsys.readouterr().out
    for folder in ('silent', 'gone'):
        assert list((tmp_path / folder).iterdir()) == []


@pytest.mark.usefixtures('no_flock')
def test_without_flock_a_process_gives_signs(tmp_path):
    folder = tmp_path / 'run'
    with held(folder, WITHOUT_FLOCK) as process:
        os.utime(folder / LOCK_FILE, (0, 0))
        deadline = time.monotonic() + 30
        while (folder / LOCK_FILE).stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(InputError, match=f'process {process.pid} on '), locked(folder):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked(folder):
            pass


@pytest.mark.usefixtures('no_flock')
def test_without_flock_a_silent_process_exits(tmp_path):
    folder = tmp_path / 'run'
    with held(folder, WITHOUT_FLOCK) as process:
        process.send_signal(signal.SIGSTOP)  # as a machine that sleeps, or a file server that does not answer
        then = time.time() - SILENT_SECONDS - 1
        os.utime(folder / LOCK_FILE, (then, then))
        with locked(folder):
            process.send_signal(signal.SIGCONT)
            assert process.wait(timeout=30) == 2
            assert json.loads((folder / LOCK_FILE).read_text())['pid'] == os.getpid()
        (line,) = process.stderr.read().splitlines()
        assert re.search(rf'lost to process {os.getpid()} on .*; this process was silent for too long, and exits', line)


def test_only_training_takes_the_lock(painted_sound, tmp_path):
    from fer.training.evaluate import evaluate
    from fer.training.requests import EvaluationRequest
    from fer.training.train import train

    run_dir = tmp_path / 'run'
    config = tiny_config(painted_sound, 'audio', 'ffn', run_dir=str(run_dir), train_epochs='1')
    with held(run_dir), pytest.raises(InputError, match='in use by process'):
        train(config, resume=True, overwrite=False)
    train(config, resume=True, overwrite=False)  # the killed holder has left only its file
    assert not (run_dir / LOCK_FILE).exists()
    with held(run_dir):
        for settings in ({'resume': True, 'overwrite': False}, {'resume': False, 'overwrite': True}):
            with pytest.raises(InputError, match='in use by process'):
                train(config, **settings)
        evaluate(EvaluationRequest(run_dir=str(run_dir), manifest=config.val_manifest[0]))
    assert (run_dir / 'metrics_val.json').exists()


@pytest.mark.slow
def test_a_second_job_is_refused(painted, tmp_path):
    """The second job prints one line. The next job takes over the lock of the killed one."""
    run_dir = tmp_path / 'run'
    command = ('train.py', *tiny_flags(painted), f'--run_dir={run_dir}', '--resume')
    with subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL) as first:
        while not (run_dir / 'flags.txt').exists():
            assert first.poll() is None
            time.sleep(0.05)
        first.send_signal(signal.SIGSTOP)  # so that it cannot end before the second has started
        second = run(*command, ok=False)
        assert second.code == 2
        (line,) = second.err.splitlines()
        assert f'{run_dir}: in use by process {first.pid} on {socket.gethostname()}, since ' in line
        first.kill()
    run(*command)
    assert not (run_dir / LOCK_FILE).exists()
    assert (run_dir / 'finished.json').exists()
