"""Features kept on disk: the same results with them and without, and what is left when jobs meet or are killed."""

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

from fer.errors import InputError
from fer.extract.extract import extract
from fer.extract.request import ExtractionRequest
from fer.results.results_file import read_results
from fer.training import feature_store
from fer.training.feature_store import FeatureStore, digest, make_room
from fer.training.features import dump_code
from fer.training.train import train

# Its runs are shared, so they are made in one of pytest-xdist's processes.
pytestmark = [pytest.mark.xdist_group(__name__), pytest.mark.usefixtures('quick_runs')]

KEY = {'model': 'a network', 'weights': 'some'}
GIGABYTE = 10**9


def open_store(folder, key=KEY, depth=3, limit=GIGABYTE):
    return FeatureStore(folder, key, depth, limit)


def frames(numbers, depth=3):
    """Made-up frames, (digest, float32 [depth]) each; the value follows from the number."""
    return [(digest(b'%d' % n), np.random.default_rng(n).normal(size=depth).astype(np.float32)) for n in numbers]


def add(store, wanted):
    with store.filling(sum(values.nbytes for _, values in wanted)):
        store.add(wanted)


def holds(store, wanted):
    """The frames among `wanted` that a store has; with the right values, or this fails."""
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


def test_a_store_gives_back_what_it_was_given(tmp_path, small_shards):
    wanted = frames(range(13))
    store = open_store(tmp_path / 'cache')
    assert holds(store, wanted) == []
    add(store, wanted)
    assert len(list(store.folder.glob('*.npy'))) == 3  # 5, 5 and 3
    assert holds(store, wanted) == names(wanted)
    places = np.array([store.find(name) for name, _ in wanted])[[12, 0, 7, 7, 3]]
    np.testing.assert_array_equal(store.gather(places), np.stack([wanted[n][1] for n in (12, 0, 7, 7, 3)]))
    other = open_store(tmp_path / 'cache')
    assert holds(other, wanted) == names(wanted)
    assert json.loads((store.folder / 'key.json').read_text()) == KEY
    assert holds(open_store(tmp_path / 'cache', KEY | {'weights': 'others'}), wanted) == []
    for one in (store, other):
        one.close()


@pytest.mark.parametrize('damage', ['flip', 'cut array', 'empty array', 'no array', 'no table', 'cut table', 'pickle'])
def test_what_is_damaged_is_not_there_and_can_be_added_again(tmp_path, small_shards, damage):
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
    assert len(holds(store, wanted)) == left
    add(store, [frame for frame in wanted if store.find(frame[0]) is None])
    assert holds(store, wanted) == names(wanted)
    if damage == 'no table':
        assert not array.exists()  # what nobody trusts takes no room
    store.close()
    again = open_store(tmp_path)
    assert holds(again, wanted) == names(wanted)
    again.close()


def fill_and_die(folder, wanted):
    """Adds frames, and is killed in the second shard."""
    feature_store._SHARD_BYTES = 4 * 3 * 5

    def given():
        yield from wanted[:7]
        (store.folder / '.0123456789abcdef.tmp').write_bytes(b'half')  # as a writer killed in between leaves it
        (store.folder / 'half.npy').write_bytes(b'half')
        os.kill(os.getpid(), signal.SIGKILL)

    store = open_store(folder)
    with store.filling(0):
        store.add(given())


def test_a_killed_job_leaves_whole_shards_and_no_lock(tmp_path):
    wanted = frames(range(12))
    process = multiprocessing.get_context('fork').Process(target=fill_and_die, args=(tmp_path, wanted))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    store = open_store(tmp_path)
    assert holds(store, wanted) == names(wanted[:5])
    add(store, wanted[5:])
    assert holds(store, wanted) == names(wanted)
    assert sorted(path.suffix for path in store.folder.iterdir()) == ['.csv', '.csv', '.json', '.npy', '.npy']
    store.close()


