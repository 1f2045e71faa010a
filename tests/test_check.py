# SPDX-License-Identifier: Apache-2.0
"""python -m fer.data.check finds every problem of a corpus, and none in a clean one."""

import csv
import json
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
from conftest import paint_split, run
from test_bad_frames import damage_inside

from fer.data.check.corpus import KINDS, check_corpus
from fer.data.check.drift import mean_by_video, measure_image
from fer.data.check.duplicates import ImageFingerprints, find_duplicates, find_equal_audio
from fer.data.check.report import format_report
from fer.errors import InputError
from fer.prepare.synthetic.frames import draw_frames
from fer.prepare.synthetic.plan import clip_rng, plan_split
from fer.prepare.synthetic.script import write_script
from fer.sample_rates import write_rates
from fer.tf1 import tf


@pytest.fixture
def data(painted_sound, tmp_path):
    """Copies the corpus, so that a test may damage it."""
    return shutil.copytree(painted_sound, tmp_path / 'data')


def manifests(data, kind=''):
    return [str(data / f'{split}{kind}.txt') for split in ('train', 'val')]


def file_of(data, line, field=-2, split='train', kind=''):
    return data / (data / f'{split}{kind}.txt').read_text().splitlines()[line - 1].split(',')[field]


def edit_lines(path, edit):
    path.write_text('\n'.join(edit(path.read_text().splitlines())) + '\n')


def swap(first, second):
    """Swaps two lines, counted from 1."""

    def edit(lines):
        lines[first - 1], lines[second - 1] = lines[second - 1], lines[first - 1]
        return lines

    return edit


def found(report):
    return [(problem.kind, problem.line) for problem in report.problems]


@pytest.mark.parametrize(('kind', 'item'), [('', 'frame'), ('_audiovisual', 'frame'), ('_functionals', 'video')])
def test_a_clean_corpus_has_no_problems(data, kind, item):
    report = check_corpus(manifests(data, kind), item=item)
    assert found(report) == []
    text = format_report(report)
    assert text.endswith('\nclean')
    counts = '(1 without audio), 8 lines' if item == 'video' else '(1 without frames), 31 lines'
    assert f'{data}/train{kind}.txt: 9 videos {counts}' in text
    assert ('  images: 31 of 32x32' in text) == (item == 'frame')
    assert '  Neutral         3 videos' in text  # one of them without a face


def test_every_kind_of_damaged_image_is_found(data):
    damage_inside(file_of(data, 2))
    path = file_of(data, 5)
    path.write_bytes(path.read_bytes()[:300])
    file_of(data, 7).write_bytes(b'')
    file_of(data, 8).write_text('not an image')
    file_of(data, 10).unlink()
    cv2.imwrite(str(file_of(data, 15)), np.random.default_rng(0).integers(0, 255, (20, 50, 3)).astype(np.uint8))
    report = check_corpus(manifests(data))
    assert found(report) == [*(('image', line) for line in (2, 5, 7, 8, 10)), ('size', 15)]
    for problem, what in zip(
        report.problems,
        (
            'damaged inside',
            'truncated JPEG',
            'empty file',
            'not a JPEG',
            'No such file',
            '50x20 pixels; expected 32x32',
        ),
        strict=True,
    ):
        assert what in problem.what
        assert problem.path == str(file_of(data, problem.line))
    assert report.manifests[0].sizes == {(32, 32): 25, (50, 20): 1}
    sizes = Counter(problem.kind for problem in check_corpus(manifests(data), image_size=64).problems)
    assert sizes == {'image': 5, 'size': 26 + 20}


def test_every_kind_of_damaged_audio_is_found(data):
    file_of(data, 3, 0, kind='_audiovisual').unlink()
    clip = file_of(data, 9, 0, kind='_audiovisual')
    clip.write_text(clip.read_text().replace('feature_5,', 'loudness,'))
    clip = file_of(data, 12, 0, kind='_audiovisual')
    header, values = clip.read_text().splitlines()
    clip.write_text(f'{header}\nnan,inf,{",".join(values.split(",")[2:])}\n')
    paths = manifests(data, '_audiovisual')
    report = check_corpus(paths)
    assert found(report) == [('sound', 3), ('sound', 9), ('nonfinite', 12)]
    assert '2 values are NaN or infinite, the first feature_0' in report.problems[2].what
    assert found(check_corpus(paths, nonfinite='mean')) == [('sound', 3), ('sound', 9)]
    for line in range(1, 21):  # of the other manifest, whose files agree with each other
        clip = file_of(data, line, 0, 'val', '_audiovisual')
        clip.write_text(clip.read_text().replace('feature_5,', 'loudness,'))
    report = check_corpus(paths, nonfinite='mean')
    assert found(report) == [('sound', 3), ('sound', 9), ('sound', 0)]
    assert str(report.problems[2]) == f'{paths[1]}: other audio features than {paths[0]}'


