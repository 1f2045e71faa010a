# SPDX-License-Identifier: Apache-2.0
"""Preparation of videos: alignment, AFEW's layout, manifests, ledgers, audio and damaged files."""

import shutil
from pathlib import Path

import cv2
import ffmpeg
import numpy as np
import pandas as pd
import pytest
from conftest import make_clip, realdata, run

from fer.emotions import AFEW_SPELLING
from fer.errors import InputError
from fer.manifest import LedgerRow, read_ledger, read_manifest
from fer.prepare.datasets.afew import find_videos
from fer.prepare.faces import TEMPLATE, Face, align, similarity
from fer.prepare.ffmpeg import FFMPEG
from fer.prepare.media import Choice
from fer.prepare.output_folder import open_output
from fer.prepare.prepared import Prepared
from fer.prepare.settings import Settings
from fer.prepare.smile.extract import clip_features
from fer.prepare.summary import describe_other_people
from fer.prepare_flags import read_prepare_flags

# The corpus is prepared once, in one of pytest-xdist's processes.
pytestmark = pytest.mark.xdist_group(__name__)


def test_similarity_undoes_a_similarity():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 2))
    angle, scale, shift = 0.7, 3.0, np.array([10.0, -4.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(points @ turn.T * scale + shift, points)
    back = (points @ turn.T * scale + shift) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(back, points, atol=1e-9)


def test_similarity_never_reflects():
    mirrored = TEMPLATE * [-1, 1]
    matrix = similarity(mirrored, TEMPLATE)
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize('side', [1.3, 0.35])  # one face smaller than the crop, and one larger
def test_aligned_landmarks_fall_on_the_template(side):
    """Alignment moves dots that are painted at the landmarks of a turned face to the template's places."""
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (TEMPLATE - 0.5) @ turn.T * 112 / side + 200
    for index in range(5):
        image = np.zeros((400, 400, 3), np.uint8)
        centre = landmarks[index]
        cv2.circle(image, tuple(np.rint(centre * 16).astype(int)), int(6 * 16 / side), (255, 255, 255), -1, shift=4)
        face = Face((0, 0, 1, 1), landmarks, 1.0)
        crop = align(image, face, 112, margin=0.25)
        assert crop.shape == (112, 112, 3)
        y, x = np.nonzero(crop[..., 0] > 128)
        expected = ((TEMPLATE[index] - 0.5) / 1.5 + 0.5) * 112
        np.testing.assert_allclose([x.mean(), y.mean()], expected, atol=0.6)


def test_afew_videos_are_found_by_split(tmp_path):
    for name in ('Train_AFEW/Angry/2.avi', 'Train_AFEW/Angry/1.avi', 'Train_AFEW/Sad/3.mp4', 'Test_AFEW/9.avi'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / 'Train_AFEW/Sad/notes.txt').touch()
    splits = find_videos(tmp_path)
    assert list(splits) == ['train', 'test']
    assert [(v.video_id, v.label, v.folder) for v in splits['train']] == [
        ('1', 1, 'Train_AFEW/Angry/1'),
        ('2', 1, 'Train_AFEW/Angry/2'),
        ('3', 5, 'Train_AFEW/Sad/3'),
    ]
    assert [(v.video_id, v.label, v.folder) for v in splits['test']] == [('9', None, 'Test_AFEW/9')]


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        ([], 'expected Train_AFEW'),
        (['Videos/1.avi'], "found ['Videos']"),
        (['Train_AFEW/Bored/1.avi'], "class 'Bored'"),
        (['Train_AFEW/Sad/readme.txt'], 'no videos'),
        (['Val_AFEW/Sad/1.avi', 'Val_AFEW/Fear/1.avi'], 'share an id'),
    ],
)
def test_wrong_afew_layout_is_refused(tmp_path, files, message):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError) as caught:
        find_videos(tmp_path)
    assert message in str(caught.value)