def fill(folder, wanted, log):
    """Adds what is missing of some frames, one by one and slowly, and says which it added."""
    store = open_store(folder)
    with store.filling(0):
        missing = [frame for frame in wanted if store.find(frame[0]) is None]

        def given():
            for frame in missing:
                time.sleep(0.01)
                yield frame

        store.add(given())
    log.put((names(missing), holds(store, wanted)))
    store.close()


def test_jobs_that_need_the_same_wait_for_each_other(tmp_path):
    """Every frame is added by exactly one of them, and all of them can read all that they asked for."""
    context = multiprocessing.get_context('fork')
    log = context.Queue()
    asked = [frames(range(first, first + 20)) for first in (0, 5, 10, 0)]
    processes = [context.Process(target=fill, args=(tmp_path, wanted, log)) for wanted in asked]
    for process in processes:
        process.start()
    answers = [log.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    added = [name for missing, _ in answers for name in missing]
    assert sorted(added) == sorted(set(added)) == sorted(names(frames(range(30))))
    assert sorted(held for _, held in answers) == sorted(names(wanted) for wanted in asked)


def test_what_was_used_longest_ago_goes_first_and_nothing_in_use(tmp_path):
    keys = [KEY | {'weights': str(number)} for number in range(4)]
    stores = []
    for number, key in enumerate(keys):
        store = open_store(tmp_path, key)
        add(store, frames(range(100)))
        stores.append(store)
        os.utime(tmp_path / f'{store.name}.use', (number, number))  # used in this order
    one = sum(path.stat().st_size for path in stores[0].folder.iterdir())
    there = lambda: [store.folder.exists() for store in stores]  # noqa: E731
    make_room(tmp_path, 0, 1)  # all are in use
    assert there() == [True] * 4
    for store in stores[1:]:
        store._use.close()
    make_room(tmp_path, 0, 10 * one)
    assert there() == [True] * 4
    make_room(tmp_path, 0, 3 * one + 10)
    assert there() == [True, False, True, True]
    make_room(tmp_path, one, 3 * one + 10)
    assert there() == [True, False, False, True]
    assert holds(stores[0], frames(range(100))) == names(frames(range(100)))
    stores[0].limit = 10
    stores[0].close()  # it was the last use of it, and there is room for nothing
    assert there() == [False] * 4
    again = open_store(tmp_path, keys[0])
    assert holds(again, frames(range(100))) == []
    again.close()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match=r'--feature_cache=.*: a file'):
        open_store(tmp_path / 'file')


class Runs:
    """Runs of `temporal`, with the cache and without, each made when it is first asked for."""

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
    seen = expected.frames > 0
    assert (expected.logits[seen].std(axis=0) > 1e-3 * np.abs(expected.logits[seen]).max()).all()
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=1e-5 * np.abs(expected.logits).max())


def assert_same_course(found, expected):
    """The same losses, scores and variables, in both phases, but for rounding."""
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


def test_a_run_learns_what_it_learns_without(runs, capsys):
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
def test_early_fusion_learns_what_it_learns_without(painted_sound, tmp_path, option, model):
    """Fresh weights, and noise on the sound; resnet50's batch statistics are learned in phase two."""
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


def test_heads_on_one_cnn_share_its_features_and_another_cnn_does_not(runs, tmp_path, capsys):
    one, manifest = runs.make('kept'), runs.data / 'val.txt'
    before = keys(runs.cache)
    capsys.readouterr()
    heads = [runs.make(f'head{units}', train_epochs='1,1', max_steps=2, rnn_units=units) for units in (3, 6)]
    out = capsys.readouterr().out
    assert out.count(' 0 computed') == 4  # two runs on two splits
    head = heads[1]
    score(head, manifest, head)  # without
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
    score(runs.backbone, manifest, tmp_path / 'plain')  # a CNN with a classifier: its logits are kept as well
    for _ in range(2):
        score(runs.backbone, manifest, tmp_path / 'backbone', feature_cache=str(runs.cache))
        assert_same_logits(tmp_path / 'backbone', tmp_path / 'plain')
    assert ': 20 read from' in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_resumes_in_phase_one_goes_on_with_features(runs, tmp_path, capsys):
    """Also one that began without them: resuming may change where they are kept."""
    config = runs.config('plain', cached=False, run_dir=str(tmp_path / 'run'), max_steps=4)
    train(config, resume=False, overwrite=False)
    capsys.readouterr()
    train(runs.config('kept', run_dir=str(tmp_path / 'run')), resume=True, overwrite=False)
    out = capsys.readouterr().out
    assert 'resumed from' in out
    assert 'features: ' in out
    assert f'--feature_cache={runs.cache}\n' in (tmp_path / 'run' / 'flags.txt').read_text()
    assert_same_course(tmp_path / 'run', runs.make('plain', cached=False))