def test_order_ledger_and_alignment_are_checked(data):
    edit_lines(data / 'train.txt', swap(2, 3))
    assert found(check_corpus(manifests(data))) == [('order', 3)]
    edit_lines(data / 'val.txt', lambda lines: lines[:2] + lines[3:9] + lines[10:])  # of val000 and of val002
    report = check_corpus(manifests(data))
    assert found(report) == [('ledger', 1), ('ledger', 9), ('frames', 9), ('order', 3)]
    assert report.problems[0].what == '2 frames; its ledger counts 3'
    edit_lines(data / 'val.txt', lambda lines: [line for line in lines if 'val003' not in line])
    assert 'val003: no line in the manifest, and no gap' in format_report(check_corpus(manifests(data)))
    edit_lines(data / 'val_audiovisual.txt', lambda lines: [*lines[:1], lines[1].replace('2.csv', '3.csv'), *lines[2:]])
    (data / 'train_audiovisual.ledger.csv').write_text('video,label\n')
    report = check_corpus([*manifests(data, '_audiovisual'), str(data / 'nowhere.txt')])
    assert found(report) == [('manifest', 0), ('manifest', 0), ('ledger', 0)]  # each is named, and the others are read
    assert 'audio 00003 of val000 beside face 00002 of val000' in report.problems[0].what
    assert 'nowhere.txt: No such file' in report.problems[1].what


def encode_again(source, target, size, quality):
    image = cv2.resize(cv2.imread(str(source)), (size, size), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(target), image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def test_duplicates_in_two_splits_are_found(data):
    """Plants copies, and images that are compressed again, smaller or larger. Duplicates within a split are ignored."""
    source, target = (sorted((data / 'faces' / name).iterdir()) for name in ('train006', 'val001'))  # six frames each
    rng = np.random.default_rng(0)
    for path in source:  # shapes, because noise does not survive a change of size
        shapes = cv2.resize(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8), (32, 32), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), shapes)
    shutil.copy(source[0], target[0])
    shutil.copy(source[1], target[5])
    encode_again(source[2], target[1], 32, 60)
    encode_again(source[3], target[2], 26, 90)
    encode_again(source[4], target[3], 64, 80)
    shutil.copy(source[0], source[5])  # neighbours, and videos of one split, may be alike
    shutil.copy(source[0], data / 'faces' / 'train002' / '00001.jpg')
    report = check_corpus(manifests(data))
    duplicates = [problem for problem in report.problems if problem.kind == 'duplicate']
    assert {(problem.video_id, problem.line) for problem in duplicates} == {('train002', 9), ('train006', 23)}
    assert duplicates[1].what == (
        f'6 of its 6 images are in {data}/val.txt as well, 3 of them to the byte: video val001 (line 4); Surprise '
        'here, Anger there'
    )
    assert Counter(kind for kind, _ in found(report)) == {'duplicate': 2, 'size': 2}


def test_a_video_in_two_manifests_is_found(data):
    """Under any name, by its images, or by its audio if it has no images."""
    moved = (data / 'faces' / 'val004').rename(data / 'faces' / 'val900')
    shutil.rmtree(data / 'faces' / 'train004')
    shutil.copytree(moved, data / 'faces' / 'train004')
    edit_lines(data / 'val.txt', lambda lines: [line.replace('val004', 'val900') for line in lines])
    edit_lines(data / 'val.ledger.csv', lambda lines: [line.replace('val004', 'val900') for line in lines])
    (data / 'faces' / 'train004' / '00005.jpg').unlink()
    (problem,) = check_corpus(manifests(data)).problems
    assert (problem.kind, problem.video_id) == ('duplicate', 'train004')
    assert '4 of its 4 images are in' in problem.what
    assert '4 of them to the byte: video val900' in problem.what
    shutil.copy(data / 'functionals' / 'val000.csv', data / 'functionals' / 'train003.csv')
    (problem,) = check_corpus(manifests(data, '_functionals'), item='video').problems
    assert (problem.kind, problem.line) == ('duplicate', 4)
    assert 'the audio of video val000' in problem.what
    assert problem.what.endswith('; Fear here, Neutral there')


