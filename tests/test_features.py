# SPDX-License-Identifier: Apache-2.0
"""Cached features: results with and without them, and the cache after jobs meet or are killed."""

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import tiny_config
from test_stage_runs import rows, score, weights

from fer.data.disk_cache import GIGABYTE, digest
from fer.errors import InputError
from fer.extract.extract import extract
from fer.extract.request import ExtractionRequest
from fer.results.results_file import read_results
from fer.training import feature_store
from fer.training.feature_store import FeatureStore
from fer.training.features import dump_code
from fer.training.train import train

# Its runs are shared, so they are made in one of pytest-xdist's processes.
pytestmark = [pytest.mark.xdist_group(__name__), pytest.mark.usefixtures('quick_runs')]

KEY = {'model': 'a network', 'weights': 'some'}


def open_store(folder, key=KEY):
    return FeatureStore(folder, key, depth=3, limit=GIGABYTE)


def frames(numbers, depth=3):
    """Makes frames, (digest, float32 [depth]) each. The values follow from the number."""
    return [(digest(b'%d' % n), np.random.default_rng(n).normal(size=depth).astype(np.float32)) for n in numbers]


def add(store, wanted):
    with store.filling(sum(values.nbytes for _, values in wanted)):
        store.add(wanted)


def find_frames(store, wanted):
    """Returns the names of the wanted frames that a store has. Fails if their values are wrong."""
    found = [(name, values, store.find(name)) for name, values in wanted]
    for _, values, place in found:
        if place is not None:
            np.testing.assert_array_equal(store.gather(np.array([place])), values[np.newaxis])
    return [name for name, _, place in found if place is not None]


def names(wanted):
    return [name for name, _ in wanted]


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(feature_store, '_SHARD_BYTES', 4 * 3 * 5)  # five frames each


def test_a_store_returns_what_was_added(tmp_path, small_shards):
    wanted = frames(range(13))
    store = open_store(tmp_path / 'cache')
    assert find_frames(store, wanted) == []
    add(store, wanted)
    assert len(list(store.folder.glob('*.npy'))) == 3  # 5, 5 and 3
    assert find_frames(store, wanted) == names(wanted)
    places = np.array([store.find(name) for name, _ in wanted])[[12, 0, 7, 7, 3]]
    np.testing.assert_array_equal(store.gather(places), np.stack([wanted[n][1] for n in (12, 0, 7, 7, 3)]))
    other = open_store(tmp_path / 'cache')
    assert find_frames(other, wanted) == names(wanted)
    assert json.loads((store.folder / 'key.json').read_text()) == KEY
    assert find_frames(open_store(tmp_path / 'cache', KEY | {'weights': 'others'}), wanted) == []
    for one in (store, other):
        one.close()


@pytest.mark.parametrize('damage', ['flip', 'cut array', 'empty array', 'no array', 'no table', 'cut table', 'pickle'])
def test_damaged_features_can_be_added_again(tmp_path, small_shards, damage):
    wanted = frames(range(10))
    store = open_store(tmp_path)
    add(store, wanted)
    store.close()
    (victim,) = [path for path in store.folder.glob('*.csv') if wanted[0][0] in path.read_text()]
    array = victim.with_suffix('.npy')
    content = array.read_bytes()
    if damage == 'flip':
        array.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # the last frame of five
    elif damage == 'cut array':
        array.write_bytes(content[:-1])
    elif damage == 'empty array':
        array.write_bytes(b'')
    elif damage == 'no array':
        array.unlink()
    elif damage == 'no table':
        victim.unlink()
    elif damage == 'cut table':
        victim.write_text(victim.read_text()[:-50])
    else:
        np.save(array, np.array([{}]), allow_pickle=True)
    store = open_store(tmp_path)
    left = 9 if damage == 'flip' else 5
    assert len(find_frames(store, wanted)) == left
    add(store, [frame for frame in wanted if store.find(frame[0]) is None])
    assert find_frames(store, wanted) == names(wanted)
    if damage == 'no table':
        assert not array.exists()  # a leftover takes no room
    store.close()
    again = open_store(tmp_path)
    assert find_frames(again, wanted) == names(wanted)
    again.close()


