# SPDX-License-Identifier: Apache-2.0
"""Datasets: a small copy of each published layout, with wrong lines, each label, and the splits by subject."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, make_clip, run
from PIL import Image, ImageOps

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.manifest import read_ledger, read_manifest
from fer.prepare.datasets import DATASETS, Options
from fer.prepare.datasets.subjects import split_by_subject
from fer.prepare.layout import set_aside_unusable

LEVELS = (16, 48, 80, 112, 144, 176, 208)  # grey of an image of each class


def put(path, content=b''):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def paint(path, level=100, size=8):
    return put(path, cv2.imencode(path.suffix, np.full((size, size, 3), level, np.uint8))[1].tobytes())


def cut(path):
    """Cuts a file off, as an interrupted copy does."""
    path.write_bytes(path.read_bytes()[:40])


def find(dataset, source, **options):
    return DATASETS[dataset](source, Options(**options))


def prepare(tmp_path, dataset, source, *flags, code=0):
    """Runs the command. Returns the finished process and the output folder."""
    output = tmp_path / 'data'
    done = run(
        '-m', 'fer.prepare', f'--dataset={dataset}', f'--source={source}', f'--output={output}', *flags, ok=False
    )
    assert done.code == code, done
    assert (done.err == '') == (code != 2), done.err
    return done, output


def read_split(output, split, item='still'):
    """Returns the manifest's items with their classes' names, and the ledger's rows by id."""
    manifest = read_manifest(output / f'{split}.txt', item=item)
    rows = {row.video_id: row for row in read_ledger(manifest)}
    for video in manifest.videos:
        for path in video.frames:
            assert cv2.imread(path) is not None
        assert rows[video.video_id].gap == ''
        assert rows[video.video_id].frames_kept == len(video.frames)
    return [(video.video_id, EMOTIONS[video.label]) for video in manifest.videos], rows


def refuses(dataset, source, *texts, **options):
    with pytest.raises(InputError) as caught:
        find(dataset, source, **options)
    for text in texts:
        assert str(text) in str(caught.value)
    assert '\n' not in str(caught.value)


# FER2013

FER2013 = ('Anger', 'Disgust', 'Fear', 'Happy', 'Sad', 'Surprise', 'Neutral')


def fer2013_line(emotion, usage='Training', pixels=None):
    return f'{emotion},{pixels or " ".join(str(k % 256) for k in range(emotion, emotion + 2304))},{usage}\n'


def test_fer2013_is_prepared_with_its_labels(tmp_path):
    lines = [fer2013_line(emotion) for emotion in (*range(7), 7)]
    lines += [fer2013_line(3, 'PublicTest'), '\n', fer2013_line(4, 'PrivateTest')]
    put(tmp_path / 'raw/fer2013.csv', 'emotion,pixels,Usage\n' + ''.join(lines))
    done, output = prepare(tmp_path, 'fer2013', tmp_path / 'raw', code=1)
    items, rows = read_split(output, 'train')
    assert items == [(f'stills/train/{number:05d}', name) for number, name in enumerate(FER2013, start=1)]
    assert 'stills/train/00008' not in rows  # its label is unknown, so it can be neither trained on nor scored
    assert "train: 'train/00008.png': unknown label 7 (fer2013.csv:9)" in done.out
    assert 'train: 7 items, 7 usable; failures: none ->' in done.out
    assert read_split(output, 'val')[0] == [('stills/val/00009', 'Happy')]
    assert read_split(output, 'test')[0] == [('stills/test/00010', 'Sad')]
    image = cv2.imread(str(output / 'stills/train/00003.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(image, (np.arange(2304) + 2).astype(np.uint8).reshape(48, 48))


def test_fer2013_columns_may_have_any_order(tmp_path):
    put(tmp_path / 'fer2013.csv', f'emotion, Usage, pixels\n3, Training, {" ".join(["7"] * 2304)}\n')
    (still,) = find('fer2013', tmp_path)['train']
    assert (still.label, still.pixels) == (4, b'\x07' * 2304)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('0,1 2 3,Training\n', 'found 3 pixels; expected 2304'),
        (fer2013_line(0, pixels='256 ' * 2304), 'expected pixels from 0 to 255'),
        (fer2013_line(0, pixels='x ' * 2304), 'expected pixels from 0 to 255'),
        (fer2013_line(0, 'Sunday'), "Usage 'Sunday'"),
        (fer2013_line(0).replace('0,', 'angry,', 1), "found 'angry'; expected an emotion"),
        ('0,1 2 3\n', 'found 2 columns'),
    ],
)
def test_fer2013_wrong_line_is_refused(tmp_path, line, message):
    path = put(tmp_path / 'raw/fer2013.csv', 'emotion,pixels,Usage\n' + fer2013_line(1) + line)
    refuses('fer2013', tmp_path / 'raw', f'{path}:3: ', message)


def test_wrong_line_is_refused_before_anything_is_written(tmp_path):
    path = put(tmp_path / 'raw/fer2013.csv', 'emotion,pixels,Usage\n' + fer2013_line(1) + '0,1 2 3,Training\n')
    done, output = prepare(tmp_path, 'fer2013', tmp_path / 'raw', code=2)
    assert f'{path}:3: ' in done.err
    assert len(done.err.splitlines()) == 1
    assert not output.exists()


# RAF-DB

RAFDB = ('Surprise', 'Fear', 'Disgust', 'Happy', 'Sad', 'Anger', 'Neutral')


def make_rafdb(root, extra=''):
    lines = [f'train_{k:05d}.jpg {k}' for k in range(1, 8)] + ['test_0001.jpg 4', 'test_0002.jpg 6']
    put(root / 'EmoLabel/list_patition_label.txt', '\n'.join(lines) + '\n' + extra)
    for line in lines:
        paint(root / 'Image/aligned' / line.split()[0].replace('.jpg', '_aligned.jpg'))
    return root