def test_dark_images_and_silence_are_not_duplicates(tmp_path):
    dark, silence = np.full((3, 16, 18), 4, np.uint8), np.zeros((5, 112), np.float32)
    dark[:, ::2] += 2
    first, second = (ImageFingerprints(np.arange(3), np.arange(3) + k, dark) for k in (0, 5))
    assert find_duplicates(first, second) == []
    assert find_duplicates(first, first) == [(k, k, 1, 1) for k in range(3)]  # copies
    assert find_duplicates(first, ImageFingerprints.empty()) == find_duplicates(ImageFingerprints.empty(), first) == []
    changing = silence + np.arange(5)[:, None]
    assert find_equal_audio([silence], [silence]) == []
    assert find_equal_audio([silence[:1], changing], [changing]) == [(1, 0)]


def test_the_command_prints_and_writes_problems(data, tmp_path):
    file_of(data, 10).unlink()
    command = ('-m', 'fer.data.check', f'--manifest={data / "train.txt"}', f'--manifest={data / "val.txt"}')
    done = run(*command, f'--output={tmp_path / "out"}', ok=False)
    assert (done.code, done.err) == (2, '')
    *_, kind, example, last = done.out.splitlines()
    assert kind == f'image: 1, {KINDS["image"]}'
    assert example == f'  {data}/train.txt:10: {file_of(data, 10)}: No such file or directory; expected an image'
    assert last == 'problems: 1'
    with open(tmp_path / 'out' / 'problems.csv') as file:
        (row,) = csv.DictReader(file)
    assert (row['kind'], row['line'], row['video_id']) == ('image', '10', 'train002')
    summary = json.loads((tmp_path / 'out' / 'summary.json').read_text())
    assert summary['problems'] == {**dict.fromkeys(KINDS, 0), 'image': 1}
    assert [one['lines'] for one in summary['manifests']] == [31, 20]
    assert summary['manifests'][1]['classes']['Anger'] == {'videos': 1, 'lines': 6}


@pytest.mark.parametrize(('name', 'value'), [('min_frames', -1), ('image_size', -1), ('jobs', -2)])
def test_settings_out_of_range_are_errors(data, name, value):
    with pytest.raises(InputError, match=f'--{name}={value}: expected'):
        check_corpus(manifests(data), **{name: value})