def remux(source, target, *, audio=True, **options):
    """Writes a copy of a video, with its audio changed or left out."""
    stream = ffmpeg.input(str(source))
    streams = [stream.video, stream.audio] if audio else [stream.video]
    output = ffmpeg.output(*streams, str(target), vcodec='copy', loglevel='error', **options)
    output.run(cmd=FFMPEG, overwrite_output=True)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    """Prepares a synthetic corpus, to which videos with many kinds of damage are added."""
    folder = tmp_path_factory.mktemp('prepare')
    sizes = ('--train_videos=9', '--val_videos=7', '--test_videos=2')
    run('-m', 'fer.prepare.synthetic', f'--output={folder / "raw"}', *sizes)
    good = sorted((folder / 'raw' / 'Train_AFEW' / 'Happy').glob('*.avi'))[0]
    sad, fear = (folder / 'raw' / 'Val_AFEW' / name for name in ('Sad', 'Fear'))
    make_clip(sad / 'faceless.avi', 25, 1)
    (sad / 'text.avi').write_text('not a video')
    (sad / 'zero.avi').touch()
    (sad / 'picture.avi').write_bytes(cv2.imencode('.png', np.zeros((48, 64, 3), np.uint8))[1].tobytes())
    (sad / 'cut.avi').write_bytes(good.read_bytes()[: good.stat().st_size * 2 // 3])
    (sad / 'gone.avi').symlink_to(folder / 'nowhere.avi')
    shutil.copy(good, fear / 'a "name", with \u00e4 and #.avi')
    shutil.copy(good, fear / 'line\nbreak.avi')
    remux(good, fear / 'mute.avi', audio=False)
    remux(good, fear / 'silent.avi', af='volume=0', acodec='pcm_s16le')
    remux(good, fear / 'short.avi', af='atrim=end=0.5', acodec='pcm_s16le')
    remux(good, fear / 'blip.avi', af='atrim=end=0.01', acodec='pcm_s16le')
    flags = (f'--source={folder / "raw"}', f'--output={folder / "data"}', '--detector=skin', '--image_size=40')
    done = run('-m', 'fer.prepare', *flags, ok=False)
    return folder, done


def read_table(prepared, video):
    """Returns frames.csv of a clip in Val_AFEW/Fear or Sad, and its row in the ledger of faces."""
    data = prepared[0] / 'data'
    (path,) = [path for path in (data / 'faces' / 'Val_AFEW').rglob('frames.csv') if path.parent.name == video]
    rows = {row.video_id: row for row in read_ledger(read_manifest(data / 'val.txt'))}
    return pd.read_csv(path, keep_default_na=False), rows[video]


def rows_of(prepared, manifest):
    item = 'video' if 'functionals' in manifest else 'frame'
    return {row.video_id: row for row in read_ledger(read_manifest(prepared[0] / 'data' / manifest, item=item))}


def test_damaged_videos_are_reported_and_the_rest_prepared(prepared):
    _, done = prepared
    assert done.code == 1
    assert done.err == ''
    for video, message in {
        'text.avi': 'undecodable Invalid data found when processing input',
        'zero.avi': 'undecodable an empty file',
        'picture.avi': 'undecodable a single picture; expected a video',
        'gone.avi': 'undecodable No such file or directory',
        'cut.avi': ' breaks off at ',
        'faceless.avi': 'no_face',
        'blip.avi': ' audio lost: 0.01',
    }.items():
        assert f'{video}: {message}' in done.out, video
    assert "'Val_AFEW/Fear/line\\nbreak': a name with a tab or a line break" in done.out
    for video in ('mute', 'silent', 'short', '#'):
        assert f'{video}.avi' not in done.out
    assert 'train: 9 videos, 9 with faces' in done.out
    assert 'val: 18 videos, 13 with faces' in done.out
    assert 'failures: 2 in part, 1 no_face, 4 undecodable' in done.out
    problems = pd.read_csv(prepared[0] / 'data' / 'val_problems.csv', index_col='video_id', keep_default_na=False)
    assert len(problems) == 7
    assert problems.loc['zero', ['gap', 'problem']].tolist() == ['undecodable', 'an empty file']


@pytest.mark.parametrize(('split', 'videos'), [('train', 9), ('val', 18), ('test', 2)])
def test_manifest_and_ledger_agree_with_the_files(prepared, split, videos):
    folder, _ = prepared
    manifest = read_manifest(folder / 'data' / f'{split}.txt')
    ledger = read_ledger(manifest)
    assert len(ledger) == videos
    by_id = {row.video_id: row for row in ledger}
    for video in manifest.videos:
        row = by_id.pop(video.video_id)
        assert (row.gap, row.label) == ('', video.label)
        assert 2 <= len(video.frames) == row.frames_kept <= row.frames_decoded
        numbers = [int(path[-9:-4]) for path in video.frames]  # counted from 1, by time
        table = pd.read_csv(Path(video.frames[0]).with_name('frames.csv'))
        assert table.frame.tolist() == list(range(1, row.frames_decoded + 1))
        assert table.frame[table.status == 'kept'].tolist() == numbers
        np.testing.assert_allclose(table.time, (table.frame - 1) * 0.04, atol=1e-9)
        assert table[table.status == 'kept'].notna().drop(columns='sound').all(axis=None)
        if video.video_id not in ('mute', 'short', 'blip', 'cut'):
            assert row.audio_seconds == pytest.approx(row.frames_decoded / 25, abs=0.08)
        for path in video.frames[:3]:
            assert cv2.imread(path).shape == (40, 40, 3)
    for row in by_id.values():
        assert row.gap in ('no_face', 'undecodable')
        assert row.frames_kept == 0


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_clips_and_faces_of_equal_number_belong_together(prepared, split):
    folder, _ = prepared
    data = folder / 'data'
    faces = {video.video_id: video for video in read_manifest(data / f'{split}.txt').videos}
    clips = {video.video_id: video for video in read_manifest(data / f'{split}_clips.txt').videos}
    both = {video.video_id: video for video in read_manifest(data / f'{split}_audiovisual.txt').videos}
    assert set(faces) - set(clips) == ({'mute', 'blip'} if split == 'val' else set())
    assert set(clips) == set(both)
    for name, video in both.items():
        assert (video.audio, video.frames) == (clips[name].audio, faces[name].frames)
        assert [Path(path).stem for path in video.audio] == [Path(path).stem for path in video.frames]
        # The values are those that openSMILE computes at the clip's time in the video's audio.
        wav = data / 'wav' / Path(video.frames[0]).parent.relative_to(data / 'faces').with_suffix('.wav')
        numbers = [int(Path(path).stem) for path in video.frames]
        expected = clip_features(wav, numbers[-1], 'contextual')
        for path, number in list(zip(video.audio, numbers, strict=True))[::7]:
            header, values = Path(path).read_text().splitlines()
            assert header.split(',') == expected.names
            np.testing.assert_array_equal(np.array(values.split(','), np.float32), expected.values[number - 1])


def test_missing_audio_is_marked_in_tables_and_ledgers(prepared):
    table, row = read_table(prepared, 'mute')
    assert (row.audio_seconds, row.gap) == (0, '')
    assert set(table.sound) == {''}
    table, row = read_table(prepared, 'silent')
    assert row.audio_seconds > 1
    assert set(table.sound) <= {'silent', 'padded'}  # the audio may be a fraction of a frame shorter
    table, row = read_table(prepared, 'short')
    assert row.audio_seconds == pytest.approx(0.5, abs=0.01)
    assert (table.sound[12:] == 'padded').all()
    assert not set(table.sound[:12]) - {'', 'silent'}
    clips, whole = rows_of(prepared, 'val_clips.txt'), rows_of(prepared, 'val_functionals.txt')
    assert [clips[name].gap for name in ('mute', 'blip', 'silent', 'short')] == ['no_audio', 'no_audio', '', '']
    assert [whole[name].gap for name in ('mute', 'blip', 'silent', 'short')] == ['no_audio', 'no_audio', '', '']
    # Functionals need no face. A video that cannot be decoded has neither face nor audio.
    assert (clips['faceless'].gap, whole['faceless'].gap) == ('no_face', '')
    assert (clips['text'].gap, whole['text'].gap) == ('undecodable', 'undecodable')
    assert len(clips) == len(whole) == 18


def test_functionals_have_one_line_per_video(prepared):
    manifest = read_manifest(prepared[0] / 'data' / 'train_functionals.txt', item='video')
    assert len(manifest.videos) == 9
    for video in manifest.videos[:2]:
        header, values = Path(video.audio[0]).read_text().splitlines()
        assert len(header.split(',')) == len(values.split(',')) == 6552


def test_statistics_are_written(prepared):
    folder, _ = prepared
    table = pd.read_csv(folder / 'data' / 'statistics' / 'classes_val.csv', index_col='class')
    assert table.loc['Sad', ['videos', 'no_face', 'undecodable']].tolist() == [7, 1, 4]
    assert (folder / 'data' / 'statistics' / 'lengths_train.png').stat().st_size > 1000


def test_labels_come_from_the_folders(prepared):
    folder, _ = prepared
    for video in read_manifest(folder / 'data' / 'train.txt').videos:
        assert video.frames[0].split('/')[-3] == AFEW_SPELLING[video.label]
    assert not read_manifest(folder / 'data' / 'test.txt').labelled


@pytest.mark.parametrize('mode', ['hold', 'reuse_box'])
def test_missing_faces_are_filled_when_asked(tmp_path, prepared, mode):
    folder, _ = prepared
    losing = [path for path in (folder / 'data' / 'faces').rglob('frames.csv') if 'no_face' in path.read_text()]
    source = next(path.parent for path in losing if 'kept' in path.read_text())
    before = pd.read_csv(source / 'frames.csv')
    (tmp_path / 'raw' / 'Sad').mkdir(parents=True)
    name = source.relative_to(folder / 'data' / 'faces')
    shutil.copy(folder / 'raw' / name.with_suffix('.avi'), tmp_path / 'raw' / 'Sad' / 'a.avi')
    shutil.copytree(tmp_path / 'raw', tmp_path / 'source' / 'train')
    flags = (f'--source={tmp_path / "source"}', f'--output={tmp_path / "data"}', '--detector=skin', '--image_size=40')
    run('-m', 'fer.prepare', '--dataset=folder', *flags, f'--missing_faces={mode}', '--arff')
    (path,) = (tmp_path / 'data' / 'faces').rglob('frames.csv')
    after = pd.read_csv(path)
    first = int(np.argmax(before.status == 'kept'))  # before the first face there is no face to hold
    status = {'hold': 'held', 'reuse_box': 'reused_box'}[mode]
    assert after.status[:first].tolist() == before.status[:first].tolist()
    assert after.status[first:].tolist() == before.status[first:].replace('no_face', status).tolist()
    box = ['left', 'top', 'width', 'height']
    if mode == 'reuse_box':  # the rows have the box that was used again
        before[box] = before[box].ffill()
    columns = [*box, 'score', 'nose_x', 'nose_y']
    pd.testing.assert_frame_equal(after[columns], before[columns])
    video = read_manifest(tmp_path / 'data' / 'train.txt').videos[0]
    assert [int(Path(frame).stem) for frame in video.frames] == list(range(first + 1, len(after) + 1))
    images = {int(Path(frame).stem): Path(frame).read_bytes() for frame in video.frames}
    for number in after.frame[after.status == status]:
        assert (images[number] == images[number - 1]) == (mode == 'hold')
    (whole,) = (tmp_path / 'data' / 'functionals').rglob('*.csv')
    for path in (whole, *(tmp_path / 'data' / 'clips').rglob('00005.csv')):
        names, values = path.read_text().splitlines()
        arff = path.with_suffix('.arff').read_text().splitlines()
        assert arff[2:-2] == [f'@attribute {name} numeric' for name in names.split(',')] + ['']
        assert arff[-2:] == ['@data', values]
    for number in before.frame[before.status == 'kept']:
        assert images[number] == (source / f'{number:05d}.jpg').read_bytes()


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--shard=3/2'], '--shard=3/2: expected i/n'),
        (['--shard=1/2', '--overwrite'], '--overwrite: one job would delete'),
        (['--audio_features=clips,words'], '--audio_features: found words'),
        (['--detector=none', '--margin=0.2'], '--margin=0.2: expected 0'),
        (['--margin=-0.3'], '--margin=-0.3: expected a share from -0.25 to 5'),
        (['--output=/proc/nothing/here'], '/proc/nothing'),
    ],
)
def test_bad_flags_are_refused_before_anything_is_written(tmp_path, prepared, flags, message):
    folder, _ = prepared
    done = run('-m', 'fer.prepare', f'--source={folder / "raw"}', f'--output={tmp_path / "out"}', *flags, ok=False)
    assert (done.code, done.out) == (2, '')
    assert len(done.err.splitlines()) == 1
    assert message in done.err
    assert not (tmp_path / 'out').exists()