@pytest.mark.parametrize('root', ['', 'basic'])
def test_rafdb_is_prepared_with_its_labels(tmp_path, root):
    extra = 'train_00008.jpg 1\ntrain_00009.jpg 8\n\ntrain_00001.png 2\ntrain_00010.jpg 2\n'
    images = make_rafdb(tmp_path / 'raw' / root, extra) / 'Image/aligned'
    paint(images / 'train_00009_aligned.jpg')
    put(images / 'train_00010_aligned.jpg')  # zero bytes
    done, output = prepare(tmp_path, 'rafdb', tmp_path / 'raw', code=1)
    items, rows = read_split(output, 'train')
    prefix = '/'.join(filter(None, ('source', root, 'Image/aligned')))
    assert items == [(f'{prefix}/train_{k:05d}_aligned', name) for k, name in enumerate(RAFDB, start=1)]
    gaps = [(row.label, row.gap) for row in rows.values() if row.gap]
    assert gaps == [(6, 'missing'), (3, 'undecodable')]
    assert 'unknown label 8 (list_patition_label.txt:11)' in done.out
    assert 'train_00008_aligned.jpg: missing no such file (list_patition_label.txt:10)' in done.out
    assert 'train: 9 items, 7 usable; failures: 1 missing, 1 undecodable' in done.out
    assert 'left out: 1 named twice' in done.out
    assert [name for _, name in read_split(output, 'test')[0]] == ['Happy', 'Anger']


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        ('train_00008.jpg\n', 'found 1 columns'),
        ('train_00008.jpg happy\n', "found 'happy'; expected a label"),
        ('valid_00008.jpg 1\n', 'expected a name such as train_00001.jpg'),
        ('train_00008.jpg 1 2\n', 'found 3 columns'),
    ],
)
def test_rafdb_wrong_line_is_refused(tmp_path, extra, message):
    make_rafdb(tmp_path, extra)
    refuses('rafdb', tmp_path, 'list_patition_label.txt:10: ', message)


def test_rafdb_without_images_is_refused(tmp_path):
    make_rafdb(tmp_path)
    for path in (tmp_path / 'Image/aligned').iterdir():
        path.unlink()
    refuses('rafdb', tmp_path, 'none of the 9 items it names can be used', 'train_00001_aligned.jpg: no such file')


# AffectNet

AFFECTNET = ('Neutral', 'Happy', 'Sad', 'Surprise', 'Fear', 'Disgust', 'Anger')
AFFECTNET_HEADER = (
    'subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n'
)


def affectnet_line(name, expression):
    return f'{name},10,10,120,120,30.1;40.2;50.3;60.4,{expression},0.1,-0.2\n'


def test_affectnet_csv_release_is_prepared_with_its_labels(tmp_path):
    lists, images = tmp_path / 'raw/Manually_Annotated_file_lists', tmp_path / 'raw/Manually_Annotated_Images'
    lines = [affectnet_line(f'{k}/image{k}.jpg', k) for k in range(11)]
    lines += [affectnet_line('11/gone.jpg', 1), affectnet_line('12/odd.jpg', 11), affectnet_line('13/c.bmp', 6)]
    put(lists / 'training.csv', AFFECTNET_HEADER + ''.join(lines))
    put(lists / 'validation.csv', affectnet_line('1/image1.jpg', 2))  # as published, without a header
    for k in range(11):
        paint(images / f'{k}/image{k}.jpg')
    paint(images / '12/odd.jpg')
    paint(images / '13/c.bmp', level=77)
    done, output = prepare(tmp_path, 'affectnet', tmp_path / 'raw', '--detector=none', code=1)
    items, rows = read_split(output, 'train')
    below = 'Manually_Annotated_Images'
    assert items == [(f'source/{below}/{k}/image{k}', name) for k, name in enumerate(AFFECTNET)] + [
        (f'stills/{below}/13/c', 'Anger')
    ]
    assert rows[f'source/{below}/11/gone'].gap == 'missing'
    assert f'source/{below}/12/odd' not in rows
    assert 'odd.jpg' in done.out
    assert 'left out: 1 Contempt, 1 Non-face, 1 None, 1 Uncertain' in done.out
    assert (cv2.imread(str(output / f'stills/{below}/13/c.png')) == 77).all()
    assert [name for _, name in read_split(output, 'val')[0]] == ['Sad']


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        (affectnet_line('1/b.jpg', 'happy'), "found 'happy'"),
        ('1/b.jpg,1\n', 'found 2 columns'),
        (affectnet_line('../../b.jpg', 1), 'expected the path of an image'),
        ('"1/b.jpg,1,2,3,4,5,6,7,8\n', 'expected a list file'),
    ],
)
def test_affectnet_wrong_line_is_refused(tmp_path, line, message):
    put(tmp_path / 'training.csv', AFFECTNET_HEADER + affectnet_line('1/a.jpg', 1) + line)
    refuses('affectnet', tmp_path, 'training.csv:3: ', message)


def save_expression(folder, number, value):
    paint(folder / f'images/{number}.jpg')
    (folder / 'annotations').mkdir(exist_ok=True)
    np.save(folder / f'annotations/{number}_exp.npy', value)


def make_affectnet_arrays(root):
    for k in range(8):
        save_expression(root / 'train_set', k, np.array(str(k)))
    save_expression(root / 'val_set', 5, np.array([2.0]))
    return root


def test_affectnet_newer_release_is_prepared_with_its_labels(tmp_path):
    train = make_affectnet_arrays(tmp_path / 'raw') / 'train_set'
    for number, value in ((10, np.array(3)), (11, np.array(b'6')), (12, np.array('x')), (13, np.array(99))):
        save_expression(train, number, value)
    save_expression(train, 14, np.array({'a': 'pickle'}, dtype=object))
    put(train / 'annotations/15_exp.npy')
    save_expression(train, 16, np.array('1'))
    (train / 'images/16.jpg').unlink()
    done, output = prepare(tmp_path, 'affectnet', tmp_path / 'raw', code=1)
    items, rows = read_split(output, 'train')
    expected = [*enumerate(AFFECTNET), (10, 'Surprise'), (11, 'Anger')]
    assert items == [(f'source/train_set/images/{k}', name) for k, name in expected]
    missing = [row.video_id for row in rows.values() if row.gap == 'missing']
    assert missing == ['source/train_set/images/16']
    assert all(f'images/{k}' in done.out for k in (12, 13, 14, 15))  # their labels cannot be read
    assert read_split(output, 'val')[0] == [('source/val_set/images/5', 'Sad')]


