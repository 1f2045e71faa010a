"""Windows, packing and decoding against plain NumPy and OpenCV."""

import cv2
import numpy as np
import pytest

from fer.data.check import image_problem
from fer.data.pipeline import Reading, build_pipeline
from fer.data.split import load_split
from fer.data.windows import pad_index, split_windows
from fer.errors import InputError
from fer.manifest import Video
from fer.tf1 import tf


def run_batch(session, batch):
    """The batch's values; what it does not have stays None."""
    return batch._replace(**session.run({name: part for name, part in batch._asdict().items() if part is not None}))


def make_video(length):
    return Video('v', 0, [''] * length, [], list(range(length)))


def test_windows_keep_every_frame_once():
    windows = split_windows([make_video(100), make_video(3), make_video(80)], seq_len=80)
    assert windows == [(0, 0, 80), (0, 80, 20), (1, 0, 3), (2, 0, 80)]


def test_seq_len_zero():
    with pytest.raises(InputError, match='--seq_len=0'):
        split_windows([make_video(3)], seq_len=0)


def test_pad_index_repeats_the_last_frame():
    with tf.Graph().as_default(), tf.Session() as session:
        index = session.run(pad_index(tf.constant([3, 1, 4]), 4))
    np.testing.assert_array_equal(index, [[0, 1, 2, 2], [3, 3, 3, 3], [4, 5, 6, 7]])


@pytest.fixture(scope='module')
def epochs(painted):
    """Two shuffled epochs of a pipeline, and the first again from its second batch on."""
    split = load_split([str(painted / 'train.txt')], '', seq_len=7, min_frames=2, labelled=True)
    with tf.Graph().as_default(), tf.Session() as session:
        pipeline = build_pipeline(split, seq_len=7, batch_size=3, reading=Reading(32, 0), shuffle_seed=5)

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


def test_epochs_differ_and_resume_in_the_middle(epochs):
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


def test_resize_to_the_asked_size(painted):
    split = load_split([str(painted / 'val.txt')], '', seq_len=5, min_frames=2, labelled=True)
    with tf.Graph().as_default(), tf.Session() as session:
        pipeline = build_pipeline(split, seq_len=5, batch_size=2, reading=Reading(48, 0), shuffle_seed=None)
        session.run(pipeline.initializer, {pipeline.epoch: 0, pipeline.skip: 0})
        images, windows = session.run([pipeline.batch.images, pipeline.batch.windows])
    assert images.shape[1:] == (48, 48, 3)
    assert images.min() >= -1
    assert images.max() <= 1
    assert windows.tolist() == [0, 1]  # unshuffled


@pytest.mark.parametrize(
    ('content', 'says'),
    [
        (None, 'No such file'),
        (b'', 'empty file'),
        (b'hello, I am text', 'not a JPEG'),
        (b'\xff\xd8\xff\xe0' + b'0' * 500, 'truncated JPEG'),
        (b'\xff\xd8\xff\xe1' + b'\xff\xda thumbnail \xff\xd9' + b'\xff\xda' + b'0' * 500, 'truncated JPEG'),
        (b'\x89PNG\r\n\x1a\n' + b'0' * 500, 'truncated PNG'),
    ],
)
def test_image_problem(tmp_path, content, says):
    path = tmp_path / 'face.jpg'
    if content is not None:
        path.write_bytes(content)
    assert says in image_problem(str(path))


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_whole_images_have_no_problem(tmp_path, suffix):
    path = str(tmp_path / f'face{suffix}')
    cv2.imwrite(path, np.zeros((9, 9, 3), np.uint8))
    assert image_problem(path) == ''
