# SPDX-License-Identifier: Apache-2.0
"""Manifests and ledgers: what is read from them, and the errors for malformed ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer.errors import InputError
from fer.manifest import LedgerRow, ledger_path, read_ledger, read_manifest, write_ledger, write_manifest


def write(folder, text, name='train.txt'):
    path = folder / name
    path.write_text(text, encoding='utf-8')
    return path


def test_a_visual_manifest_gives_videos(tmp_path):
    path = write(
        tmp_path,
        '# a comment\n\nfaces/Angry/0045/00001.jpg,0100000\nfaces/Angry/0045/00003.jpg,0100000\n'
        'faces/Sad/0046/00001.jpg,0000010\nfaces/Sad/0046/00002.jpg,0000010\n',
    )
    first, second = read_manifest(path).videos
    assert (first.video_id, first.label, first.lines, first.audio) == ('0045', 1, [3, 4], [])
    assert first.frames == [str(tmp_path / 'faces/Angry/0045/00001.jpg'), str(tmp_path / 'faces/Angry/0045/00003.jpg')]
    assert (second.video_id, second.label) == ('0046', 5)


def test_audio_visual_lines_give_both_paths(tmp_path):
    path = write(tmp_path, ''.join(f'clips/v1/{k:05d}.csv,faces/v1/{k:05d}.jpg,0000001\n' for k in (1, 2)))
    (video,) = read_manifest(path, data_root='/data').videos
    assert video.audio == ['/data/clips/v1/00001.csv', '/data/clips/v1/00002.csv']
    assert video.frames == ['/data/faces/v1/00001.jpg', '/data/faces/v1/00002.jpg']
    assert video.label == 6


def test_a_manifest_may_have_no_labels(tmp_path):
    manifest = read_manifest(write(tmp_path, 'faces/v1/1.jpg\nfaces/v1/2.jpg\n'))
    assert not manifest.labelled
    assert manifest.videos[0].label is None


def test_functionals_and_stills_have_an_item_a_line(tmp_path):
    path = write(tmp_path, 'audio/Angry/0045.csv,0100000\naudio/Angry/0046.csv,0100000\n')
    assert [video.video_id for video in read_manifest(path, item='video').videos] == ['0045', '0046']
    path = write(tmp_path, 'fer2013/00001.png,0100000\nrafdb/00001.png,0100000\n', 'stills.txt')
    assert [v.video_id for v in read_manifest(path, item='still').videos] == ['fer2013/00001', 'rafdb/00001']


@pytest.mark.parametrize(
    ('text', 'line', 'message'),
    [
        ('', None, 'no lines'),
        ('# nothing\n\n', None, 'no lines'),
        ('a/1.jpg,0100000\na/2.jpg,0110000\n', 2, 'single 1'),
        ('a/1.jpg,010000\n', 1, '7 digits'),
        ('a/1.jpg,Angry\n', 1, '7 digits'),
        ('a/1.jpg,0100000\na/2.jpg\n', 2, '1 columns'),
        ('a/1.jpg,0100000\na/1.csv,a/2.jpg,0100000\n', 2, '3 columns'),
        ('a/1.jpg,a/1.csv,0100000\n', 1, 'expected [audio.csv,]'),
        ('a/1.jpg,0100000\na/2.jpg,0010000\n', 2, 'inside video a'),
        ('a/1.jpg,0100000\n', 1, 'has 1 frame'),
        ('1.jpg,0100000\n', 1, 'no parent folder'),
        (
            'x/a/1.jpg,0100000\nx/a/2.jpg,0100000\ny/a/1.jpg,0100000\ny/a/2.jpg,0100000\n',
            3,
            'folders x/a (line 1) and y/a',
        ),
        ('a/1.jpg,0100000\nb/1.jpg,0100000\na/2.jpg,0100000\n', 3, 'began in line 1'),
        ('x"y/1.jpg,0100000\nx"y/2.jpg,0100000\n', 1, 'not quoted'),
        ('"a\tb/1.jpg",0100000\n', 1, 'with a tab or a line break'),
        ('a\0/1.jpg,0100000\n', 1, 'NUL'),
        ('a/1.csv,b/1.jpg,0100000\n', 1, 'same video'),
        ('a/1.csv,a/2.jpg,0100000\n', 1, 'same video'),
        ('"a/1.jpg,0100000\n', 1, 'quote'),
    ],
)
def test_malformed_manifests_are_errors(tmp_path, text, line, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    found = str(caught.value)
    assert found.startswith(f'{path}:{line}: ' if line else f'{path}: ')
    assert message in found
    assert '\n' not in found


def test_missing_and_binary_files_are_errors(tmp_path):
    with pytest.raises(InputError, match='No such file'):
        read_manifest(tmp_path / 'none.txt')
    (tmp_path / 'binary.txt').write_bytes(b'\xff\xfe\x00\x01')
    with pytest.raises(InputError, match='not UTF-8'):
        read_manifest(tmp_path / 'binary.txt')


def test_the_manifest_supplies_missing_labels(tmp_path):
    path = write(tmp_path, 'a/1.jpg,0100000\na/2.jpg,0100000\n')
    write_ledger(ledger_path(path), [LedgerRow('a', None, 9, 2, None, '')])
    assert read_ledger(read_manifest(path))[0].label == 1


def test_clips_and_faces_may_be_named_differently(tmp_path):
    path = write(tmp_path, 'c/v/a.csv,f/v/00001.jpg\nc/v/b.csv,f/v/00002.jpg\n')
    assert len(read_manifest(path).videos[0].frames) == 2


def test_min_frames_allows_single_frames(tmp_path):
    assert len(read_manifest(write(tmp_path, 'a/1.jpg,0100000\n'), min_frames=1).videos) == 1


names = st.text(st.characters(exclude_categories=('Cs', 'Cc'), exclude_characters='/\\'), min_size=1, max_size=8).map(
    lambda name: f'x{name}x'
)


@given(folders=st.lists(names, min_size=1, max_size=5, unique=True))
def test_any_name_survives_writing_and_reading(tmp_path_factory, folders):
    path = tmp_path_factory.mktemp('names') / 'train.txt'
    rows = [(f'#f,"{folder}\n/{folder}/{k}.jpg', '0001000') for folder in folders for k in (1, 2)]
    write_manifest(path, rows)
    videos = read_manifest(path, data_root='/').videos
    assert [video.video_id for video in videos] == folders
    assert [frame for video in videos for frame in video.frames] == ['/' + row[0] for row in rows]


def test_a_ledger_survives_writing_and_reading(tmp_path):
    path = write(tmp_path, 'a/1.jpg,0100000\na/2.jpg,0100000\n')
    rows = [LedgerRow('a', 1, 9, 2, 0.36, ''), LedgerRow('b', 0, 12, 0, 0.48, 'no_face')]
    write_ledger(ledger_path(path), rows)
    assert ledger_path(path).name == 'train.ledger.csv'
    assert read_ledger(read_manifest(path)) == rows


def test_a_manifest_without_a_ledger_gives_its_rows(tmp_path):
    path = write(tmp_path, 'a/1.jpg,0100000\na/2.jpg,0100000\n')
    assert read_ledger(read_manifest(path)) == [LedgerRow('a', 1, None, 2, None, '')]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('video,label\n', 'expected video_id,label'),
        ('video_id,label,frames_decoded,frames_kept,audio_seconds,gap\nb,Anger,3,2,0.1,\n', 'video a has no row'),
        ('video_id,label,frames_decoded,frames_kept,audio_seconds,gap\na,Sad,3,2,0.1,\n', 'Anger here and Sad'),
        ('video_id,label,frames_decoded,frames_kept,audio_seconds,gap\na,Anger,x,2,0.1,\n', ':2:'),
        ('video_id,label,frames_decoded,frames_kept,audio_seconds,gap\na,Anger,3,2\n', 'expected 6 fields'),
        ('video_id,label,frames_decoded,frames_kept,audio_seconds,gap\na,Anger,3,2,0.1,lost\n', "gap 'lost'"),
    ],
)
def test_malformed_ledgers_are_errors(tmp_path, text, message):
    path = write(tmp_path, 'a/1.jpg,0100000\na/2.jpg,0100000\n')
    (tmp_path / 'train.ledger.csv').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        read_ledger(read_manifest(path))
    assert message in str(caught.value)