def test_affectnet_annotations_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (put, (tmp_path / 'sprung',))

    train = make_affectnet_arrays(tmp_path / 'raw') / 'train_set'
    save_expression(train, 9, np.array(Trap(), dtype=object))
    stills = find('affectnet', tmp_path / 'raw')['train']
    assert not (tmp_path / 'sprung').exists()
    assert stills[-1].problem.startswith('9_exp.npy: ')


def test_affectnet_classes_are_capped_by_seed(tmp_path):
    for k in range(30):
        save_expression(tmp_path / 'train_set', k, np.array(str(k % 3)))
    for k in range(6):
        save_expression(tmp_path / 'val_set', k, np.array('0'))
    splits = find('affectnet', tmp_path, class_cap=4, seed=1)
    assert [still.label for still in splits['train']].count(0) == 4
    assert len(splits['train']) == 12
    assert len(splits['val']) == 6
    assert splits.left_out['above the cap of 4 a class'] == 18
    assert splits == find('affectnet', tmp_path, class_cap=4, seed=1)
    assert splits != find('affectnet', tmp_path, class_cap=4, seed=2)


# RAVDESS and CREMA-D

RAVDESS = {1: 'Neutral', 3: 'Happy', 4: 'Sad', 5: 'Anger', 6: 'Fear', 7: 'Disgust', 8: 'Surprise'}
CREMAD = {'ANG': 'Anger', 'DIS': 'Disgust', 'FEA': 'Fear', 'HAP': 'Happy', 'NEU': 'Neutral', 'SAD': 'Sad'}


def make_ravdess(root, actors=24):
    for actor in range(1, actors + 1):
        for modality in (1, 2):
            for emotion in range(1, 9):
                put(root / f'Actor_{actor:02d}/{modality:02d}-01-{emotion:02d}-01-02-01-{actor:02d}.mp4')
    put(root / 'Audio/03-01-05-01-01-01-01.wav')
    return root


def make_cremad(root, actors=91):
    for actor in range(1001, 1001 + actors):
        for emotion in CREMAD:
            put(root / f'VideoFlash/{actor}_DFA_{emotion}_XX.flv')
    return root


def by_actor(splits, actor_of):
    return {split: {actor_of(video.video_id) for video in videos} for split, videos in splits.items()}


def test_ravdess_videos_are_split_by_actor(tmp_path):
    root = make_ravdess(tmp_path)
    put(root / 'Actor_03/01-01-09-01-02-01-03.mp4')
    put(root / 'Actor_03/holiday.mp4')
    put(root / 'Actor_03/._01-01-05-01-02-01-03.mp4')  # a companion file that a Mac adds to archives
    splits = find('ravdess', root)
    videos = [video for split in splits.values() for video in split]
    assert len(videos) == 24 * 7 + 1
    (odd,) = [video for video in videos if video.problem]
    assert (odd.video_id, odd.label, odd.problem) == ('01-01-09-01-02-01-03', None, 'unknown emotion 09')
    for video in videos:
        if video is not odd:
            assert EMOTIONS[video.label] == RAVDESS[int(video.video_id.split('-')[2])]
    assert {video.label for video in videos if not video.problem} == set(range(7))
    assert splits.left_out == {'Calm': 24, 'modality 02': 24 * 8, '.wav file': 1}
    (problem,) = splits.problems
    assert 'holiday.mp4' in problem
    actors = by_actor(splits, lambda video_id: video_id[-2:])
    assert [len(actors[split]) for split in ('train', 'val', 'test')] == [20, 2, 2]
    assert len(set.union(*actors.values())) == 24


def test_cremad_videos_are_split_by_actor(tmp_path):
    root = make_cremad(tmp_path)
    put(root / 'VideoFlash/1040_ITH_SAD_XX.flv')
    put(root / 'AudioWAV/1040_ITH_SAD_X.wav')  # a letter is missing in this published name
    put(root / '.git/config')
    splits = find('cremad', root)
    assert splits.left_out == {'.wav file': 1}
    videos = [video for split in splits.values() for video in split]
    assert len(videos) == 91 * 6 + 1
    for video in videos:
        assert EMOTIONS[video.label] == CREMAD[video.video_id.split('_')[2]]
    actors = by_actor(splits, lambda video_id: video_id[:4])
    assert [len(actors[split]) for split in ('train', 'val', 'test')] == [73, 9, 9]
    assert len(set.union(*actors.values())) == 91
    (root / 'VideoFlash/1040_ITH_SAD_XX.flv').rename(root / 'VideoFlash/1040_ITH_SAD_X.flv')
    assert sum(map(len, find('cremad', root).values())) == 91 * 6 + 1
    put(root / 'VideoFlash/1001_DFA_SUR_XX.flv')
    assert [v.problem for split in find('cremad', root).values() for v in split if v.problem] == ['unknown emotion SUR']


