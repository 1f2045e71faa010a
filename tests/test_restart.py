# SPDX-License-Identifier: Apache-2.0
"""Preparation with jobs, shards, kills and changes: each ends with the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, run

from fer.files import atomic_write

# All tests run in one of pytest-xdist's processes, so that the corpus is prepared once.
pytestmark = pytest.mark.xdist_group(__name__)

FLAGS = ('--detector=skin', '--image_size=32')


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
    """A folder with a synthetic corpus, and what one job makes of it."""
    folder = tmp_path_factory.mktemp('restart')
    sizes = ('--train_videos=4', '--val_videos=2', '--test_videos=1')
    run('-m', 'fer.prepare.synthetic', f'--output={folder / "raw"}', *sizes)
    prepare(folder, 'once', '--jobs=1')
    return folder


def prepare(folder, name, *flags, code=0):
    done = run('-m', 'fer.prepare', *command(folder, name, *flags)[3:], ok=False)
    assert done.code == code, done.err
    return done


def command(folder, name, *flags):
    locations = (f'--source={folder / "raw"}', f'--output={folder / name}')
    return [sys.executable, '-m', 'fer.prepare', *locations, *FLAGS, *flags]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def assert_equal(folder, name):
    expected, found = contents(folder / 'once'), contents(folder / name)
    assert sorted(found) == sorted(expected)
    assert [path for path in expected if found[path] != expected[path]] == []


def test_two_jobs_give_the_bytes_of_one(corpus):
    prepare(corpus, 'twice', '--jobs=2')
    assert_equal(corpus, 'twice')
    assert len([path for path in contents(corpus / 'once') if path.endswith('.jpg')]) > 100


def test_shards_give_the_bytes_of_one_job(corpus):
    first = prepare(corpus, 'shards', '--shard=2/2', '--jobs=1')
    assert 'train: share 2/2 is done' in first.out
    assert not (corpus / 'shards' / 'train.txt').exists()
    last = prepare(corpus, 'shards', '--shard=1/2', '--jobs=1')
    assert 'train: 4 videos, ' in last.out
    assert_equal(corpus, 'shards')


def test_shard_lists_its_unusable_videos(corpus):
    raw = corpus / 'partial' / 'raw'
    shutil.copytree(corpus / 'raw' / 'Val_AFEW', raw / 'Val_AFEW')
    first, second = sorted((raw / 'Val_AFEW').rglob('*.avi'))
    first.write_bytes(b'')
    done = prepare(corpus / 'partial', 'data', '--shard=1/2', code=1)
    assert f'val: {first}: undecodable an empty file' in done.out
    assert 'all: 1 items, 0 usable; failures: 1 undecodable' in done.out
    assert str(second) not in prepare(corpus / 'partial', 'data', '--shard=1/2', code=1).out
    last = prepare(corpus / 'partial', 'data', '--shard=2/2', code=1)
    assert 'val: 2 videos, 1 with faces' in last.out


def test_killed_preparation_resumes_to_the_same_bytes(corpus):
    out = corpus / 'killed'
    process = subprocess.Popen(command(corpus, 'killed', '--jobs=2'), cwd=ROOT, stdout=subprocess.DEVNULL)
    finished = []
    while len(finished) < 3:
        assert process.poll() is None, 'ended before the kill'
        time.sleep(0.02)
        finished = list(out.glob('records/**/*.json'))
    process.send_signal(signal.SIGKILL)
    process.wait()
    stamps = {path: path.stat().st_mtime_ns for path in out.glob('records/**/*.json')}
    assert len(stamps) < 7
    assert not (out / 'train.txt').exists()
    wait_for_workers(out)
    with atomic_write(corpus / 'any'):  # takes the name that a killed writer leaves
        (temporary,) = corpus.glob('.*.tmp')
    for folder in (out, out / 'records' / 'Train_AFEW', out / 'functionals' / 'Train_AFEW'):
        (folder / temporary.name).write_text('half')
    prepare(corpus, 'killed', '--jobs=2')
    assert_equal(corpus, 'killed')
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())  # not prepared again


def wait_for_workers(out: Path) -> None:
    """Waits until no file changes. Workers end soon after their parent."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        before = contents(out)
        time.sleep(1)
        if contents(out) == before:
            return
    raise AssertionError('workers of a killed command still write')


@pytest.mark.parametrize('damage', ['image', 'clip', 'table', 'record', 'wav'])
def test_only_the_damaged_video_is_prepared_again(corpus, damage):
    out = corpus / f'damaged_{damage}'
    shutil.copytree(corpus / 'once', out)
    flags = (out / 'prepare_flags.txt').read_text()
    pattern = {'image': '*.jpg', 'clip': 'clips/**/*.csv', 'table': 'frames.csv', 'record': '*.json', 'wav': '*.wav'}
    victim = sorted(out.rglob(pattern[damage]))[-1]
    victim.write_bytes(victim.read_bytes()[:-3])
    stamps = {path: path.stat().st_mtime_ns for path in (out / 'records').rglob('*.json')}
    prepare(corpus, out.name)
    assert_equal(corpus, out.name)
    assert (out / 'prepare_flags.txt').read_text() == flags
    assert sum(path.stat().st_mtime_ns != stamp for path, stamp in stamps.items()) == 1


def test_changed_video_is_prepared_again(corpus):
    shutil.copytree(corpus / 'raw', corpus / 'other' / 'raw')
    shutil.copytree(corpus / 'once', corpus / 'other' / 'data')
    first, second, *_ = sorted((corpus / 'other' / 'raw' / 'Train_AFEW').rglob('*.avi'))
    stamp = first.stat().st_mtime
    shutil.copy(second, first)
    os.utime(first, (stamp, stamp))
    prepare(corpus / 'other', 'data')
    found = contents(corpus / 'other' / 'data' / 'faces' / 'Train_AFEW')
    faces = [
        {Path(name).name: data for name, data in found.items() if Path(name).parent.name == video.stem}
        for video in (first, second)
    ]
    assert faces[0] == faces[1]
    assert len(faces[0]) > 2


def prepare_limited(folder, name, kilobytes):
    """Prepares with a limit on the size of files in place of a full disk, and expects one line."""
    limited = ['bash', '-c', f'ulimit -f {kilobytes} && exec "$@"', 'bash', *command(folder, name, '--jobs=2')]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert 'File too large' in line
    assert str(folder / name) in line


@pytest.mark.parametrize('kilobytes', [8, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 64))])
def test_full_disk_stops_with_one_line_and_resumes(corpus, kilobytes):
    name = f'full_{kilobytes}'
    prepare_limited(corpus, name, kilobytes)
    assert not (corpus / name / 'train.txt').exists()
    prepare(corpus, name)
    assert_equal(corpus, name)


@pytest.mark.slow
def test_full_disk_keeps_what_is_prepared(corpus):
    """Only the manifests, of more than a kilobyte, are written again."""
    shutil.copytree(corpus / 'once', corpus / 'filled')
    prepare_limited(corpus, 'filled', 1)
    assert {name: data for name, data in contents(corpus / 'filled').items() if name != 'prepare_flags.txt'} == {
        name: data for name, data in contents(corpus / 'once').items() if name != 'prepare_flags.txt'
    }
