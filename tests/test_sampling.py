# SPDX-License-Identifier: Apache-2.0
"""The windows of an epoch, and those of them that are augmented, compared with plain counts."""

import dataclasses
from collections import Counter

import cv2
import numpy as np
import pytest
from conftest import tiny_config
from runs import assert_same_run

from fer.data.pipeline import Reading, build_pipeline
from fer.data.sampling import Sampler, make_sampler
from fer.data.split import load_split
from fer.errors import InputError
from fer.tf1 import tf
from fer.training.checks import check_config
from fer.training.losses import class_weights
from fer.training.train import train
from fer.wording import words_for

pytestmark = pytest.mark.usefixtures('quick_runs')

VIDEOS, STILLS = (words_for(item, images=True, audio=False) for item in ('frame', 'still'))
COUNTS = {0: 9, 1: 3, 3: 4, 6: 1}  # windows of each class, none of three classes


def make(sampling='balanced', augmented='all', counts=None):
    labels = np.repeat(*zip(*(counts or COUNTS).items(), strict=True))
    rng = np.random.default_rng(0)
    return Sampler(rng.permutation(labels), rng.integers(1, 30, len(labels)), sampling, augmented)


@pytest.mark.parametrize('bucket', [0, 4])
def test_balanced_epochs_have_equal_counts(bucket):
    sampler = make()
    seen = []
    for epoch in range(3):
        draws = sampler.draw(5, epoch, bucket)
        times = Counter(draws.windows.tolist())
        assert len(draws.windows) == sampler.size == 4 * 9
        assert set(times) == set(range(17))  # each window at least once
        for label, count in COUNTS.items():
            own = [times[window] for window in np.flatnonzero(sampler.labels == label)]
            assert sum(own) == 9
            assert max(own) - min(own) <= 1, count
        numbered = set(zip(draws.windows.tolist(), draws.copies.tolist(), strict=True))
        assert numbered == {(window, copy) for window in times for copy in range(times[window])}
        again = sampler.draw(5, epoch, bucket)
        assert (draws.windows == again.windows).all()
        seen.append(draws.windows.tolist())
    assert sorted(seen[0]) != sorted(seen[1])  # other windows of class 3 come thrice
    assert len({*map(tuple, seen), tuple(sampler.draw(6, 0, bucket).windows)}) == 4


def test_epochs_of_all_windows_are_permutations():
    """The order is the one of versions without --sampling."""
    draws = make('all').draw(5, 2)
    assert draws.windows.tolist() == np.random.default_rng([5, 2]).permutation(17).tolist()
    assert not draws.copies.any()
    assert draws.augmented.all()
    assert make('all').draw(None, 2).windows.tolist() == list(range(17))
    assert make('all').describe(VIDEOS) == []


def test_a_balanced_epoch_weighs_classes_like_weights():
    """If counts divide the largest, the mean loss equals that of --class_weights=balanced."""
    sampler = make(counts={0: 12, 1: 3, 3: 4, 6: 1})
    losses = np.random.default_rng(1).exponential(size=20)
    weights = class_weights(np.bincount(sampler.labels, minlength=7), 'balanced')
    expected = (weights[sampler.labels] * losses).mean()
    assert losses[sampler.draw(0, 0).windows].mean() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('sampling', ['all', 'balanced'])
def test_no_batch_exceeds_the_most_frames(sampling):
    sampler = make(sampling)
    most = sampler.most_frames(4)
    found = [
        sampler.lengths[draws.windows[first : first + 4]].sum()
        for draws in (sampler.draw(0, epoch) for epoch in range(200))
        for first in range(0, sampler.size, 4)
    ]
    assert 0.8 * most < max(found) <= most
    assert make('all').most_frames(4) == sum(sorted(sampler.lengths)[-4:])


def test_augmented_windows_are_added_or_of_rarer_classes():
    draws = make(augmented='added').draw(0, 0)
    assert draws.augmented.sum() == 4 * 9 - 17
    assert (draws.augmented == (draws.copies > 0)).all()
    sampler = make('all', 'rarer')
    draws = sampler.draw(0, 0)
    assert set(sampler.labels[draws.windows[draws.augmented]]) == {1, 3, 6}  # fewer than 17 / 4
    assert draws.augmented.sum() == 3 + 4 + 1


def test_the_description_counts_windows_and_frames():
    sampler = make(augmented='added')
    frames = {label: sampler.lengths[sampler.labels == label].sum() for label in COUNTS}
    average = sum(9 * frames[label] / count for label, count in COUNTS.items())
    drawn = np.mean([sampler.lengths[sampler.draw(0, epoch).windows].sum() for epoch in range(300)])
    assert drawn == pytest.approx(average, rel=0.01)
    assert sampler.describe(VIDEOS) == [
        'sampling: an epoch has 9 windows of each of 4 classes. These are 36 windows, not 17, and '
        f'{average:.0f} frames on average, not {sampler.lengths.sum()}',
        'augmentation: of the 19 windows that sampling adds',
    ]
    assert make('all', 'rarer').describe(VIDEOS) == ['augmentation: of the 8 windows of Anger, Fear, Surprise']
    assert make(augmented='rarer').describe(STILLS) == [
        'sampling: an epoch has 9 stills of each of 4 classes. These are 36 stills, not 17',
        'augmentation: of the 27 stills of Anger, Fear, Surprise',
    ]