def test_preparation_is_not_overwritten_without_the_flag(prepared):
    folder, _ = prepared
    before = (folder / 'data' / 'train.txt').read_bytes()
    done = run('-m', 'fer.prepare', f'--source={folder / "raw"}', f'--output={folder / "data"}', ok=False)
    assert done.code == 2
    assert 'other settings (--detector=mtcnn --detector=skin --image_size=112 --image_size=40); --overwrite' in done.err
    assert len(done.err.splitlines()) == 1
    assert (folder / 'data' / 'train.txt').read_bytes() == before
    flags = (folder / 'data' / 'prepare_flags.txt').read_text()
    assert '--detector=skin\n--image_size=40\n--margin=0.15\n' in flags
    done = run('-m', 'fer.prepare', f'--source={folder / "raw"}', f'--output={folder}', '--overwrite', ok=False)
    assert done.code == 2
    assert 'no prepare_flags.txt' in done.err


def test_recorded_flags_are_read_with_any_source(tmp_path):
    """A path may hold a line break, even one before text that looks like a flag."""
    open_output(tmp_path / 'data', '--dataset=afew\n--audio_source=\n', 'raw\n--jobs=2 of a\nb', overwrite=False)
    flags = {'dataset': 'afew', 'audio_source': '', 'source': 'raw\n--jobs=2 of a\nb'}
    assert read_prepare_flags(tmp_path / 'data' / 'train.txt') == flags
    assert read_prepare_flags(tmp_path / 'elsewhere' / 'train.txt') == {}


