# SPDX-License-Identifier: Apache-2.0
"""Windows, packing, decoding and the frame cache, compared with plain NumPy and OpenCV."""

import errno
import fcntl
import gc
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT

from fer import emotions
from fer.data.frame_cache import open_frame_cache
from fer.data.pipeline import Reading, build_pipeline
from fer.data.sampling import even_order
from fer.data.split import load_split
from fer.data.windows import pad_index, split_windows
from fer.errors import InputError
from fer.image_files import image_problem, jpeg_end
from fer.manifest import Video, write_manifest
from fer.tf1 import tf


def run_batch(session, batch):
    """Returns the batch's values. Missing parts stay None."""
    return batch._replace(**session.run({name: part for name, part in batch._asdict().items() if part is not None}))


def make_video(length):
    return Video('v', 0, [''] * length, [], list(range(length)))


def test_windows_keep_every_frame_once():
    windows = split_windows([make_video(100), make_video(3), make_video(80)], seq_len=80)
    assert windows == [(0, 0, 80), (0, 80, 20), (1, 0, 3), (2, 0, 80)]


def test_seq_len_zero_is_an_error():
    with pytest.raises(InputError, match='--seq_len=0'):
        split_windows([make_video(3)], seq_len=0)


def test_pad_index_repeats_the_last_frame():
    with tf.Graph().as_default(), tf.Session() as session:
        index = session.run(pad_index(tf.constant([3, 1, 4]), 4))
    np.testing.assert_array_equal(index, [[0, 1, 2, 2], [3, 3, 3, 3], [4, 5, 6, 7]])


@pytest.fixture(scope='module')
def epochs(painted):
    """Returns two shuffled epochs of a pipeline, and the first again from its second batch on."""
    split = load_split([str(painted / 'train.txt')], '', seq_len=7, min_frames=2, labelled=True)
    with tf.Graph().as_default(), tf.Session() as session:
        pipeline = build_pipeline(split, batch_size=3, reading=Reading(32, 0), shuffle_seed=5)

        def read(epoch, skip):
            session.run(pipeline.initializer, {pipeline.epoch: epoch, pipeline.skip: skip})
            batches = [run_batch(session, pipeline.batch) for _ in range(pipeline.num_batches - skip)]
            with pytest.raises(tf.errors.OutOfRangeError):
                run_batch(session, pipeline.batch)
            return batches

        return split, read(0, 0), read(1, 0), read(0, 1)


def test_an_epoch_visits_every_window_once(epochs):
    split, first, second, _ = epochs
    for batches in (first, second):
        order = np.concatenate([batch.windows for batch in batches])
        assert sorted(order) == list(range(len(split.windows)))


def test_epochs_differ_and_resume_inside(epochs):
    _, first, second, resumed = epochs
    order = [batch.windows.tolist() for batch in first]
    assert order != [batch.windows.tolist() for batch in second]
    assert order[1:] == [batch.windows.tolist() for batch in resumed]


def test_packed_frames_are_the_files(epochs):
    split, first, _, _ = epochs
    for batch in first:
        windows = [split.windows[index] for index in batch.windows]
        videos = [split.videos[window.video] for window in windows]
        assert batch.lengths.tolist() == [window.length for window in windows]
        assert batch.labels.tolist() == [video.label for video in videos]
        paths = [
            path
            for window, video in zip(windows, videos, strict=True)
            for path in video.frames[window.start : window.start + window.length]
        ]
        assert len(batch.images) == len(paths)  # no padded pixel exists
        for image, path in zip(batch.images, paths, strict=True):
            decoded = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
            np.testing.assert_allclose(image, decoded / 127.5 - 1, atol=1e-6)