@pytest.mark.parametrize('augmented', ['added', 'rarer'])
def test_only_chosen_windows_of_a_batch_change(painted, augmented):
    """Others have the pixels of their files. Copies of a window change in different ways. Part of an epoch is equal."""
    split = load_split([str(painted / 'train.txt')], '', seq_len=7, min_frames=2, labelled=True)
    sampler = make_sampler(split, 'balanced', augmented)
    reading = Reading(32, 0, augment=('shift', 'colour'), bucket=True, sampling='balanced', augmented=augmented)
    with tf.Graph().as_default(), tf.Session() as session:
        pipeline = build_pipeline(split, 3, reading, shuffle_seed=5)

        def read(skip):
            session.run(pipeline.initializer, {pipeline.epoch: 1, pipeline.skip: skip})
            parts = [pipeline.batch.images, pipeline.batch.windows, pipeline.batch.lengths]
            return [session.run(parts) for _ in range(pipeline.num_batches - skip)]

        batches, rest = read(0), read(2)
    assert len(batches) == -(-sampler.size // 3)
    for batch, other in zip(batches[2:], rest, strict=True):
        assert all((part == again).all() for part, again in zip(batch, other, strict=True))
    draws = sampler.draw(5, 1, 3)
    assert np.concatenate([windows for _, windows, _ in batches]).tolist() == draws.windows.tolist()
    cut = [window for images, _, lengths in batches for window in np.split(images, np.cumsum(lengths)[:-1])]
    found = {}
    for index, _, is_augmented, images in zip(*draws, cut, strict=True):
        video, start, length = split.windows[index]
        paths = split.videos[video].frames[start : start + length]
        files = np.stack([cv2.imread(path)[..., ::-1] for path in paths]) / 127.5 - 1
        assert (np.abs(images - files).max() > 0.05) == is_augmented
        if is_augmented:
            assert not any((images == other).all() for other in found.get(index, []))
            found.setdefault(index, []).append(images)
    assert max(map(len, found.values())) > 1


def test_evaluation_visits_every_window_once(painted):
    split = load_split([str(painted / 'val.txt')], '', seq_len=7, min_frames=2, labelled=True)
    reading = Reading(32, 0, augment=('colour',), bucket=True, sampling='balanced', augmented='added')
    with tf.Graph().as_default(), tf.Session() as session:
        pipeline = build_pipeline(split, 3, reading, shuffle_seed=None)
        session.run(pipeline.initializer, {pipeline.epoch: 0, pipeline.skip: 0})
        windows = [session.run(pipeline.batch.windows) for _ in range(pipeline.num_batches)]
    assert np.concatenate(windows).tolist() == list(range(len(split.windows)))


RUNS = {
    'audio_gru': {
        'stage': 'audio',
        'model': 'audio_gru',
        'audio_noise': 0.3,
        'audio_time_mask': 0.4,
        'augment_windows': 'added',
        'bucket_by_length': True,
    },
    'temporal': {'stage': 'temporal', 'train_epochs': '2,1', 'rnn_dropout': 0.3},
}


@pytest.mark.parametrize('name', ['audio_gru', pytest.param('temporal', marks=pytest.mark.slow)])
def test_resumed_runs_equal_uninterrupted_ones(painted_sound, tmp_path, capsys, name):
    """The second session begins inside the second epoch. Phase one of `temporal` reads cached features."""
    settings = {'sampling': 'balanced', 'val_manifest': '', **RUNS[name]}
    if name == 'temporal':
        settings['feature_cache'] = str(tmp_path / 'cache')
    whole = tiny_config(painted_sound, run_dir=tmp_path / 'whole', **settings)
    parts = dataclasses.replace(whole, run_dir=str(tmp_path / 'parts'))
    train(whole, resume=False, overwrite=False)
    assert 'sampling: an epoch has 3 windows of each of 7 classes. These are 21 windows' in capsys.readouterr().out
    train(dataclasses.replace(parts, max_steps=7), resume=False, overwrite=False)
    train(parts, resume=True, overwrite=False)
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')


SETTINGS = {
    'weights too': ({'sampling': 'balanced', 'class_weights': 'sqrt'}, '--class_weights=sqrt: expected none with --sa'),
    'nothing added': ({'augment': 'flip', 'augment_windows': 'added'}, '--augment_windows=added: expected --sampling'),
    'nothing changed': ({'augment_windows': 'rarer'}, '--augment_windows=rarer: expected --augment, --audio_noise or'),
    'an unknown way': ({'sampling': 'odd'}, '--sampling=odd: expected one of all, balanced'),
}


@pytest.mark.parametrize('name', SETTINGS)
def test_settings_that_do_nothing_are_refused(painted_sound, name):
    changes, expected = SETTINGS[name]
    with pytest.raises(InputError) as error:
        check_config(tiny_config(painted_sound, 'finetune', run_dir='run', **changes))
    assert str(error.value).startswith(expected)