@pytest.mark.slow
def test_full_size_commands_on_real_video(tmp_path):
    """Real clips, MTCNN and VGG-Face at width 1.0 with windows of 80 frames: two steps, then evaluation."""
    source = realdata()
    for name, target in (
        ('Val_AFEW/Sad/000000001.mp4', 'Train_AFEW/Sad'),
        ('Val_AFEW/Happy/000000002.mp4', 'Val_AFEW/Happy'),
        ('no_face/000000003.mp4', 'Val_AFEW/Neutral'),
    ):
        (tmp_path / 'raw' / target).mkdir(parents=True)
        (tmp_path / 'raw' / target / name.split('/')[-1]).symlink_to(source / name)
    data, run_dir = tmp_path / 'data', tmp_path / 'run'
    done = run('-m', 'fer.prepare', '--dataset=afew', f'--source={tmp_path / "raw"}', f'--output={data}')
    assert '000000003.mp4: no_face' in done.out
    assert 'train: 1 videos, 1 with faces; 205 of 205 frames kept' in done.out
    assert 'val: 2 videos, 1 with faces; 60 of 160 frames kept' in done.out
    manifests = (f'--train_manifest={data / "train.txt"}', f'--val_manifest={data / "val.txt"}')
    size = ('--model=vgg_face', '--stage=finetune', '--seq_len=80', '--width=1.0', '--max_steps=2')
    run('train.py', *size, *manifests, f'--run_dir={run_dir}')
    done = run('evaluate.py', f'--run_dir={run_dir}', f'--manifest={data / "val.txt"}')
    assert 'val: 2 videos (1 without frames), 60 frames in 1 windows' in done.out
    assert (run_dir / 'results_val.txt').read_text().count('\n') == 3


def test_settings_keep_the_form_of_record_keys():
    settings = Settings('skin', 40, 0.15, 'follow', 'skip', ('clips',), 'contextual', False, Choice(None, None), None)
    assert repr(settings) == (
        "Settings(detector='skin', image_size=40, margin=0.15, person='follow', missing_faces='skip', "
        "audio_features=('clips',), clip_context='contextual', arff=False, streams=Choice(video=None, audio=None), "
        'sample_rate=None)'
    )


def test_frames_lost_to_other_people_are_printed():
    def prepared(statuses):
        row = LedgerRow('1', None, 10, 8, 1.0, '')
        return Prepared(row, [], [], '', statuses, {}, '', {})

    few, many = prepared({'kept': 9, 'other_person': 1}), prepared({'kept': 6, 'other_person': 4})
    assert describe_other_people([few]) == ''
    assert describe_other_people([few, many]) == (
        '5 of 20 frames (25%) show only another person than the one followed; --person=largest takes the largest face '
        'of every frame instead'
    )