def test_images_get_the_size_asked_for(painted):
    split = load_split([str(painted / 'val.txt')], '', seq_len=5, min_frames=2, labelled=True)
    with tf.Graph().as_default(), tf.Session() as session:
        pipeline = build_pipeline(split, batch_size=2, reading=Reading(48, 0), shuffle_seed=None)
        session.run(pipeline.initializer, {pipeline.epoch: 0, pipeline.skip: 0})
        images, windows = session.run([pipeline.batch.images, pipeline.batch.windows])
    assert images.shape[1:] == (48, 48, 3)
    assert images.min() >= -1
    assert images.max() <= 1
    assert windows.tolist() == [0, 1]  # unshuffled


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        (None, 'No such file'),
        (b'', 'empty file'),
        (b'hello, I am text', 'not a JPEG'),
        (b'\xff\xd8\xff\xe0' + b'0' * 500, 'truncated JPEG'),
        (b'\xff\xd8\xff\xe1' + b'\xff\xda thumbnail \xff\xd9' + b'\xff\xda' + b'0' * 500, 'truncated JPEG'),
        (b'\x89PNG\r\n\x1a\n' + b'0' * 500, 'truncated PNG'),
    ],
)
def test_image_problem_names_the_damage(tmp_path, content, problem):
    path = tmp_path / 'face.jpg'
    if content is not None:
        path.write_bytes(content)
    assert problem in image_problem(str(path))


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_whole_images_have_no_problem(tmp_path, suffix):
    path = str(tmp_path / f'face{suffix}')
    cv2.imwrite(path, np.zeros((9, 9, 3), np.uint8))
    assert image_problem(path) == ''