def test_a_run_that_resumes_in_phase_two_computes_none(runs, tmp_path, capsys):
    shutil.copytree(runs.make('kept'), tmp_path / 'run')
    capsys.readouterr()
    train(
        runs.config('kept', run_dir=str(tmp_path / 'run'), feature_cache=str(tmp_path / 'none')),
        resume=True,
        overwrite=False,
    )
    assert 'features: ' not in capsys.readouterr().out
    assert not (tmp_path / 'none').exists()


def test_augmented_images_are_never_kept(runs, tmp_path, capsys):
    """Validation's are as they are; the training steps are those of a run without the cache."""
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
    ('changes', 'says'),
    [
        ({'train_epochs': '1', 'max_steps': 1}, 'features: not kept; no phase has a frozen CNN'),
        ({'stage': 'finetune', 'train_epochs': '1,1', 'max_steps': 1}, 'features: not kept; no phase has a frozen CNN'),
        ({'feature_cache_gb': 1e-6, 'train_epochs': '1,1', 'max_steps': 1}, 'more than --feature_cache_gb'),
    ],
)
def test_what_is_not_kept_is_said(runs, tmp_path, capsys, changes, says):
    config = runs.config('run', run_dir=str(tmp_path / 'run'), feature_cache=str(tmp_path / 'cache'), **changes)
    train(config, resume=False, overwrite=False)
    assert says in capsys.readouterr().out
    assert not (tmp_path / 'cache').exists()


def test_settings_that_make_no_sense(runs, tmp_path, painted_sound):
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


def test_several_views_are_never_kept(runs, tmp_path, capsys):
    run_dir = runs.make('kept')
    score(run_dir, runs.data / 'val.txt', tmp_path, tta_views=2, feature_cache=str(tmp_path / 'cache'))
    assert 'features: not kept' in capsys.readouterr().out
    assert not (tmp_path / 'cache').exists()


def test_features_are_of_what_a_file_holds_not_of_its_name(runs, tmp_path, capsys):
    """A file of the same name, size and time with other content is seen; copies elsewhere are known."""
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


def test_a_damaged_image_is_named_and_no_run_is_left(runs, tmp_path):
    data = tmp_path / 'data'
    shutil.copytree(runs.data, data)
    victim = sorted((data / 'faces').rglob('train000/*.jpg'))[1]
    content = victim.read_bytes()
    middle = content.index(b'\xff\xc0')
    victim.write_bytes(content[:middle] + b'\0' * 40 + content[middle + 40 :])  # no header: it has its ends only
    config = runs.config('no', run_dir=str(tmp_path / 'run'), feature_cache=str(tmp_path / 'cache'))
    manifests = {f'{split}_manifest': (str(data / f'{split}.txt'),) for split in ('train', 'val')}
    config = dataclasses.replace(config, **manifests)
    with pytest.raises(InputError, match=r'train.txt:2: .*: damaged inside'):
        train(config, resume=False, overwrite=False)
    assert not (tmp_path / 'run').exists()


def test_extraction_with_features_kept(runs, tmp_path, capsys):
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


def test_comments_keep_the_features():
    code = '"""Of a module."""\n\ndef double(x):\n    """Of a function."""\n    return 2 * x  # twice\n'
    assert dump_code(code) == dump_code('def double(x):\n    """Says more."""\n\n    return (2 * x)\n')
    assert dump_code(code) != dump_code(code.replace('2', '3'))
