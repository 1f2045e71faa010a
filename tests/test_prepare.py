"""Preparation: decoding at 25 frames/s, alignment, AFEW's layout, manifests and ledgers."""

import cv2
import ffmpeg
import numpy as np
import pytest
from conftest import realdata, run

from fer.emotions import AFEW_SPELLING
from fer.errors import InputError
from fer.manifest import read_ledger, read_manifest
from fer.prepare.datasets.afew import find_videos
from fer.prepare.faces import TEMPLATE, Face, align, largest, similarity
from fer.prepare.ffmpeg import FFMPEG, MediaError, extract_wav, read_frames


def make_clip(path, rate, seconds, sound=True, **options):
    """A test picture that changes with time, 64x48, with a tone."""
    video = ffmpeg.input(f'testsrc=size=64x48:rate={rate}:duration={seconds}', f='lavfi')
    streams = [video]
    if sound:
        streams.append(ffmpeg.input(f'sine=frequency=440:duration={seconds}', f='lavfi'))
    output = ffmpeg.output(*streams, str(path), loglevel='error', **options)
    output.run(cmd=FFMPEG, overwrite_output=True)


@pytest.mark.parametrize(
    ('rate', 'container', 'seconds', 'expected'),
    [('25', 'avi', 2, 50), ('30', 'mp4', 2, 50), ('24000/1001', 'mkv', 3, 75), ('50', 'mov', 1, 25)],
)
def test_any_rate_becomes_25(tmp_path, rate, container, seconds, expected):
    path = tmp_path / f'a clip, "quoted".{container}'
    make_clip(path, rate, seconds)
    frames = list(read_frames(path))
    assert abs(len(frames) - expected) <= 1
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert all(frame.dtype == np.uint8 for frame in frames)
    wav = tmp_path / 'sound.wav'
    assert extract_wav(path, wav) == pytest.approx(seconds, abs=0.1)
    assert wav.stat().st_size > 44


def test_pictures_that_begin_after_the_sound(tmp_path):
    make_clip(tmp_path / 'a.mp4', 25, 1)
    picture, sound = ffmpeg.input(str(tmp_path / 'a.mp4'), itsoffset=0.4).video, ffmpeg.input(str(tmp_path / 'a.mp4'))
    late = ffmpeg.output(picture, sound.audio, str(tmp_path / 'late.mkv'), c='copy', loglevel='error')
    late.run(cmd=FFMPEG)
    frames, shifted = list(read_frames(tmp_path / 'a.mp4')), list(read_frames(tmp_path / 'late.mkv'))
    assert len(shifted) == len(frames) + 10
    for early in range(11):
        np.testing.assert_array_equal(shifted[early], frames[0])
    np.testing.assert_array_equal(shifted[15], frames[5])


def test_no_sound_track(tmp_path):
    make_clip(tmp_path / 'mute.avi', 25, 1, sound=False)
    assert extract_wav(tmp_path / 'mute.avi', tmp_path / 'mute.wav') == 0
    assert not (tmp_path / 'mute.wav').exists()


@pytest.mark.parametrize('content', [b'', b'no video at all'])
def test_not_a_video(tmp_path, content):
    (tmp_path / 'clip.avi').write_bytes(content)
    with pytest.raises(MediaError):
        list(read_frames(tmp_path / 'clip.avi'))


def test_reading_may_stop_early(tmp_path):
    make_clip(tmp_path / 'clip.avi', 25, 4)
    frames = read_frames(tmp_path / 'clip.avi')
    next(frames)
    frames.close()  # hangs, or leaves ffmpeg running, if the pipe is not closed