def fill_and_die(folder, wanted):
    """Adds frames, and kills the process in the second shard."""
    feature_store._SHARD_BYTES = 4 * 3 * 5

    def given():
        yield from wanted[:7]
        (store.folder / '.0123456789abcdef.tmp').write_bytes(b'half')  # as a killed writer leaves it
        (store.folder / 'half.npy').write_bytes(b'half')
        os.kill(os.getpid(), signal.SIGKILL)

    store = open_store(folder)
    with store.filling(0):
        store.add(given())


def test_a_killed_job_leaves_whole_shards_without_locks(tmp_path):
    wanted = frames(range(12))
    process = multiprocessing.get_context('fork').Process(target=fill_and_die, args=(tmp_path, wanted))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    store = open_store(tmp_path)
    assert find_frames(store, wanted) == names(wanted[:5])
    add(store, wanted[5:])
    assert find_frames(store, wanted) == names(wanted)
    assert sorted(path.suffix for path in store.folder.iterdir()) == ['.csv', '.csv', '.json', '.npy', '.npy']
    store.close()


def fill(folder, wanted, log):
    """Adds the missing frames, one by one and slowly, and logs which it added."""
    store = open_store(folder)
    with store.filling(0):
        missing = [frame for frame in wanted if store.find(frame[0]) is None]

        def given():
            for frame in missing:
                time.sleep(0.01)
                yield frame

        store.add(given())
    log.put((names(missing), find_frames(store, wanted)))
    store.close()


def test_jobs_that_need_the_same_features_wait(tmp_path):
    """Every frame is added by exactly one job, and every job can read all frames that it needs."""
    context = multiprocessing.get_context('fork')
    log = context.Queue()
    needed = [frames(range(first, first + 20)) for first in (0, 5, 10, 0)]
    processes = [context.Process(target=fill, args=(tmp_path, wanted, log)) for wanted in needed]
    for process in processes:
        process.start()
    answers = [log.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    added = [name for missing, _ in answers for name in missing]
    assert sorted(added) == sorted(set(added)) == sorted(names(frames(range(30))))
    assert sorted(held for _, held in answers) == sorted(names(wanted) for wanted in needed)


def limit(store, most, needed=0):
    store.limit = most
    store.make_room(needed)


def test_the_longest_unused_key_is_removed_first(tmp_path):
    keys = [KEY | {'weights': str(number)} for number in range(4)]
    stores = []
    for number, key in enumerate(keys):
        store = open_store(tmp_path, key)
        add(store, frames(range(100)))
        stores.append(store)
        os.utime(tmp_path / f'{store.name}.use', (number, number))  # used in this order
    one = sum(path.stat().st_size for path in stores[0].folder.iterdir())
    there = lambda: [store.folder.exists() for store in stores]  # noqa: E731
    limit(stores[0], 1)  # all are in use
    assert there() == [True] * 4
    for store in stores[1:]:
        store._use.close()
    limit(stores[0], 10 * one)
    assert there() == [True] * 4
    limit(stores[0], 3 * one + 10)
    assert there() == [True, False, True, True]
    limit(stores[0], 3 * one + 10, needed=one)
    assert there() == [True, False, False, True]
    assert find_frames(stores[0], frames(range(100))) == names(frames(range(100)))
    stores[0].limit = 10
    stores[0].close()  # the last use of the key, and the limit has room for none
    assert there() == [False] * 4
    again = open_store(tmp_path, keys[0])
    assert find_frames(again, frames(range(100))) == []
    again.close()


def test_a_file_is_not_a_store(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match=r'--feature_cache=.*: a file'):
        open_store(tmp_path / 'file')


class Runs:
    """Runs of `temporal`, with the cache and without. Each is made when a test first needs it."""

    def __init__(self, data: Path, folder: Path):
        self.data, self.folder, self.cache = data, folder, folder / 'cache'

    def config(self, name, cached=True, **changes):
        settings = {'stage': 'temporal', 'train_epochs': '2,1', 'dropout': 0.5, 'rnn_dropout': 0.3, 'batch_size': 3}
        settings |= {'init_from': self.backbone, 'feature_cache': str(self.cache) if cached else ''}
        return tiny_config(self.data, **{**settings, 'run_dir': self.folder / name, **changes})

    @property
    def backbone(self):
        path = self.folder / 'backbone'
        if not path.exists():
            train(tiny_config(self.data, 'finetune', run_dir=path, train_epochs='1'), resume=False, overwrite=False)
        return path

    def make(self, name, **changes):
        if not (self.folder / name).exists():
            train(self.config(name, **changes), resume=False, overwrite=False)
        return self.folder / name


@pytest.fixture(scope='module')
def runs(painted_sound, tmp_path_factory):
    return Runs(painted_sound, tmp_path_factory.mktemp('runs'))


def keys(cache):
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def assert_same_logits(found, expected):
    found, expected = (read_results(path / 'results_val.txt') for path in (found, expected))
    assert found.video_ids == expected.video_ids
    with_frames = expected.logits[expected.frames > 0]
    assert (with_frames.std(axis=0) > 1e-3 * np.abs(with_frames).max()).all()
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=1e-5 * np.abs(expected.logits).max())