@pytest.mark.parametrize(('dataset', 'make'), [('ravdess', make_ravdess), ('cremad', make_cremad)])
def test_seed_decides_which_people_are_held_out(tmp_path, dataset, make):
    root = make(tmp_path / 'raw')
    first, again, other = (find(dataset, root, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first.subjects == again.subjects != other.subjects


def test_split_by_subject_ignores_the_order():
    subjects = split_by_subject(['b', 'a', 'c', 'a'], seed=0)
    assert sorted(subjects) == ['a', 'b', 'c']
    assert sorted(subjects.values()) == ['test', 'train', 'val']
    assert subjects == split_by_subject(['c', 'b', 'a'], seed=0)
    with pytest.raises(InputError, match='at least 3'):
        split_by_subject(['a', 'b'], seed=0)


def test_ravdess_videos_are_prepared(tmp_path):
    """Actors are held out and listed. A file with an unknown emotion is listed and does not stop the rest."""
    for actor in (1, 2, 3):
        path = tmp_path / f'raw/Actor_{actor:02d}/01-01-05-01-02-01-{actor:02d}.mp4'
        path.parent.mkdir(parents=True)
        make_clip(path, 25, 0.2)
    put(tmp_path / 'raw/Actor_01/01-01-11-01-02-01-01.mp4')
    done, output = prepare(tmp_path, 'ravdess', tmp_path / 'raw', '--detector=skin', '--seed=5', code=1)
    with open(output / 'split_subjects.csv', newline='') as file:
        header, *rows = csv.reader(file)
    assert header == ['subject', 'split']
    assert [subject for subject, _ in rows] == ['01', '02', '03']
    assert sorted(split for _, split in rows) == ['test', 'train', 'val']
    assert 'unknown emotion 11' in done.out
    ledgers = ''.join((output / f'{split}.ledger.csv').read_text() for _, split in rows)
    assert ledgers.count('Anger') == 3
    assert '01-01-11-01-02-01-01' not in ledgers
    assert '--seed=5\n' in (output / 'prepare_flags.txt').read_text()


# DFEW and FERV39k

DFEW = ('Happy', 'Sad', 'Neutral', 'Anger', 'Surprise', 'Disgust', 'Fear')
FERV39K = {'Happy': 'Happy', 'Sad': 'Sad', 'Neutral': 'Neutral', 'Angry': 'Anger', 'Surprise': 'Surprise'} | {
    name: name for name in ('Disgust', 'Fear')
}


def make_dfew(root, fold=1, extra=''):
    lines = ''.join(f'{k},{k}\n' for k in range(1, 8))
    put(root / f'EmoLabel_DataSplit/train(single-labeled)/set_{fold}.csv', 'video_name,label\n' + lines + extra)
    put(root / f'EmoLabel_DataSplit/test(single-labeled)/set_{fold}.csv', 'video_name,label\n16372,3\n')
    return root


def paint_faces(folder, count):
    for k in range(1, count + 1):
        paint(folder / f'{k}.jpg')


def test_dfew_faces_are_prepared_with_their_labels(tmp_path):
    root = make_dfew(tmp_path / 'raw', fold=2, extra='8,1\n9,0\n')
    for k in (*range(1, 8), 9, 16372):
        paint_faces(root / f'Clip/clip_224x224/{k:05d}', 11)
    done, output = prepare(tmp_path, 'dfew', root, '--fold=2', code=1)
    items, rows = read_split(output, 'train', item='frame')
    assert items == [(f'{k:05d}', name) for k, name in enumerate(DFEW, start=1)]
    assert [(row.video_id, row.label) for row in rows.values() if row.gap == 'missing'] == [('00008', 4)]
    assert 'unknown label 0 (set_2.csv:10)' in done.out
    assert 'no such video (set_2.csv:9)' in done.out
    assert 'train: 8 videos, 7 with faces; 77 of 77 frames kept; failures: 1 missing' in done.out
    video = read_manifest(output / 'test.txt').videos[0]
    assert (video.video_id, video.label) == ('16372', 0)
    assert [path.split('/')[-1] for path in video.frames] == [f'{k}.jpg' for k in range(1, 12)]  # 2 before 10


def test_dfew_originals_are_preferred_to_faces(tmp_path):
    root = make_dfew(tmp_path)
    for k in (*range(1, 8), 16372):
        put(root / f'Clip/original/part_{k % 3}/{k}.mp4')
    paint_faces(root / 'Clip/clip_224x224/00001', 2)
    splits = find('dfew', root)
    assert [(v.video_id, EMOTIONS[v.label], v.path.name, v.problem) for v in splits['train']] == [
        (f'{k:05d}', name, f'{k}.mp4', '') for k, name in enumerate(DFEW, start=1)
    ]


@pytest.mark.parametrize('unpacked', ['clip_224x224/', ''])
def test_dfew_faces_in_parts_are_found(tmp_path, unpacked):
    """The official archives unpack to such parts. Some clips may be beside the parts."""
    root = make_dfew(tmp_path)
    for k in (1, 2, 16372):
        paint_faces(root / f'Clip/{unpacked}clip_224x224_part_{(k - 1) // 1600 + 1}/{k:05d}', 2)
    paint_faces(root / 'Clip/clip_224x224/00003', 2)
    for k in range(1, 8):
        paint_faces(root / f'Clip/clip_224x224_16f/{k:05d}', 2)
    splits = find('dfew', root)
    clips = {video.video_id: str(video.path.relative_to(root)) for split in splits.values() for video in split}
    assert clips['00002'] == f'Clip/{unpacked}clip_224x224_part_1/00002'
    assert clips['00003'] == 'Clip/clip_224x224/00003'
    assert clips['16372'] == f'Clip/{unpacked}clip_224x224_part_11/16372'
    assert [video.video_id for video in splits['train'] if not video.problem] == ['00001', '00002', '00003']


def test_dfew_interpolated_faces_are_used_last(tmp_path):
    root = make_dfew(tmp_path)
    paint_faces(root / 'Clip/clip_224x224_16f/00001', 2)
    (root / 'Clip/clip_224x224').mkdir()
    assert find('dfew', root)['train'][0].path == root / 'Clip/clip_224x224_16f/00001'


def test_dfew_lists_with_an_underscore_are_found(tmp_path):
    """The authors' own description spells the folders with an underscore."""
    root = make_dfew(tmp_path)
    paint_faces(root / 'Clip/clip_224x224/00001', 2)
    for split in ('train', 'test'):
        (root / f'EmoLabel_DataSplit/{split}(single-labeled)').rename(
            root / f'EmoLabel_DataSplit/{split}(single_labeled)'
        )
    assert {split: len(videos) for split, videos in find('dfew', root).items()} == {'train': 7, 'test': 1}


def test_dfew_without_clips_is_refused(tmp_path):
    root = make_dfew(tmp_path)
    refuses('dfew', root, root / 'Clip', 'original/1.mp4', 'clip_224x224/00001', 'no folder of that name')


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        ('8\n', 'found 1 columns'),
        ('eight,1\n', "found 'eight'"),
        ('8,Happy\n', "found 'Happy'"),
        ('8,\n', "found ''"),
        (',\n', "found ''"),
    ],
)
def test_dfew_wrong_line_is_refused(tmp_path, extra, message):
    root = make_dfew(tmp_path, extra=extra)
    paint_faces(root / 'Clip/clip_224x224/00001', 2)
    refuses('dfew', root, 'set_1.csv:9: ', message)


def make_ferv39k(root, extra='', faces='2_ClipsforFaceCrop'):
    lines = [f'Action/{name}/0001 {name}' for name in FERV39K]
    put(root / '4_setups/All_scenes/train_All.csv', '\n'.join(lines) + '\n' + extra)
    put(root / '4_setups/All_scenes/test_All.csv', 'School/Fear/0001 Fear\n')
    for line in (*lines, 'School/Fear/0001 Fear'):
        paint_faces(root / faces / line.split()[0], 3)
    return root