@pytest.mark.parametrize(
    'behind',
    [b'\0' * 200_000, b'\xff\xda' * 50, b'\0\0\0\x18ftypmp42' + b'\xff\xda' * 99 + b'\0' * 99_999, b'\xff\xd8\xff'],
    ids=['zeros', 'a start of scan', 'a video', 'another JPEG, truncated'],
)
def test_data_behind_a_jpeg_is_ignored(tmp_path, behind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = cv2.imencode('.jpg', noise, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes()
    (tmp_path / 'whole.jpg').write_bytes(content + behind)
    (tmp_path / 'cut.jpg').write_bytes(content[: len(content) // 2] + behind.replace(b'\xff', b'\0'))
    assert jpeg_end(content + behind) == len(content)
    assert image_problem(tmp_path / 'whole.jpg') == ''
    assert 'truncated JPEG' in image_problem(tmp_path / 'cut.jpg')


@pytest.mark.parametrize(('windows', 'batch_size'), [(773, 4), (101, 8), (64, 4), (5, 7), (3, 1)])
def test_even_order_follows_from_seed_and_epoch(windows, batch_size):
    lengths = np.random.default_rng(0).integers(2, 81, windows)
    order = even_order(lengths, batch_size, seed=3, epoch=2)
    assert sorted(order) == list(range(windows))
    np.testing.assert_array_equal(order, even_order(lengths, batch_size, seed=3, epoch=2))
    if windows > 50:
        for other in ({'seed': 4, 'epoch': 2}, {'seed': 3, 'epoch': 1}):
            assert (order != even_order(lengths, batch_size, **other)).any()


def test_even_batches_have_similar_numbers_of_frames():
    """With AFEW-like lengths, the spread of a batch's frames falls at least sixfold, and its lengths stay mixed."""
    sampled = np.random.default_rng(0).lognormal(np.log(55), 0.5, 800)
    lengths = np.clip(sampled.round(), 10, 144).astype(int)

    def batches(order):
        return lengths[order].reshape(-1, 4)

    free = batches(np.random.default_rng([0, 0]).permutation(800))
    even = batches(even_order(lengths, 4, seed=0, epoch=0))
    assert even.sum(axis=1).std() < free.sum(axis=1).std() / 6
    assert even.std(axis=1).mean() > 0.8 * free.std(axis=1).mean()


def test_even_epochs_resume_inside(painted):
    split = load_split([str(painted / 'train.txt')], '', seq_len=7, min_frames=2, labelled=True)
    with tf.Graph().as_default(), tf.Session() as session:
        pipeline = build_pipeline(split, 3, Reading(32, 0, bucket=True), shuffle_seed=5)

        def read(epoch, skip):
            session.run(pipeline.initializer, {pipeline.epoch: epoch, pipeline.skip: skip})
            return [session.run(pipeline.batch.windows).tolist() for _ in range(pipeline.num_batches - skip)]

        first, rest, second = read(0, 0), read(0, 2), read(1, 0)
    assert sorted(index for batch in first for index in batch) == list(range(len(split.windows)))
    assert first[2:] == rest
    assert first != second


@pytest.fixture
def mixed(tmp_path):
    """Makes a split whose videos have frames of 40x40, 20x20, 23x31, several sizes and 20x60. Tests read 20x20."""
    rng = np.random.default_rng(4)
    shapes = [[(40, 40)] * 5, [(20, 20)] * 3, [(23, 31)] * 4, [(20, 20), (60, 40), (23, 20), (40, 37)], [(20, 60)] * 2]
    rows = []
    for number, frames in enumerate(shapes):
        (tmp_path / 'faces' / str(number)).mkdir(parents=True)
        for frame, shape in enumerate(frames):
            name = f'faces/{number}/{frame:05d}.{"png" if frame == 1 else "jpg"}'
            cv2.imwrite(str(tmp_path / name), rng.integers(0, 256, (*shape, 3), np.uint8))
            rows.append((name, emotions.to_one_hot(number)))
    write_manifest(tmp_path / 'mixed.txt', rows)
    return load_split([str(tmp_path / 'mixed.txt')], '', seq_len=3, min_frames=2, labelled=True)


def read_epoch(split, reading=Reading(20, 0), shuffle_seed=None):  # noqa: B008 (immutable)
    """Returns images, lengths and windows of an epoch's batches of two."""
    with tf.Graph().as_default(), tf.Session() as session:
        pipeline = build_pipeline(split, 2, reading, shuffle_seed)
        session.run(pipeline.initializer, {pipeline.epoch: 0, pipeline.skip: 0})
        batch = pipeline.batch
        return [session.run([batch.images, batch.lengths, batch.windows]) for _ in range(pipeline.num_batches)]


def bilinear(image, size):
    """Resizes as TensorFlow 1's bilinear does: sample k lies at k * old / new."""
    for axis in (0, 1):
        at = np.arange(size) * (image.shape[axis] / size)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, image.shape[axis] - 1)
        share = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        image = np.take(image, low, axis) * (1 - share) + np.take(image, high, axis) * share
    return image


def test_images_are_resized_as_in_tensorflow_1(mixed):
    for images, _, windows in read_epoch(mixed):
        chosen = [mixed.windows[index] for index in windows]
        paths = [path for w in chosen for path in mixed.videos[w.video].frames[w.start : w.start + w.length]]
        for image, path in zip(images, paths, strict=True):
            decoded = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB).astype(float)
            np.testing.assert_allclose(image, bilinear(decoded, 20) / 127.5 - 1, atol=1e-5)


def assert_same_batches(found, expected):
    for batch, other in zip(found, expected, strict=True):
        for ours, theirs in zip(batch, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def with_cache(split, folder, gigabytes=1.0):
    return split._replace(decoded=open_frame_cache(split.manifests, 20, str(folder), gigabytes))


def files(cache, suffix):
    return list(cache.glob(f'frame-*/*{suffix}'))


@pytest.mark.parametrize('shuffle_seed', [None, 6])
def test_cached_frames_are_the_same_to_the_bit(mixed, tmp_path, shuffle_seed, capsys):
    reading = Reading(20, 0, augment=('flip', 'rotate', 'colour'))
    plain = read_epoch(mixed, reading, shuffle_seed)
    cached = with_cache(mixed, tmp_path / 'cache')
    assert all(video is not None for video in cached.decoded)
    # At 20x20, 40x40 is every other pixel, and the cache keeps just these.
    assert cached.decoded[0].sizes.tolist() == [[20, 20]] * 5
    assert cached.decoded[2].sizes.tolist() == [[23, 31]] * 4
    assert_same_batches(read_epoch(cached, reading, shuffle_seed), plain)
    assert 'filled' in capsys.readouterr().out
    again = with_cache(mixed, tmp_path / 'cache')
    assert 'read' in capsys.readouterr().out
    for video in mixed.videos:  # no file is decoded again
        for path in video.frames:
            os.truncate(path, 4)
    assert_same_batches(read_epoch(again, reading, shuffle_seed), plain)


def test_frames_cached_at_their_size_travel_as_bytes(mixed, tmp_path):
    """Their values stay the same to the bit, and become float32 after the dataset."""
    alike = mixed._replace(videos=mixed.videos[:2], windows=[w for w in mixed.windows if w.video < 2])
    plain = read_epoch(alike)
    cached = alike._replace(decoded=with_cache(mixed, tmp_path / 'cache').decoded[:2])
    assert_same_batches(read_epoch(cached), plain)
    for split, dtype in ((alike, tf.float32), (cached, tf.uint8)):
        with tf.Graph().as_default() as graph:
            build_pipeline(split, 2, Reading(20, 0), None)
            (read,) = [op for op in graph.get_operations() if op.type == 'IteratorGetNext']
            assert dtype in [output.dtype for output in read.outputs if output.shape.rank == 4]


def test_videos_beyond_the_limit_are_decoded(mixed, tmp_path, capsys):
    plain = read_epoch(mixed)
    room = (5 + 3) * 20 * 20 * 3 + 1000  # bytes: two videos, and the key
    part = with_cache(mixed, tmp_path / 'cache', room / 1e9)
    assert [video is not None for video in part.decoded] == [True, True, False, False, False]
    assert '3 items are decoded in each epoch' in capsys.readouterr().out
    assert_same_batches(read_epoch(part), plain)
    assert with_cache(mixed, tmp_path / 'cache', room / 1e9).decoded[2] is None
    assert 'read' in capsys.readouterr().out  # not filled again
    assert sum(path.stat().st_size for path in files(tmp_path / 'cache', '')) <= room
    assert with_cache(mixed, tmp_path / 'full', 1e-9).decoded == (None,) * 5
    assert 'no room' in capsys.readouterr().out


@pytest.mark.parametrize('damage', ['a byte', 'the end', 'the index', 'no file'])
def test_a_damaged_cache_is_filled_again(mixed, tmp_path, damage, capsys):
    plain = read_epoch(mixed)
    with_cache(mixed, tmp_path / 'cache')
    (data,), (index,) = (files(tmp_path / 'cache', suffix) for suffix in ('.u8', '.index'))
    if damage == 'a byte':
        content = bytearray(data.read_bytes())
        content[1234] ^= 1
        data.write_bytes(content)
    elif damage == 'the end':
        os.truncate(data, 1000)
    elif damage == 'the index':
        index.write_text(index.read_text()[:40])
    else:
        data.unlink()
    capsys.readouterr()
    repaired = with_cache(mixed, tmp_path / 'cache')
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f'frame cache: {index}: damaged (')
    assert 'filled' in second
    assert_same_batches(read_epoch(repaired), plain)
    assert len(files(tmp_path / 'cache', '.u8')) == len(files(tmp_path / 'cache', '.index')) == 1


def test_a_changed_image_gets_another_key(mixed, tmp_path, capsys):
    with_cache(mixed, tmp_path / 'cache')
    path = mixed.videos[1].frames[0]
    image = 255 - cv2.imread(path)
    cv2.imwrite(path, image)
    changed = with_cache(mixed, tmp_path / 'cache')
    assert capsys.readouterr().out.count('filled') == 2
    assert_same_batches(read_epoch(changed), read_epoch(mixed))


def test_leftovers_of_killed_jobs_are_removed(mixed, tmp_path):
    with_cache(mixed, tmp_path / 'cache')
    (whole,), (index,) = (files(tmp_path / 'cache', suffix) for suffix in ('.u8', '.index'))
    index.rename(whole.with_name('other.index'))  # as if a job had been killed before it wrote the index
    (whole.parent / '.0123456789abcdef.tmp').touch()
    assert all(video is not None for video in with_cache(mixed, tmp_path / 'cache').decoded)
    assert not whole.exists()
    assert not list(whole.parent.glob('.*'))


def test_an_unused_key_makes_room_for_another(mixed, tmp_path):
    first = with_cache(mixed, tmp_path / 'cache')
    one = sum(path.stat().st_size for path in files(tmp_path / 'cache', ''))
    cv2.imwrite(mixed.videos[0].frames[0], np.zeros((40, 40, 3), np.uint8))
    second = with_cache(mixed, tmp_path / 'cache', 1.5 * one / 1e9)
    assert None in second.decoded  # the first key is still in use
    del first, second
    gc.collect()
    cv2.imwrite(mixed.videos[0].frames[0], np.full((40, 40, 3), 9, np.uint8))
    assert None not in with_cache(mixed, tmp_path / 'cache', 1.5 * one / 1e9).decoded
    assert sum(path.stat().st_size for path in files(tmp_path / 'cache', '')) <= 1.5 * one


def test_the_cache_works_without_file_locks(mixed, tmp_path, monkeypatch, capsys):
    """Then no key is ever removed, and the limit is still kept."""

    def flock(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', flock)
    plain = read_epoch(mixed)
    for done in ('filled', 'read'):
        assert_same_batches(read_epoch(with_cache(mixed, tmp_path / 'cache')), plain)
        assert done in capsys.readouterr().out
    cv2.imwrite(mixed.videos[0].frames[0], np.zeros((40, 40, 3), np.uint8))
    assert with_cache(mixed, tmp_path / 'cache', 1e-6).decoded == (None,) * 5
    assert len(files(tmp_path / 'cache', '.u8')) == 1


def test_jobs_may_fill_a_cache_together(mixed, tmp_path):
    """Two processes start at the same time. Each gets the right frames, and one shard remains."""
    plain = read_epoch(mixed)
    code = (
        'import sys\n'
        'from fer.data.frame_cache import open_frame_cache\n'
        'from fer.manifest import read_manifest\n'
        'found = open_frame_cache([read_manifest(sys.argv[1], None, "frame", 2)], 20, sys.argv[2], 1.0)\n'
        'print([int(video.pixels.sum()) for video in found])'
    )
    command = [sys.executable, '-c', code, mixed.manifests[0].path, str(tmp_path / 'cache')]
    jobs = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = {job.communicate(timeout=100)[0].splitlines()[-1] for job in jobs}
    assert [job.returncode for job in jobs] == [0, 0]
    assert len(sums) == 1
    cache = with_cache(mixed, tmp_path / 'cache')
    assert_same_batches(read_epoch(cache), plain)
    assert len(files(tmp_path / 'cache', '.u8')) == 1
    assert not list((tmp_path / 'cache').rglob('*.tmp'))


def test_a_damaged_image_is_left_to_training(mixed, tmp_path, capsys):
    path = Path(mixed.videos[2].frames[0])
    content = path.read_bytes()
    path.write_bytes(content[:20] + bytes(len(content) - 22) + content[-2:])
    assert with_cache(mixed, tmp_path / 'cache').decoded == (None,) * 5
    assert 'cannot be decoded; not cached' in capsys.readouterr().out
    assert not files(tmp_path / 'cache', '.u8')


def test_a_file_is_not_a_cache(mixed, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=r'--frame_cache=.*: a file; expected a folder'):
        with_cache(mixed, tmp_path / 'file')


@pytest.mark.parametrize('augment', [(), ('flip',)])
def test_datasets_are_not_tuned(mixed, augment):
    """TensorFlow's tuning would make every epoch wait for its thread (fer/data/parallel.py)."""
    with tf.Graph().as_default() as graph:
        build_pipeline(mixed, 2, Reading(20, 0, augment=augment), 1)
        (started,) = [op for op in graph.get_operations() if op.type == 'MakeIterator']
        (mapped,) = [op for op in graph.get_operations() if op.type.startswith('ParallelMapDataset')]
        threads = tf.get_static_value(mapped.inputs[-1])
    last = started.inputs[0].op
    assert last.type == 'OptionsDataset'
    assert b':\x02\x08\x00' in last.get_attr('serialized_options')  # autotune_options: enabled: false
    assert 1 <= threads <= 8