def assert_same_course(found, expected):
    """Asserts the same losses, scores and variables in both phases, except for rounding."""
    for log in ('train_log.csv', 'val_log.csv'):
        pairs = list(zip(rows(found, log), rows(expected, log), strict=True))
        assert len(pairs) > 2
        for ours, theirs in pairs:
            ours.pop('frames_per_second', None)
            for column in ours:
                if column in ('loss', 'accuracy', 'f1'):
                    assert float(ours[column]) == pytest.approx(float(theirs[column]), rel=1e-5)
                else:
                    assert ours[column] == theirs[column]
    ours, theirs = weights(found), weights(expected)
    assert sorted(ours) == sorted(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-4 * np.abs(value).max(), err_msg=name)


def test_a_run_with_cached_features_learns_the_same(runs, capsys):
    plain, kept = runs.make('plain', cached=False), runs.make('kept')
    out = capsys.readouterr().out
    assert 'features: 31 frames, 31 distinct: 0 read from' in out
    assert out.count(' 0 read from') == 2  # training and validation
    assert_same_course(kept, plain)
    for run_dir in (plain, kept):
        score(run_dir, runs.data / 'val.txt', run_dir)
    assert_same_logits(kept, plain)


@pytest.mark.parametrize(
    ('option', 'model'),
    [(1, 'vgg_face'), (1, 'resnet50'), (4, 'resnet50')],
)
@pytest.mark.slow
def test_early_fusion_with_cached_features_learns_the_same(painted_sound, tmp_path, option, model):
    """With fresh weights and noisy audio. resnet50 learns its batch statistics in phase two."""
    settings = {'fusion_option': option, 'model': model, 'audio_noise': 0.1, 'seed': 3, 'train_epochs': '2,1'}
    if option == 4:
        train(
            tiny_config(painted_sound, 'audio', 'audio_gru', run_dir=tmp_path / 'audio', max_steps=1),
            resume=False,
            overwrite=False,
        )
        settings['audio_run_dir'] = tmp_path / 'audio'
    for name in ('plain', 'kept'):
        cache = str(tmp_path / 'cache') if name == 'kept' else ''
        config = tiny_config(painted_sound, 'early_fusion', run_dir=tmp_path / name, feature_cache=cache, **settings)
        train(config, resume=False, overwrite=False)
    assert_same_course(tmp_path / 'kept', tmp_path / 'plain')


def test_heads_on_one_cnn_share_its_features(runs, tmp_path, capsys):
    one, manifest = runs.make('kept'), runs.data / 'val.txt'
    before = keys(runs.cache)
    capsys.readouterr()
    heads = [runs.make(f'head{units}', train_epochs='1,1', max_steps=2, rnn_units=units) for units in (3, 6)]
    out = capsys.readouterr().out
    assert out.count(' 0 computed') == 4  # two runs on two splits
    head = heads[1]
    score(head, manifest, head)  # without the cache
    score(head, manifest, tmp_path / head.name, feature_cache=str(runs.cache))
    assert_same_logits(tmp_path / head.name, head)
    assert capsys.readouterr().out.count(': 20 read from') == 1
    assert keys(runs.cache) == before
    score(one, manifest, tmp_path / 'one', feature_cache=str(runs.cache))  # phase two has trained its CNN
    assert '0 read from' in (out := capsys.readouterr().out)
    assert ', 20 computed' in out
    assert len(keys(runs.cache)) == len(before) + 1
    score(one, manifest, tmp_path / 'without')
    assert_same_logits(tmp_path / 'one', tmp_path / 'without')
    score(runs.backbone, manifest, tmp_path / 'plain')  # a CNN with a classifier, whose logits are kept as well
    for _ in range(2):
        score(runs.backbone, manifest, tmp_path / 'backbone', feature_cache=str(runs.cache))
        assert_same_logits(tmp_path / 'backbone', tmp_path / 'plain')
    assert ': 20 read from' in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_resumed_in_phase_one_reads_features(runs, tmp_path, capsys):
    """Even if it began without them, because resuming may change --feature_cache."""
    config = runs.config('plain', cached=False, run_dir=str(tmp_path / 'run'), max_steps=4)
    train(config, resume=False, overwrite=False)
    capsys.readouterr()
    train(runs.config('kept', run_dir=str(tmp_path / 'run')), resume=True, overwrite=False)
    out = capsys.readouterr().out
    assert 'resumed from' in out
    assert 'features: ' in out
    assert f'--feature_cache={runs.cache}\n' in (tmp_path / 'run' / 'flags.txt').read_text()
    assert_same_course(tmp_path / 'run', runs.make('plain', cached=False))