@pytest.mark.parametrize('faces', ['2_ClipsforFaceCrop/2_ClipsforFaceCrop', 'Image/CropFace/2_ClipsforFaceCrop'])
def test_ferv39k_faces_in_other_folders_are_found(tmp_path, faces):
    make_ferv39k(tmp_path / 'FERV39k', faces=faces)
    paint_faces(tmp_path / 'FERV39k/3_ClipsforScenImages/Action/Fear/0001', 3)
    splits = find('ferv39k', tmp_path)
    assert {str(video.path.parents[2]) for split in splits.values() for video in split} == {
        str(tmp_path / 'FERV39k' / faces)
    }


@pytest.mark.parametrize(
    ('lists', 'faces'), [('FERV39k', '.'), ('FERV39k', '2_ClipsforFaceCrop'), ('.', 'FERV39k'), ('FERV39k', 'FERV39k')]
)
def test_ferv39k_lists_and_faces_may_be_apart(tmp_path, lists, faces):
    """The archives of lists and of faces are unpacked one by one."""
    archives, source = make_ferv39k(tmp_path / 'archives'), tmp_path / 'raw'
    for folder, name in ((lists, '4_setups'), (faces, '2_ClipsforFaceCrop')):
        (source / folder).mkdir(parents=True, exist_ok=True)
        (archives / name).rename(source / folder / name)
    splits = find('ferv39k', source)
    assert not any(video.problem for split in splits.values() for video in split)
    assert splits['test'][0].path == source / faces / '2_ClipsforFaceCrop/School/Fear/0001'


def test_ferv39k_without_clips_is_refused(tmp_path):
    make_ferv39k(tmp_path / 'FERV39k', faces='Faces')
    refuses('ferv39k', tmp_path, tmp_path, 'FERV39k/2_ClipsforFaceCrop', "found ['FERV39k']")


def test_ferv39k_faces_are_prepared_with_their_labels(tmp_path):
    root = make_ferv39k(tmp_path / 'raw', 'Action/Fear/0002 Fear\nAction/Bored/0001 Bored\n')
    done, output = prepare(tmp_path, 'ferv39k', root, code=1)
    items, rows = read_split(output, 'train', item='frame')
    assert items == [(f'Action_{code}_0001', name) for code, name in FERV39K.items()]
    gaps = {row.video_id: (row.label, row.gap) for row in rows.values() if row.gap}
    assert gaps == {'Action_Fear_0002': (3, 'missing')}
    assert "unknown label 'Bored' (train_All.csv:9)" in done.out
    assert read_split(output, 'test', item='frame')[0] == [('School_Fear_0001', 'Fear')]
    assert (root / '2_ClipsforFaceCrop/School/Fear/0001/1.jpg').exists()
    prepare(tmp_path, 'ferv39k', root, '--overwrite', code=1)  # removes the links, not the dataset
    assert (root / '2_ClipsforFaceCrop/School/Fear/0001/1.jpg').exists()


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        ('Action/Fear/0002\n', 'found 1 columns'),
        ('Action/0002 Fear\n', 'expected a path such as'),
        ('Action/../0002 Fear\n', 'expected a path such as'),
    ],
)
def test_ferv39k_wrong_line_is_refused(tmp_path, extra, message):
    refuses('ferv39k', make_ferv39k(tmp_path, extra), 'train_All.csv:8: ', message)


# AFEW's faces, and folders named after classes


def test_afew_folders_of_faces_are_prepared(tmp_path):
    names = ('Neutral', 'Angry', 'Disgust', 'Fear', 'Happy', 'Sad', 'Surprise')
    for k, name in enumerate(names):
        paint_faces(tmp_path / f'raw/Train_AFEW/{name}/00000{k}', 12)
    paint_faces(tmp_path / 'raw/Train_AFEW/Sad/000008', 1)
    (tmp_path / 'raw/Train_AFEW/Sad/000009').mkdir()
    put(tmp_path / 'raw/Train_AFEW/Angry/000001/13.jpg', 'no image')
    cut(tmp_path / 'raw/Train_AFEW/Angry/000001/12.jpg')
    paint_faces(tmp_path / 'raw/Test_AFEW/000007', 2)
    done, output = prepare(tmp_path, 'afew', tmp_path / 'raw', code=1)
    items, rows = read_split(output, 'train', item='frame')
    assert sorted(items) == [(f'00000{k}', name) for k, name in enumerate(EMOTIONS)]
    assert 'faces/Train_AFEW/Angry/000001/10.jpg,0100000\n' in (output / 'train.txt').read_text()
    assert rows['000001'][2:4] == (13, 11)
    assert (rows['000008'].gap, rows['000009'].gap) == ('no_face', 'no_face')
    assert '12.jpg: truncated JPEG (40 bytes, no end-of-image marker); 13.jpg: not a JPEG or PNG' in done.out
    assert read_manifest(output / 'test.txt').labelled is False


def make_afew(root):
    """Writes AFEW with the faces that EmotiW publishes. Ids 4 and 9 have no faces, and 99 has no video."""
    for name in ('Train_AFEW/Angry/1', 'Train_AFEW/Angry/2', 'Train_AFEW/Sad/4', 'Val_AFEW/Fear/5', 'Test_AFEW/9'):
        put(root / f'{name}.avi')
    put(root / 'Test_AFEW/Test_vid_Distribute/Test_vid_Distribute/7.avi')
    train = root / 'Train_AFEW/AlignedFaces_LBPTOP_Points'
    for path in (
        *(train / 'Faces/1', train / 'Faces/2', train / 'Faces/99', train / 'LBPTOP/1', train / 'Points/1'),
        root / 'Val_AFEW/AlignedFaces_LBPTOP_Points_Val/AlignedFaces_LBPTOP_Points_Val/Faces/5',
        root / 'Test_AFEW/Test_2017_Faces_Distribute/7',
    ):
        paint_faces(path, 11)
    return root


