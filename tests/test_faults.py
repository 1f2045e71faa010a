# SPDX-License-Identifier: Apache-2.0
"""A disk that is full at any write gives an error of one line, old files stay, and the work can be resumed later.

Disks are full in two ways here. `FullDisk` makes every write below a folder fail from the k-th on, for each k, in this
process. Python's writes fail at the system call. TensorFlow's fail where Python calls it, and leave the files that
TensorFlow leaves. A small tmpfs and a limit on the size of files are really full, for TensorFlow's own writes too.
"""

import builtins
import errno
import io
import itertools
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, run, tiny_config

from fer import cli
from fer.data.frame_cache import open_frame_cache
from fer.extract.extract import write_arrays
from fer.files import is_temporary
from fer.fusion.find import find
from fer.fusion.fuse import fuse
from fer.fusion.requests import FusionRequest, SearchRequest
from fer.fusion.submission import write_submission
from fer.manifest import read_manifest
from fer.results.results_file import Results, read_results, write_results
from fer.runs.checkpoints import latest_checkpoint
from fer.runs.names import BEST_STATE, FLAGS_FILE, LAST_STATE
from fer.tf1 import tf
from fer.training.evaluate import evaluate
from fer.training.feature_store import FeatureStore
from fer.training.requests import EvaluationRequest
from fer.training.train import train

FULL = os.strerror(errno.ENOSPC)
SHARES = 8  # a test with many points is divided into so many
EPOCHS = 3  # of one step each, so that the third checkpoint removes the first


class FullDisk:
    """Counts the writes below a folder, and makes all writes after the first `room` fail."""

    def __init__(self, folder: Path, room: float):
        self.folder, self.room = str(folder), room
        self.count = 0

    @property
    def is_full(self) -> bool:
        return self.count > self.room

    def holds(self, path) -> bool:
        return isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(self.folder)

    def write(self, path) -> None:
        """Counts a write to a path. Raises OSError if it does not fit."""
        self.count += self.holds(path)
        if self.is_full and self.holds(path):
            raise OSError(errno.ENOSPC, FULL, os.fspath(path))

    def write_in_tensorflow(self, path: str) -> None:
        try:
            self.write(path)
        except OSError:
            raise tf.errors.ResourceExhaustedError(None, None, f'{path}; {FULL}') from None