def test_a_run_resumed_in_phase_two_computes_none(runs, tmp_path, capsys):
    shutil.copytree(runs.make('kept'), tmp_path / 'run')
    capsys.readouterr()
    train(
        runs.config('kept', run_dir=str(tmp_path / 'run'), feature_cache=str(tmp_path / 'none')),
        resume=True,
        overwrite=False,
    )
    assert 'features: ' not in capsys.readouterr().out
    assert not (tmp_path / 'none').exists()


def test_features_of_augmented_images_are_not_kept(runs, tmp_path, capsys):
    """Those of validation are kept. The training steps equal those of a run without the cache."""
    changes = {'augment': 'flip,shift', 'train_epochs': '2,1'}
    kept, plain = (
        runs.config(name, cached=name == 'kept', run_dir=str(tmp_path / name), **changes) for name in ('kept', 'plain')
    )
    for config in (kept, plain):
        train(config, resume=False, overwrite=False)
    out = capsys.readouterr().out
    assert out.count('features: ') == 1
    assert 'features: 20 frames' in out
    assert_same_course(tmp_path / 'kept', tmp_path / 'plain')


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'train_epochs': '1', 'max_steps': 1}, 'features: not kept; no phase has a frozen CNN'),
        ({'stage': 'finetune', 'train_epochs': '1,1', 'max_steps': 1}, 'features: not kept; no phase has a frozen CNN'),
        ({'feature_cache_gb': 1e-6, 'train_epochs': '1,1', 'max_steps': 1}, 'more than --feature_cache_gb'),
    ],
)
def test_the_reason_for_keeping_no_features_is_printed(runs, tmp_path, capsys, changes, reason):
    config = runs.config('run', run_dir=str(tmp_path / 'run'), feature_cache=str(tmp_path / 'cache'), **changes)
    train(config, resume=False, overwrite=False)
    assert reason in capsys.readouterr().out
    assert not (tmp_path / 'cache').exists()


def test_settings_without_meaning_are_errors(runs, tmp_path, painted_sound):
    with pytest.raises(InputError, match='--feature_cache_gb=0'):
        train(runs.config('no', feature_cache_gb=0), resume=False, overwrite=False)
    with pytest.raises(InputError, match='--frames_per_chunk=-2'):
        train(runs.config('no', frames_per_chunk=-2), resume=False, overwrite=False)
    audio = tiny_config(painted_sound, 'audio', 'audio_gru', run_dir=tmp_path / 'no', feature_cache='somewhere')
    with pytest.raises(InputError, match='--feature_cache=somewhere: expected none for --stage=audio'):
        train(audio, resume=False, overwrite=False)
    train(
        tiny_config(painted_sound, 'audio', 'audio_gru', run_dir=tmp_path / 'run', max_steps=1),
        resume=False,
        overwrite=False,
    )
    with pytest.raises(InputError, match='--feature_cache=somewhere: expected none for --stage=audio'):
        score(tmp_path / 'run', painted_sound / 'val_clips.txt', tmp_path, feature_cache='somewhere')


def test_features_of_several_views_are_not_kept(runs, tmp_path, capsys):
    run_dir = runs.make('kept')
    score(run_dir, runs.data / 'val.txt', tmp_path, tta_views=2, feature_cache=str(tmp_path / 'cache'))
    assert 'features: not kept' in capsys.readouterr().out
    assert not (tmp_path / 'cache').exists()