def test_afew_videos_beside_published_faces_are_found(tmp_path):
    splits = find('afew', make_afew(tmp_path))
    assert [(video.video_id, video.label, video.folder) for split in splits.values() for video in split] == [
        ('1', 1, 'Train_AFEW/Angry/1'),
        ('2', 1, 'Train_AFEW/Angry/2'),
        ('4', 5, 'Train_AFEW/Sad/4'),
        ('5', 3, 'Val_AFEW/Fear/5'),
        ('9', None, 'Test_AFEW/9'),
        ('7', None, 'Test_AFEW/7'),
    ]
    assert all(video.path.suffix == '.avi' for split in splits.values() for video in split)
    assert splits.left_out == {
        f'folder {name}': 1
        for name in ('AlignedFaces_LBPTOP_Points', 'AlignedFaces_LBPTOP_Points_Val', 'Test_2017_Faces_Distribute')
    }


def test_afew_published_faces_are_not_videos(tmp_path):
    """Published faces are not videos even in a split whose videos are folders of faces."""
    paint_faces(tmp_path / 'Train_AFEW/Angry/1', 2)
    paint_faces(tmp_path / 'Test_AFEW/2', 2)
    for split in ('Train', 'Test'):
        paint_faces(tmp_path / f'{split}_AFEW/AlignedFaces/Faces/1', 2)
    splits = find('afew', tmp_path)
    assert [video.folder for split in splits.values() for video in split] == ['Train_AFEW/Angry/1', 'Test_AFEW/2']
    assert [video.path.name for video in find('afew_faces', tmp_path)['train']] == ['1']


def test_afew_published_faces_are_prepared(tmp_path):
    root = make_afew(tmp_path / 'raw')
    done, output = prepare(tmp_path, 'afew_faces', root, code=1)
    items, rows = read_split(output, 'train', item='frame')
    assert items == [('1', 'Anger'), ('2', 'Anger')]
    assert (rows['4'].label, rows['4'].gap) == (5, 'missing')
    assert 'Train_AFEW/Sad/4.avi: missing no published faces' in done.out
    assert 'Train_AFEW/AlignedFaces_LBPTOP_Points/Faces/99: faces of no video in Train_AFEW' in done.out
    assert 'faces/Train_AFEW/Angry/1/10.jpg,0100000\n' in (output / 'train.txt').read_text()
    assert (output / 'faces/Train_AFEW/Angry/1').resolve().parts[-3:] == ('AlignedFaces_LBPTOP_Points', 'Faces', '1')
    assert read_split(output, 'val', item='frame')[0] == [('5', 'Fear')]
    test = read_manifest(output / 'test.txt')
    assert ([video.video_id for video in test.videos], test.labelled) == (['7'], False)
    assert [row.gap for row in read_ledger(test)] == ['missing', '']


def test_afew_faces_without_published_faces_is_refused(tmp_path):
    put(tmp_path / 'Train_AFEW/Angry/1.avi')
    put(tmp_path / 'Train_AFEW/AlignedFaces_LBPTOP_Points/Points/1/1.mat')
    refuses('afew_faces', tmp_path, 'expected published faces such as', "'AlignedFaces_LBPTOP_Points', 'Angry'")


def test_every_file_of_afew_is_accounted_for(tmp_path):
    names = ('Angry/1.avi', 'Angry/2.MTS', 'Angry/3.jpg', 'Angry/1.png', 'Angry/notes.txt', 'Angry/old/1.jpg', 'Readme')
    for name in (*names, 'Sad/4.3gp', '5.avi', 'Angry/.DS_Store'):
        put(tmp_path / 'Train_AFEW' / name)
    put(tmp_path / 'Test_AFEW/6.avi')
    put(tmp_path / 'Test_AFEW/list.txt')
    splits = find('afew', tmp_path)
    assert [video.path.name for video in splits['train']] == ['1.avi', '2.MTS', '3.jpg', '4.3gp']
    assert splits.left_out == {'.txt file': 2, 'no suffix file': 1, 'folder beside videos': 1}
    first, second = sorted(splits.problems)
    assert first.endswith('Train_AFEW/5.avi: outside the folders of emotions; not read')
    assert '1.png: an image with the id of ' in second


def test_afew_images_beside_faces_are_listed(tmp_path):
    paint_faces(tmp_path / 'Train_AFEW/Angry/1', 2)
    put(tmp_path / 'Train_AFEW/Angry/2.jpg')
    splits = find('afew', tmp_path)
    assert [video.video_id for video in splits['train']] == ['1']
    assert splits.problems == [f'{tmp_path}/Train_AFEW/Angry/2.jpg: an image; expected videos, or folders of faces']


def test_image_among_videos_is_undecodable(tmp_path):
    for name in ('1.ts', '2.avi'):
        (tmp_path / 'raw/Val_AFEW/Sad').mkdir(parents=True, exist_ok=True)
        make_clip(tmp_path / 'raw/Val_AFEW/Sad' / name, 25, 0.2)
    paint(tmp_path / 'raw/Val_AFEW/Sad/3.jpg', size=64)
    done, output = prepare(tmp_path, 'afew', tmp_path / 'raw', '--detector=none', '--image_size=16', code=1)
    items, rows = read_split(output, 'val', item='frame')
    assert items == [('1', 'Sad'), ('2', 'Sad')]
    assert rows['3'].gap == 'undecodable'
    assert '3.jpg: undecodable a single picture; expected a video' in done.out


def test_folder_of_images_is_prepared_with_its_labels(tmp_path):
    spelled = ('neutral', 'angry', 'Disgust', 'fearful', 'happiness', 'SAD', 'surprised')
    for split, count in (('train', 3), ('validation', 1)):
        for folder, level in zip(spelled, LEVELS, strict=True):
            for k in range(count):
                paint(tmp_path / f'raw/{split}/{folder}/a, "{k}".png', level)
    put(tmp_path / 'raw/train/SAD/broken.jpg', 'no image')
    cut(paint(tmp_path / 'raw/train/SAD/cut.jpg'))
    cut(paint(tmp_path / 'raw/train/SAD/short.png'))
    put(tmp_path / 'raw/train/SAD/notes.txt')
    put(tmp_path / 'raw/train/SAD/line\nbreak.jpg')
    paint(tmp_path / 'raw/test/SAD/名\u3000前é.jpg')
    paint(tmp_path / 'raw/train/contempt/1.png')
    done, output = prepare(tmp_path, 'folder', tmp_path / 'raw', code=1)
    manifest = read_manifest(output / 'train.txt', item='still')
    assert [EMOTIONS[video.label] for video in manifest.videos].count('Sad') == 3
    for split, count in (('train', 21), ('val', 7)):
        videos = read_manifest(output / f'{split}.txt', item='still').videos
        assert len(videos) == count
        for video in videos:
            assert cv2.imread(video.frames[0])[0, 0, 0] == LEVELS[video.label]
    assert 'broken.jpg: undecodable not a JPEG or PNG' in done.out
    assert 'cut.jpg: undecodable truncated JPEG' in done.out
    assert 'short.png: undecodable truncated PNG' in done.out
    assert 'left out: 1 .txt file, 1 Contempt' in done.out
    assert 'no manifest can hold this name' in done.out
    assert read_split(output, 'test')[0] == [('source/test/SAD/名\u3000前é', 'Sad')]
    assert not (output / 'split_subjects.csv').exists()