def test_similarity_undoes_a_similarity():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 2))
    angle, scale, shift = 0.7, 3.0, np.array([10.0, -4.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(points @ turn.T * scale + shift, points)
    back = (points @ turn.T * scale + shift) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(back, points, atol=1e-9)


def test_similarity_is_least_squares_not_reflection():
    mirrored = TEMPLATE * [-1, 1]
    matrix = similarity(mirrored, TEMPLATE)
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize('side', [1.3, 0.35])  # a face smaller and one larger than the crop
def test_aligned_landmarks_fall_on_the_template(side):
    """Dots painted at the landmarks of a turned face are found at the template's places."""
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


def test_largest_face():
    small, large = (Face((0, 0, s, s), TEMPLATE, 0.9) for s in (5.0, 7.0))
    assert largest([small, large]) is large
    assert largest([]) is None


def test_afew_layout(tmp_path):
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
    ('files', 'says'),
    [
        ([], 'expected Train_AFEW'),
        (['Videos/1.avi'], "found ['Videos']"),
        (['Train_AFEW/Bored/1.avi'], "class 'Bored'"),
        (['Train_AFEW/Sad/readme.txt'], 'no videos'),
        (['Val_AFEW/Sad/1.avi', 'Val_AFEW/Fear/1.avi'], 'share an id'),
    ],
)
def test_wrong_layout(tmp_path, files, says):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError) as caught:
        find_videos(tmp_path)
    assert says in str(caught.value)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    """A drawn corpus with a clip without face and a file that is no video, prepared."""
    folder = tmp_path_factory.mktemp('prepare')
    sizes = ('--train_videos=9', '--val_videos=7', '--test_videos=2')
    run('-m', 'fer.prepare.synthetic', f'--output={folder / "raw"}', *sizes)
    (folder / 'raw' / 'Train_AFEW' / 'Sad' / '999999998.avi').write_text('not a video')
    make_clip(folder / 'raw' / 'Val_AFEW' / 'Sad' / '999999999.avi', 25, 1)
    flags = (f'--source={folder / "raw"}', f'--output={folder / "data"}', '--detector=skin', '--image_size=40')
    done = run('-m', 'fer.prepare', *flags, ok=False)
    return folder, done


def test_prepare_reports_and_goes_on(prepared):
    _, done = prepared
    assert done.code == 1
    assert done.err == ''
    assert '999999998.avi: undecodable' in done.out
    assert '999999999.avi: no_face' in done.out
    assert 'train: 10 videos' in done.out
    assert 'val: 8 videos' in done.out


@pytest.mark.parametrize(('split', 'videos'), [('train', 10), ('val', 8), ('test', 2)])
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
        times = [int(path[-9:-4]) for path in video.frames]  # frame numbers count from 1 by time
        assert times == sorted(set(times))
        assert times[-1] <= row.frames_decoded
        assert row.audio_seconds == pytest.approx(row.frames_decoded / 25, abs=0.08)
        for path in video.frames[:3]:
            assert cv2.imread(path).shape == (40, 40, 3)
    for row in by_id.values():
        assert row.gap in ('no_face', 'undecodable')
        assert row.frames_kept == 0
    wavs = list((folder / 'data' / 'wav').rglob('*.wav'))
    assert len(wavs) == 19  # of every file that is a video


def test_labels_come_from_the_folders(prepared):
    folder, _ = prepared
    for video in read_manifest(folder / 'data' / 'train.txt').videos:
        assert video.frames[0].split('/')[-3] == AFEW_SPELLING[video.label]
    assert not read_manifest(folder / 'data' / 'test.txt').labelled


def test_prepare_never_overwrites_unasked(prepared):
    folder, _ = prepared
    before = (folder / 'data' / 'train.txt').read_bytes()
    done = run('-m', 'fer.prepare', f'--source={folder / "raw"}', f'--output={folder / "data"}', ok=False)
    assert done.code == 2
    assert '--overwrite' in done.err
    assert len(done.err.splitlines()) == 1
    assert (folder / 'data' / 'train.txt').read_bytes() == before
    flags = (folder / 'data' / 'prepare_flags.txt').read_text()
    assert '--detector=skin\n--image_size=40\n--margin=0.15\n' in flags
    done = run('-m', 'fer.prepare', f'--source={folder / "raw"}', f'--output={folder}', '--overwrite', ok=False)
    assert done.code == 2
    assert 'no prepare_flags.txt' in done.err


def test_real_clips_become_25_frames_a_second():
    folder = realdata()
    # 194 frames at 23.976, 72 at 30 and 98 at 24 frames/s, by their own time stamps.
    expected = {'Val_AFEW/Sad/000000001.mp4': 205, 'Val_AFEW/Happy/000000002.mp4': 60, 'no_face/000000003.mp4': 100}
    found = {name: sum(1 for _ in read_frames(folder / name)) for name in expected}
    assert found == expected


@pytest.mark.slow
def test_full_size_command_on_real_video(tmp_path):
    """Real clips, MTCNN, VGG-Face at width 1.0, windows of 80 frames: two steps, then evaluation."""
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