def test_features_belong_to_content_and_not_to_names(runs, tmp_path, capsys):
    """Other content under the same name, size and time is noticed, and copies elsewhere are recognised."""
    data = tmp_path / 'data'
    shutil.copytree(runs.data, data)
    run_dir, cache = runs.make('kept'), str(tmp_path / 'cache')
    score(run_dir, runs.data / 'val.txt', tmp_path / 'before', feature_cache=cache)
    capsys.readouterr()
    score(run_dir, data / 'val.txt', tmp_path / 'copy', feature_cache=cache)
    assert '20 distinct: 20 read' in capsys.readouterr().out
    victim = sorted((data / 'faces').rglob('val000/*.jpg'))[0]
    stamp, size = victim.stat(), victim.stat().st_size
    cv2.imwrite(str(victim), np.full((32, 32, 3), 200, np.uint8))
    content = victim.read_bytes()
    assert len(content) < size
    victim.write_bytes(content[:-2] + b'\0' * (size - len(content)) + content[-2:])
    os.utime(victim, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    now = victim.stat()
    assert (now.st_size, now.st_mtime_ns) == (stamp.st_size, stamp.st_mtime_ns)
    score(run_dir, data / 'val.txt', tmp_path / 'kept', feature_cache=cache)
    assert '20 distinct: 19 read' in capsys.readouterr().out
    score(run_dir, data / 'val.txt', tmp_path / 'plain')
    assert_same_logits(tmp_path / 'kept', tmp_path / 'plain')
    before, after = (read_results(tmp_path / name / 'results_val.txt').logits for name in ('before', 'kept'))
    assert (before != after).any(axis=1).sum() == 1  # the video of that file


def test_a_damaged_image_is_named_before_the_run(runs, tmp_path):
    data = tmp_path / 'data'
    shutil.copytree(runs.data, data)
    victim = sorted((data / 'faces').rglob('train000/*.jpg'))[1]
    content = victim.read_bytes()
    middle = content.index(b'\xff\xc0')
    victim.write_bytes(content[:middle] + b'\0' * 40 + content[middle + 40 :])  # without a header
    config = runs.config('no', run_dir=str(tmp_path / 'run'), feature_cache=str(tmp_path / 'cache'))
    manifests = {f'{split}_manifest': (str(data / f'{split}.txt'),) for split in ('train', 'val')}
    config = dataclasses.replace(config, **manifests)
    with pytest.raises(InputError, match=r'train.txt:2: .*: damaged inside'):
        train(config, resume=False, overwrite=False)
    assert not (tmp_path / 'run').exists()


def test_extraction_reads_cached_features(runs, tmp_path, capsys):
    cache = str(tmp_path / 'cache')
    for run_dir, classes in ((runs.backbone, 7), (runs.make('kept'), 0)):
        files = []
        for number, folder in enumerate(('', cache, cache)):
            files.append(tmp_path / f'{number}.npz')
            places = {'init_from': str(run_dir), 'manifest': str(runs.data / 'val.txt'), 'output': str(files[-1])}
            extract(ExtractionRequest(**places, batch_size=7, feature_cache=folder))
        out = capsys.readouterr().out
        assert '20 distinct: 0 read' in out
        assert '20 distinct: 20 read' in out
        plain, first, second = (dict(np.load(file)) for file in files)
        assert plain['logits'].shape == (20, classes)
        for name, value in plain.items():
            np.testing.assert_array_equal(first[name], second[name])
            if value.dtype == np.float32:
                np.testing.assert_allclose(first[name], value, rtol=0, atol=1e-5 * np.abs(value).max(initial=0))
            else:
                np.testing.assert_array_equal(first[name], value)
    assert len(keys(Path(cache))) == 2
    score(runs.backbone, runs.data / 'val.txt', tmp_path / 'scores', feature_cache=cache)  # the same CNN, the same key
    assert ': 20 read from' in capsys.readouterr().out
    assert len(keys(Path(cache))) == 2


def test_comments_do_not_change_the_key():
    code = '"""Of a module."""\n\ndef double(x):\n    """Of a function."""\n    return 2 * x  # twice\n'
    assert dump_code(code) == dump_code('def double(x):\n    """Doubles a number."""\n\n    return (2 * x)\n')
    assert dump_code(code) != dump_code(code.replace('2', '3'))