def oriented(path, image, orientation):
    """Writes an image with unturned pixels and an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {'.jpg': {'quality': 95}, '.webp': {'lossless': True}}.get(path.suffix, {})
    if path.suffix == '.tif':
        Image.fromarray(image).save(path, tiffinfo={0x0112: orientation})
    else:
        Image.fromarray(image).save(path, exif=exif, **options)


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tif'])
def test_stills_are_upright_whatever_their_format(tmp_path, suffix):
    """All EXIF orientations are compared with Pillow, which turns images itself."""
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 3, 3), np.uint8), (48, 64), interpolation=0)
    for orientation in range(1, 9):
        path = tmp_path / 'raw' / 'train' / 'Happy' / f'{orientation}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        oriented(path, image, orientation)
    done = run('-m', 'fer.prepare', '--dataset=folder', f'--source={tmp_path / "raw"}', f'--output={tmp_path / "data"}')
    assert 'train: 8 items, 8 usable' in done.out
    for video in read_manifest(tmp_path / 'data' / 'train.txt', item='still').videos:
        (path,) = map(Path, video.frames)
        with Image.open(tmp_path / 'raw' / 'train' / 'Happy' / f'{path.stem}{suffix}') as source:
            expected = np.asarray(ImageOps.exif_transpose(source)).astype(int)
        stored = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)[..., ::-1]
        assert stored.shape == expected.shape
        assert np.abs(stored - expected).max() < 12  # JPEG


def test_transparent_stills_get_a_grey_background(tmp_path):
    image = np.zeros((8, 8, 4), np.uint8)
    image[:4] = (10, 20, 200, 255)
    image[4:6] = (10, 20, 200, 128)
    put(tmp_path / 'raw/train/Sad/a.png')
    Image.fromarray(image).save(tmp_path / 'raw/train/Sad/a.png')
    run('-m', 'fer.prepare', '--dataset=folder', f'--source={tmp_path / "raw"}', f'--output={tmp_path / "data"}')
    stored = cv2.imread(str(tmp_path / 'data' / 'stills' / 'train' / 'Sad' / 'a.png'))[:, 0, ::-1]
    assert stored[[0, 4, 7]].tolist() == [[10, 20, 200], [68, 73, 164], [127, 127, 127]]


def test_linked_folders_are_entered_once(tmp_path):
    """The source has links to actors in another folder, a second link to one of them, and a circle."""
    here, there = tmp_path / 'here', tmp_path / 'there'
    for place, actors in ((here, '123'), (there, '456')):
        for actor in actors:
            for emotion in '135':
                put(place / f'Actor_0{actor}' / f'01-01-0{emotion}-01-01-01-0{actor}.mp4')
    for actor in '456':
        (here / f'Actor_0{actor}').symlink_to(there / f'Actor_0{actor}')
    (here / 'again').symlink_to(there / 'Actor_04')
    (here / 'Actor_01' / 'circle').symlink_to(here)
    splits = find('ravdess', here)
    assert sum(map(len, splits.values())) == 18
    assert len(splits.subjects) == 6
    assert not splits.left_out


def test_a_locale_without_utf8_gives_the_same_bytes(tmp_path):
    if shutil.which('localedef') is None:
        pytest.skip('no localedef here')
    locale = tmp_path / 'locales' / 'de_DE.ISO-8859-1'
    locale.parent.mkdir()
    subprocess.run(['localedef', '-i', 'de_DE', '-f', 'ISO-8859-1', str(locale)], capture_output=True)
    if not locale.is_dir():
        pytest.skip('no sources of locales here')
    for name in ('N_\u0130_AKTA\u015e', 'b', 'c', 'd'):
        path = tmp_path / 'raw' / 'Happy' / f'{name}.png'
        put(path)
        Image.new('RGB', (8, 8)).save(path)
    written = {}
    for locale in ('C.UTF-8', 'de_DE.ISO-8859-1'):
        output = tmp_path / locale
        command = [sys.executable, '-m', 'fer.prepare', '--dataset=folder', f'--source={tmp_path / "raw"}']
        environment = {**os.environ, 'LOCPATH': str(tmp_path / 'locales'), 'LC_ALL': locale}
        environment.pop('PYTHONUTF8', None)
        subprocess.run([*command, f'--output={output}'], cwd=ROOT, env=environment, check=True, capture_output=True)
        written[locale] = {
            path.name: path.read_bytes() for path in output.glob('*.[tc][xs][tv]') if 'flags' not in path.name
        }
    assert any('AKTA\u015e'.encode() in content for content in written['C.UTF-8'].values())
    assert written['C.UTF-8'] == written['de_DE.ISO-8859-1']


def test_moved_source_is_linked_again(tmp_path):
    """The same command with the new place changes the links to images and to faces."""
    for name in ('stills/train/Sad/1.jpg', 'faces/Train_AFEW/Sad/1/1.jpg', 'faces/Train_AFEW/Sad/1/2.jpg'):
        paint(tmp_path / 'before' / name)
    for dataset, item, kind in (('folder', 'still', 'stills'), ('afew', 'frame', 'faces')):
        prepare(tmp_path / kind, dataset, tmp_path / 'before' / kind)
        (tmp_path / 'before' / kind).rename(tmp_path / kind / 'after')
        _, output = prepare(tmp_path / kind, dataset, tmp_path / kind / 'after')
        assert len(read_split(output, 'train', item=item)[0]) == 1


def test_folder_without_splits_is_split(tmp_path):
    for k in range(20):
        paint(tmp_path / f'raw/{"Happy" if k % 2 else "Sad"}/{k}.jpg')
    _, output = prepare(tmp_path, 'folder', tmp_path / 'raw')
    sizes = {split: read_split(output, split)[0] for split in ('train', 'val', 'test')}
    assert [len(items) for items in sizes.values()] == [16, 2, 2]
    assert len({name for items in sizes.values() for name, _ in items}) == 20
    assert len((output / 'split_subjects.csv').read_text().splitlines()) == 21


def test_every_file_of_a_folder_is_accounted_for(tmp_path):
    for name in ('train/Happy/1.jpg', 'train/Happy/1.txt', 'train/2.jpg', 'train/2.md', 'train/Sad/old/3.jpg'):
        put(tmp_path / name)
    for name in ('4.mp4', 'Readme', 'labels/5.txt', '__MACOSX/train/6.jpg'):
        put(tmp_path / name)
    splits = find('folder', tmp_path)
    assert [still.name for still in splits['train']] == ['train/Happy/1.jpg']
    others = {'.txt file': 1, '.md file': 1, 'no suffix file': 1, 'folder beside those of splits': 2}
    assert splits.left_out == others
    assert [problem.partition(': ')[0] for problem in splits.problems] == [
        str(tmp_path / name) for name in ('train/Sad/old', '4.mp4', 'train/2.jpg')
    ]


def test_folder_of_videos_is_found(tmp_path):
    for name in ('train/Happy/1.mp4', 'train/Sad/1.mp4', 'test/Sad/1.avi'):
        put(tmp_path / name)
    splits = find('folder', tmp_path)
    assert [(v.video_id, EMOTIONS[v.label], v.folder) for split in splits.values() for v in split] == [
        ('Happy_1', 'Happy', 'train/Happy/Happy_1'),
        ('Sad_1', 'Sad', 'train/Sad/Sad_1'),
        ('Sad_1', 'Sad', 'test/Sad/Sad_1'),
    ]


@pytest.mark.parametrize(
    ('images', 'videos', 'taken', 'listed'),
    [
        (4, 3, '.jpg', 'a video among images'),
        (3, 4, '.mp4', 'an image among videos'),
        (3, 3, '.mp4', 'an image among videos'),
    ],
)
def test_larger_group_of_a_mixed_folder_is_used(tmp_path, images, videos, taken, listed):
    for suffix, count in (('.jpg', images), ('.mp4', videos)):
        for k in range(count):
            put(tmp_path / f'{"Sad" if k else "Happy"}/{k}{suffix}')
    splits = find('folder', tmp_path)
    found = [item.path for split in splits.values() for item in split]
    assert len(found) == max(images, videos)
    assert {path.suffix for path in found} == {taken}
    assert len(splits.problems) == min(images, videos)
    assert all(listed in problem for problem in splits.problems)


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        (['Bored/1.jpg'], 'Bored: expected a folder named after a class'),
        (['1.jpg'], 'expected folders named after classes'),
        (['Happy/1.txt'], 'no image, video or audio'),
        (['train/Happy/1.jpg', 'Training/Sad/1.jpg'], 'expected one folder of each split'),
        (['Happy/1.jpg', 'Happy/1.png'], 'share an id'),
    ],
)
def test_folder_with_wrong_layout_is_refused(tmp_path, files, message):
    for name in files:
        put(tmp_path / name)
    refuses('folder', tmp_path, message)


# All datasets


def test_videos_with_long_names_are_set_aside(tmp_path):
    """AFEW's ids are the names of files. In the dataset `folder`, ids begin with the class."""
    longest = 'ä' * 120
    for name in (longest, f'{longest}b', longest[:-4]):
        put(tmp_path / f'Train_AFEW/Sad/{name}.avi')
    splits = find('afew', tmp_path)
    set_aside_unusable(splits)
    assert [video.video_id for video in splits['train']] == [longest[:-4], longest]
    reason = 'a name of more than 240 bytes; rename the file'
    assert splits.problems == [f"train: 'Train_AFEW/Sad/{longest}b': {reason}"]
    (tmp_path / 'Train_AFEW').rename(tmp_path / 'train')
    splits = find('folder', tmp_path)
    set_aside_unusable(splits)
    assert [video.video_id for video in splits['train']] == [f'Sad_{longest[:-4]}']