@contextmanager
def full_disk(folder: Path, room: float):
    """Makes this process write to a `FullDisk` while the block runs."""
    disk = FullDisk(folder, room)
    real_open, real_save, real_fsync = builtins.open, tf.train.Saver.save, os.fsync

    class File(io.FileIO):
        def write(self, data):
            try:
                disk.write(self.name)
            except OSError as error:
                super().write(bytes(data)[: len(data) // 2])
                raise OSError(error.errno, error.strerror) from None  # a failed write names no file
            return super().write(data)

    def open_file(file, mode='r', buffering=-1, encoding=None, errors=None, newline=None, **others):
        if not (set(mode) & set('wax') and disk.holds(file)):
            return real_open(file, mode, buffering, encoding, errors, newline, **others)
        if 'a' not in mode or not os.path.exists(file):
            disk.write(file)
        buffer = io.BufferedWriter(File(os.fspath(file), mode.replace('b', '')))
        return buffer if 'b' in mode else io.TextIOWrapper(buffer, encoding, errors, newline)

    def fsync(descriptor):
        path = os.readlink(f'/proc/self/fd/{descriptor}')
        try:
            if not os.path.isdir(path):
                disk.write(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror) from None
        return real_fsync(descriptor)

    def replace(source, target, real=os.replace):
        if not os.path.exists(target):  # an existing name needs no more room
            disk.write(target)
        return real(source, target)

    def mkdir(path, *mode, real=os.mkdir, **others):
        if not os.path.exists(path):
            disk.write(path)
        return real(path, *mode, **others)

    def save(saver, session, path, *others, **settings):
        data = f'{path}.data-00000-of-00001'
        try:
            disk.write_in_tensorflow(data)
        except tf.errors.OpError:
            Path(f'{data}.tempstate123').write_bytes(b'half')
            raise
        real_save(saver, session, path, *others, **settings)
        try:
            disk.write_in_tensorflow(f'{path}.index')
        except tf.errors.OpError:
            Path(f'{path}.index').unlink()
            raise

    class Records:
        def __init__(self, path, real=tf.io.TFRecordWriter):
            self.path = path
            disk.write_in_tensorflow(path)
            self.real = real(path)

        def write(self, record):
            disk.write_in_tensorflow(self.path)
            self.real.write(record)

        def flush(self):
            disk.write_in_tensorflow(self.path)
            self.real.flush()

        def close(self):
            disk.write_in_tensorflow(self.path)
            self.real.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, 'open', open_file)
        patch.setattr(io, 'open', open_file)
        patch.setattr(os, 'fsync', fsync)
        patch.setattr(os, 'replace', replace)
        patch.setattr(os, 'mkdir', mkdir)
        patch.setattr(tf.train.Saver, 'save', save)
        patch.setattr(tf.io, 'TFRecordWriter', Records)
        yield disk


def call(main, capsys) -> tuple[int, list[str]]:
    """Calls a command's main as `fer.cli.run` does. Returns its exit code and the lines of its standard error."""
    capsys.readouterr()
    try:
        code = cli._call(main) or 0
    except SystemExit as end:
        code = int(end.code)
    return code, capsys.readouterr().err.splitlines()


def assert_refused(outcome: tuple[int, list[str]], folder: Path, words: str = FULL) -> str:
    """Checks for exit code 2, one line with a file below the folder, and no unfinished files. Returns the line."""
    code, lines = outcome
    assert code == 2, lines
    (line,) = lines
    assert words in line
    assert str(folder) in line
    assert [path for path in folder.rglob('*') if is_temporary(path) or 'tempstate' in path.name] == []
    return line


# Training.


def make_config(data: Path, run_dir: Path):
    return tiny_config(
        data, 'audio', 'ffn', batch_size=8, train_epochs=str(EPOCHS), early_stopping=9, run_dir=str(run_dir)
    )


def final_state(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of a finished run's files, and the training log without speeds, which differ."""
    names = [path.name for path in folder.iterdir() if '.ckpt-' in path.name]
    found = {name: (folder / name).read_bytes() for name in (*names, 'val_log.csv', 'finished.json', FLAGS_FILE)}
    found[FLAGS_FILE] = found[FLAGS_FILE].replace(str(folder).encode(), b'RUN')
    rows = (folder / 'train_log.csv').read_bytes().splitlines()
    return found | {'train_log.csv': b'\n'.join(row.rpartition(b',')[0] for row in rows)}


@pytest.fixture(scope='module')
def whole(painted_sound, tmp_path_factory) -> tuple[dict[str, bytes], int]:
    """Returns the final state of an undisturbed run, and the number of its writes."""
    folder = tmp_path_factory.mktemp('whole') / 'run'
    with full_disk(folder, np.inf) as disk:
        train(make_config(painted_sound, folder), resume=False, overwrite=False)
    assert {path.name for path in folder.glob('*.index')} == {
        *('model.ckpt-2.index', 'model.ckpt-3.index'),
        *(path.name for path in folder.glob('best.ckpt-*.index')),
    }
    return final_state(folder), disk.count


def assert_checkpoints_are_whole(folder: Path) -> None:
    """Checks that the checkpoints in the state files can be read, and that there are no others."""
    named = set()
    for state in (LAST_STATE, BEST_STATE):
        if (folder / state).exists():
            checkpoint = latest_checkpoint(folder, state)
            reader = tf.train.load_checkpoint(checkpoint)
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
            paths = tf.train.get_checkpoint_state(folder, state).all_model_checkpoint_paths
            named |= {Path(path).name for path in paths}
    assert {path.name.partition('.data-')[0].removesuffix('.index') for path in folder.glob('*.ckpt-*')} <= named


def assert_run_survives_full_disk(data, folder, room, expected, capsys) -> None:
    """Trains on a disk with room for so many writes, and resumes the run once there is more room."""
    config = make_config(data, folder)
    with full_disk(folder, room) as disk:
        outcome = call(lambda: train(config, resume=False, overwrite=False), capsys)
    assert disk.is_full
    line = assert_refused(outcome, folder)
    assert_checkpoints_are_whole(folder)
    checkpoint = latest_checkpoint(folder)
    if checkpoint:
        assert f'--resume resumes from step {Path(checkpoint).name.rpartition("-")[2]}' in line
    else:
        assert (
            '--resume starts the run again' in line or 'run it again' in line
        )  # the second if there is no room for the lock
    train(config, resume=True, overwrite=False)
    assert final_state(folder) == expected


def test_run_survives_a_full_disk(painted_sound, tmp_path, whole, capsys):
    """The disk is full before the run starts, while it trains, or as it ends."""
    expected, writes = whole
    for room in (0, writes // 2, writes - 3):
        assert_run_survives_full_disk(painted_sound, tmp_path / str(room), room, expected, capsys)


@pytest.mark.slow
@pytest.mark.parametrize('share', range(SHARES))
def test_run_survives_full_disk_at_every_write(painted_sound, tmp_path, whole, capsys, share):
    expected, writes = whole
    rooms = range(share, writes, SHARES)
    for room in rooms:
        assert_run_survives_full_disk(painted_sound, tmp_path / str(room), room, expected, capsys)
    with capsys.disabled():
        print(f'\nshare {share + 1} of {SHARES}: {len(rooms)} of {len(rooms)} points resumed, {writes} in all')


# Real disks.


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a tmpfs of so many bytes, or changes its size. Only root may."""
    folder = tmp_path / 'disk'
    folder.mkdir()

    def mount(size: int, *options: str) -> Path:
        command = ['mount', '-t', 'tmpfs', '-o', ','.join([f'size={size}', *options]), 'tmpfs', str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip('only root may mount a tmpfs')
        return folder

    yield mount
    while subprocess.run(['umount', str(folder)], capture_output=True).returncode == 0:
        pass


def train_flags(data: Path, run_dir: Path) -> list[str]:
    manifests = [f'--{split}_manifest={data / split}_functionals.txt' for split in ('train', 'val')]
    settings = ('--stage=audio', '--model=ffn', '--hidden_units=6', '--learning_rate=1e-2', '--batch_size=8')
    ends = (f'--train_epochs={EPOCHS}', '--early_stopping=9', f'--run_dir={run_dir}')
    return ['train.py', *manifests, *settings, *ends]


@pytest.mark.slow
def test_run_survives_a_real_full_disk(painted_sound, small_disk, whole, capsys):
    """Tries sizes that stop the run anywhere, most often inside a checkpoint."""
    expected, _ = whole
    needed = 1_950_000  # the run's largest size, when a new checkpoint is written and the oldest not yet removed
    for size in range(20_000, needed, 240_000):
        folder = small_disk(size) / 'run'
        config = make_config(painted_sound, folder)
        outcome = call(lambda config=config: train(config, resume=True, overwrite=False), capsys)
        if outcome[0]:
            assert_refused(outcome, folder)
            assert_checkpoints_are_whole(folder)
            small_disk(2 * needed, 'remount')
            train(config, resume=True, overwrite=False)
        assert final_state(folder) == expected
        subprocess.run(['umount', str(folder.parent)], check=True)


def run_limited(arguments: list[str], limit: int) -> tuple[int, list[str]]:
    """Runs a command whose files may have so many bytes each. The signal that would end it is ignored."""

    def restrict() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        preexec_fn=restrict,
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize('limit', [200, 1000, 4000, 400_000, 471_000])
def test_train_ends_with_one_line_and_resumes(painted_sound, tmp_path, whole, limit):
    expected, _ = whole
    command = train_flags(painted_sound, tmp_path / 'run')
    line = assert_refused(run_limited(command, limit), tmp_path / 'run', 'File too large')
    assert line.startswith('train.py: ')
    assert_checkpoints_are_whole(tmp_path / 'run')
    run(*command, '--resume')
    assert {name: data for name, data in final_state(tmp_path / 'run').items() if name != FLAGS_FILE} == {
        name: data for name, data in expected.items() if name != FLAGS_FILE
    }


# What other commands write.


def assert_nothing_changes_on_a_full_disk(main, folder, capsys, rooms=None) -> int:
    """Checks that `main` fails and leaves the folder as it was, for every room that is too small.

    Returns:
      The number of writes of `main`.
    """
    before = contents(folder)
    for room in rooms or itertools.count():
        with full_disk(folder, room) as disk:
            outcome = call(main, capsys)
        if not disk.is_full:
            assert outcome == (0, [])
            return room
        assert_refused(outcome, folder)
        assert contents(folder) == before
    return -1


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.slow
def test_evaluation_changes_all_or_nothing(painted_sound, tmp_path, capsys):
    run_dir = tmp_path / 'run'
    train(make_config(painted_sound, run_dir), resume=False, overwrite=False)

    def answer(manifest):
        output = str(tmp_path / 'scores')
        evaluate(EvaluationRequest(run_dir=str(run_dir), manifest=str(manifest), output=output))

    answer(painted_sound / 'val_functionals.txt')
    before = contents(tmp_path / 'scores')
    writes = assert_nothing_changes_on_a_full_disk(
        lambda: answer(painted_sound / 'train_functionals.txt'), tmp_path / 'scores', capsys
    )
    after = contents(tmp_path / 'scores')
    assert after.keys() == before.keys() == {'results_val.txt', 'metrics_val.json', 'confusion_val.png'}
    assert all(after[name] != before[name] for name in before)
    with capsys.disabled():
        print(f'\nevaluation: {writes} of {writes} points left the earlier files')


def test_features_are_kept_or_computed_again(tmp_path, capsys):
    """A full disk leaves no unfinished features that are used later or that block later writes."""
    values = [(f'{number:032x}', np.full(3, number, np.float32)) for number in range(4)]

    def fill(folder):
        store = FeatureStore(folder, {'of': 'a test'}, depth=3, limit=10**6)
        try:
            with store.filling(48):
                store.add([frame for frame in values if store.find(frame[0]) is None])
            rows = np.array([store.find(name) for name, _ in values])
            assert (store.gather(rows) == np.stack([features for _, features in values])).all()
        finally:
            store.close()

    for room in itertools.count():
        folder = tmp_path / str(room)
        with full_disk(folder, room) as disk:
            outcome = call(lambda folder=folder: fill(folder), capsys)
        if not disk.is_full:
            break
        assert_refused(outcome, folder)
        fill(folder)
        assert len(list(folder.rglob('*.npy'))) == 1
    assert outcome == (0, [])
    assert room > 10


def test_extracted_features_are_whole_or_absent(tmp_path, capsys):
    path = tmp_path / 'features.npz'
    arrays = {'path': np.array(['a', 'bc']), 'features': np.arange(10**5, dtype=np.float32)}
    assert_nothing_changes_on_a_full_disk(lambda: write_arrays(str(path), arrays), tmp_path, capsys)
    with np.load(path) as found:
        assert all((found[name] == array).all() for name, array in arrays.items())


@pytest.mark.slow
def test_frames_are_kept_or_decoded_again(painted, tmp_path, capsys):
    folder = tmp_path / 'cache'
    manifests = [read_manifest(painted / 'val.txt')]
    for room in itertools.count():
        with full_disk(folder, room) as disk:
            outcome = call(lambda: open_frame_cache(manifests, 32, str(folder), 1.0) and None, capsys)
        if not disk.is_full:
            break
        assert_refused(outcome, folder)
        assert not list(folder.rglob('*.index'))
        assert not list(folder.rglob('*.u8'))
    assert outcome == (0, [])
    assert room > 5
    assert {path.suffix for path in folder.glob('*/*')} == {'.u8', '.index', '.json'}


@pytest.mark.slow
def test_synthetic_corpus_has_no_unfinished_clips(small_disk):
    raw = small_disk(200_000) / 'raw'
    sizes = ('--train_videos=2', '--val_videos=0', '--test_videos=1')
    command = ['-m', 'fer.prepare.synthetic', f'--output={raw}', *sizes]
    done = run(*command, ok=False)
    assert '.avi: ' in assert_refused((done.code, done.err.splitlines()), raw)
    finished = contents(raw)
    small_disk(10**8, 'remount')
    run(*command, '--overwrite')
    assert len(list(raw.rglob('*.avi'))) == 3
    assert finished.items() < contents(raw).items()


def test_full_standard_output_is_one_line(tmp_path, members):
    """Jobs write their standard output to files."""
    command = [
        sys.executable,
        'fusion.py',
        f'--results={",".join(members)}',
        '--method=2',
        f'--output={tmp_path / "out"}',
    ]
    with open('/dev/full', 'w') as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr) == (2, f'fusion.py: {FULL}; free some space and run it again\n')
        assert subprocess.run(command, cwd=ROOT, stdout=full, stderr=full).returncode == 2


@pytest.fixture
def members(tmp_path) -> list[str]:
    """Writes the results files of two models for the same 20 videos. Returns their paths."""
    rng = np.random.default_rng(4)
    paths = []
    for name in 'ab':
        logits = rng.normal(size=(20, 7))
        answers = Results(
            [f'video{number}' for number in range(20)],
            *(logits, logits.argmax(axis=1), np.arange(20) % 7, np.ones(20, int), ['-'] * 20),
        )
        paths.append(str(tmp_path / name / 'results_val.txt'))
        (tmp_path / name).mkdir()
        write_results(paths[-1], answers)
    return paths


@pytest.mark.parametrize('searched', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_fusion_changes_all_or_nothing(tmp_path, members, capsys, searched):
    output = tmp_path / 'out'

    def answer(*methods):
        if searched:
            find(SearchRequest(weights_from=members, output=str(output), search='exhaustive', methods=methods, folds=2))
        else:
            fuse(FusionRequest(weights_from=members, output=str(output), method=methods[0], folds=0))

    answer('2')
    before = contents(output)
    expected = {'results_val.txt', 'metrics_val.json', 'confusion_val.png', 'weights_val.csv'}
    assert before.keys() == expected | ({'search_val.json', 'diversity_val.csv'} if searched else set())
    rooms = None if searched else (0, 7, 14, np.inf)
    assert_nothing_changes_on_a_full_disk(lambda: answer('3'), output, capsys, rooms)
    assert contents(output)['metrics_val.json'] != before['metrics_val.json']


def test_submission_is_whole_or_absent(tmp_path, members, capsys):
    """EmotiW could not tell that files are missing."""
    folder = tmp_path / 'emotiw' / 'submission'
    folder.mkdir(parents=True)
    results = read_results(members[0])
    writes = assert_nothing_changes_on_a_full_disk(
        lambda: write_submission(str(folder), results), folder.parent, capsys
    )
    assert writes > 2 * 20
    assert len(list(folder.iterdir())) == 20