@pytest.mark.slow
def test_copies_of_synthetic_videos_are_found(tmp_path):
    """60 different videos against 40, then with a tenth of them copied, compressed and resized."""
    for split, name, size in (('Train', 'train', 60), ('Val', 'val', 40)):
        paint_split(tmp_path, name, [12] * size, seed=0)
        for index, plan in enumerate(plan_split(split, size, 0)):
            frames = draw_frames(write_script(plan, 0), clip_rng(plan, 0, purpose=1))[:, 12:132, 36:156]
            for number in range(12):
                image = cv2.cvtColor(frames[number * len(frames) // 12], cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(tmp_path / 'faces' / f'{name}{index:03d}' / f'{number + 1:05d}.jpg'), image)
    assert found(check_corpus(manifests(tmp_path))) == []
    planted = range(0, 40, 10)
    for index in planted:
        for number, (size, quality) in enumerate([(120, 50), (112, 90), (224, 80), (64, 95)] * 3, start=1):
            source = tmp_path / 'faces' / f'train{index:03d}' / f'{number:05d}.jpg'
            encode_again(source, tmp_path / 'faces' / f'val{index:03d}' / f'{number:05d}.jpg', size, quality)
    problems = [p for p in check_corpus(manifests(tmp_path)).problems if p.kind == 'duplicate']
    assert [problem.video_id for problem in problems] == [f'train{index:03d}' for index in planted]
    images = [int(problem.what.split()[0]) for problem in problems]
    print(f'images found of 12 each: {images}')
    assert min(images) >= 9


def write_stills(folder, number, seed, blur=0.0, gain=1.0):
    """Writes a manifest of textured stills."""
    rng = np.random.default_rng(seed)
    (folder / 'images').mkdir(parents=True)
    lines = []
    for index in range(number):
        image = rng.integers(0, 256, (24, 24, 3)).astype(np.float32)
        image = cv2.GaussianBlur(image, (0, 0), 0.6 + rng.random() / 4 + blur) * gain
        cv2.imwrite(str(folder / f'images/{index}.png'), image.clip(0, 255).astype(np.uint8))
        lines.append(f'images/{index}.png,1000000')
    (folder / 'all.txt').write_text('\n'.join(lines) + '\n')
    return str(folder / 'all.txt')


@pytest.mark.parametrize(('change', 'quantity'), [({'blur': 0.5}, 'sharpness'), ({'gain': 0.7}, 'brightness')])
def test_drift_between_splits_is_printed(tmp_path, change, quantity):
    paths = [write_stills(tmp_path / 'train', 120, 1, **change), write_stills(tmp_path / 'test', 60, 2)]
    report = check_corpus(paths, item='still')
    assert report.problems == []
    drift = next(drift for drift in report.drift if drift.quantity == quantity)
    assert (drift.first, drift.second) == tuple(paths)
    assert drift.medians[0] < drift.medians[1]
    assert f'  {quantity}: median ' in format_report(report)


def test_splits_of_one_source_show_no_drift(tmp_path):
    paths = [write_stills(tmp_path / 'train', 120, 1), write_stills(tmp_path / 'test', 60, 2)]
    assert check_corpus(paths, item='still').drift == []


def test_image_quantities_equal_those_of_numpy(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (7, 11, 3), np.uint8)
    grey = image.mean(axis=2)
    laplacian = [
        grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1] - 4 * grey[y, x]
        for y in range(1, 6)
        for x in range(1, 10)
    ]
    expected = [grey.mean(), grey.std(), np.std(laplacian) / grey.std(), np.ptp(image.astype(int), axis=2).mean()]
    with tf.Graph().as_default(), tf.Session() as session:
        np.testing.assert_allclose(session.run(measure_image(tf.constant(image))), expected, rtol=1e-5)


def test_frames_of_a_video_count_once_in_drift():
    means = mean_by_video(np.array([4, 4, 9, 4]), np.array([[1.0], [2.0], [7.0], [6.0]]))
    np.testing.assert_array_equal(means, [[3.0], [7.0]])


def test_loudness_and_rates_are_compared(data):
    """The validation audio is louder in one feature, and its file of rates has another rate."""
    names = [f'f{index}' for index in range(6552)]
    names[3] = 'pcm_LOGenergy_sma_amean'
    paths = []
    for split, shift, rate, number in (('a', -4.0, 48000, 30), ('b', -2.0, 16000, 40)):
        folder = data / split
        folder.mkdir()
        rng = np.random.default_rng(number)
        for index in range(number):
            values = rng.normal(size=6552)
            values[3] += shift
            (folder / f'{index}.csv').write_text(','.join(names) + '\n' + ','.join(f'{v:.6f}' for v in values) + '\n')
        (data / f'{split}.txt').write_text(''.join(f'{split}/{index}.csv,0100000\n' for index in range(number)))
        write_rates(data / f'{split}.rates.csv', {rate: number})
        paths.append(str(data / f'{split}.txt'))
    report = check_corpus(paths, item='video')
    assert [drift.quantity for drift in report.drift] == ['loudness']
    assert report.warnings == [
        f'sampling rates differ: {paths[0]} 30 at 48000 Hz, {paths[1]} 40 at 16000 Hz; features of different rates are '
        'not comparable, and python -m fer.prepare --sample_rate=16000 gives all videos one rate'
    ]


def test_labels_in_another_order_are_noticed(data):
    """The labels have the right form, in the order of a public copy, and the folders contradict them."""
    data = data.rename(data.parent / 'Sad')  # a shared folder does not name a class
    (data / 'Angry').mkdir()
    (data / 'Happy').mkdir()
    for name, source in (('Angry/1.png', 1), ('Happy/2.png', 9)):
        shutil.copy(file_of(data, source), data / name)
    (data / 'named.txt').write_text('Angry/1.png,1000000\nHappy/2.png,0000100\n')
    report = check_corpus([str(data / 'named.txt')], item='still')
    assert report.problems == []
    assert report.warnings == [
        f'{data}/named.txt:1: 1 of 2 videos lie in a folder named after another emotion than their label; the first '
        'has Neutral in a folder of Anger; expected labels in the order '
        'Neutral, Anger, Disgust, Fear, Happy, Sad, Surprise'
    ]