def test_video_with_the_longest_name_is_prepared(tmp_path):
    (tmp_path / 'raw/Train_AFEW/Sad').mkdir(parents=True)
    name = 'n' * 240
    make_clip(tmp_path / 'raw/Train_AFEW/Sad' / f'{name}.avi', 25, 0.2)
    _, output = prepare(tmp_path, 'afew', tmp_path / 'raw', '--detector=none', '--image_size=16', '--arff')
    assert read_split(output, 'train', item='frame')[0] == [(name, 'Sad')]


@pytest.mark.parametrize(
    ('dataset', 'expected'),
    [
        ('afew', 'Train_AFEW'),
        ('afew_faces', 'Train_AFEW'),
        ('fer2013', 'fer2013.csv'),
        ('rafdb', 'list_patition_label.txt'),
        ('affectnet', 'training.csv'),
        ('ravdess', '01-01-06-01-02-01-12.mp4'),
        ('cremad', '1001_DFA_ANG_XX.flv'),
        ('dfew', 'EmoLabel_DataSplit'),
        ('ferv39k', '4_setups'),
        ('folder', 'named after classes'),
    ],
)
def test_wrong_source_is_refused(tmp_path, dataset, expected):
    put(tmp_path / 'Readme.txt')
    refuses(dataset, tmp_path, tmp_path, expected, "found ['Readme.txt']")


def test_every_dataset_is_offered():
    done = run('-m', 'fer.prepare', '--help')
    assert f'<{"|".join(DATASETS)}>' in re.sub(r'\s', '', done.out)
    stills, speech = ['fer2013', 'rafdb', 'affectnet'], ['emodb', 'tess', 'savee']
    assert list(DATASETS) == ['afew', 'afew_faces', *stills, 'ravdess', 'cremad', *speech, 'dfew', 'ferv39k', 'folder']
