# SPDX-License-Identifier: Apache-2.0
"""The synthetic corpus: the same seed gives the same bytes, clips follow their scripts, the skin detector works."""

import csv
import hashlib
import subprocess
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer.emotions import AFEW_SPELLING, EMOTIONS, NUM_CLASSES
from fer.errors import InputError
from fer.prepare.ffmpeg import FFMPEG
from fer.prepare.synthetic.corpus import clip_path, write_clip, write_corpus
from fer.prepare.synthetic.expressions import PROTOTYPES
from fer.prepare.synthetic.face import shape_face
from fer.prepare.synthetic.frames import draw_frames
from fer.prepare.synthetic.identity import PEOPLE, SPLITS, sample_identity
from fer.prepare.synthetic.plan import ClipPlan, clip_rng, count_emotions, plan_split
from fer.prepare.synthetic.script import IMAGE_HEIGHT, IMAGE_WIDTH, Shot, write_script
from fer.prepare.synthetic.skin_detector import detect_skin
from fer.prepare.synthetic.voice import SAMPLE_RATE, speak

SEED = 11
SIZES = {'Train': 9, 'Val': 7, 'Test': 3}


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
    output = tmp_path_factory.mktemp('corpus')
    write_corpus(output, SIZES, SEED, jobs=2)
    return output


def file_hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def decode(path: Path, *options: str) -> bytes:
    return subprocess.run(
        [FFMPEG, '-v', 'error', '-i', str(path), *options, '-'], capture_output=True, check=True
    ).stdout


def all_plans(sizes: dict[str, int]) -> list[ClipPlan]:
    return [plan for split in SPLITS for plan in plan_split(split, sizes[split], SEED)]


def test_layout_and_labels(corpus):
    paths = sorted(str(path.relative_to(corpus)) for path in corpus.rglob('*') if path.is_file())
    expected = [clip_path(Path(), plan) for plan in all_plans(SIZES)]
    assert paths == sorted([*map(str, expected), 'Test_AFEW_labels.csv'])
    assert {path.parent.name for path in corpus.glob('Val_AFEW/*/*.avi')} == set(AFEW_SPELLING)
    assert len(list(corpus.glob('Test_AFEW/*.avi'))) == 3

    with open(corpus / 'Test_AFEW_labels.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    labels = {plan.video_id: EMOTIONS[plan.emotion] for plan in all_plans(SIZES) if plan.split == 'Test'}
    assert {row['video_id']: row['label'] for row in rows} == labels


def test_same_bytes_for_any_number_of_jobs(corpus, tmp_path):
    write_corpus(tmp_path / 'again', SIZES, SEED, jobs=1)
    assert file_hashes(tmp_path / 'again') == file_hashes(corpus)


def test_another_seed_gives_another_clip(tmp_path):
    clips = {}
    for seed in (SEED, SEED + 1):
        plan = plan_split('Val', 7, SEED)[0]
        clip_path(tmp_path, plan).parent.mkdir(parents=True, exist_ok=True)
        write_clip(tmp_path, plan, seed)
        clips[seed] = clip_path(tmp_path, plan).read_bytes()
    assert clips[SEED] != clips[SEED + 1]


def test_clip_is_independent_of_the_number_of_clips():
    few, many = plan_split('Train', 30, SEED)[4], plan_split('Train', 500, SEED)[4]
    assert few.video_id == many.video_id
    first, second = (write_script(few._replace(emotion=3, faceless=False), SEED) for _ in range(2))
    other = write_script(many._replace(emotion=3, faceless=False), SEED)
    np.testing.assert_array_equal(first.action_units, second.action_units)
    np.testing.assert_array_equal(first.action_units, other.action_units)


def test_clips_follow_their_scripts(corpus):
    for plan in all_plans(SIZES)[::4]:
        script = write_script(plan, SEED)
        path = clip_path(corpus, plan)
        frames = decode(path, '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-fps_mode', 'passthrough')
        frames = np.frombuffer(frames, np.uint8).reshape(-1, IMAGE_HEIGHT, IMAGE_WIDTH, 3)
        assert len(frames) == len(script.shots)
        original = draw_frames(script, clip_rng(plan, SEED, purpose=1))
        assert np.abs(frames.astype(int) - original).mean() < 8  # by the compression

        audio = np.frombuffer(decode(path, '-f', 's16le'), np.int16)
        assert len(audio) == len(script.shots) * SAMPLE_RATE / 25
        np.testing.assert_array_equal(audio, speak(script, clip_rng(plan, SEED, purpose=2)))

        about = subprocess.run([FFMPEG, '-hide_banner', '-i', str(path)], capture_output=True, text=True).stderr
        assert ' 25 fps' in about
        assert '16000 Hz, mono, s16' in about


def test_no_partial_clips_are_left(corpus):
    assert not list(corpus.rglob('*.partial'))


def test_counts_of_emotions_are_those_of_afew():
    assert count_emotions('Train', 773) == [144, 133, 74, 81, 150, 117, 74]
    assert count_emotions('Val', 383) == [63, 64, 40, 46, 63, 61, 46]
    assert sum(count_emotions('Test', 653)) == 653
    for split in SPLITS:
        for size in range(0, 60):
            counts = count_emotions(split, size)
            assert sum(counts) == size
            assert size < NUM_CLASSES or min(counts) >= 1


def test_plans_have_unique_ids_and_some_faceless_clips():
    sizes = {'Train': 773, 'Val': 383, 'Test': 653}
    plans = all_plans(sizes)
    ids = [plan.video_id for plan in plans]
    assert len(set(ids)) == sum(sizes.values())
    assert all(len(video_id) == 9 and video_id.isdigit() for video_id in ids)
    faceless = Counter(plan.split for plan in plans if plan.faceless)
    assert faceless['Train'] == 23  # 3% of 773
    assert all(sum(plan.faceless for plan in plan_split(split, 20, SEED)) == 1 for split in SPLITS)
    # Sorted by id, neighbours share their emotion by chance only, which is 0.155.
    emotions = [plan.emotion for plan in sorted(plans, key=lambda plan: plan.video_id)]
    assert 0.12 < np.mean(np.equal(emotions[1:], emotions[:-1])) < 0.19


def test_lengths_follow_the_dissertation():
    lengths = [len(write_script(plan, SEED).shots) for plan in plan_split('Train', 773, SEED)]
    assert 51 <= np.median(lengths) <= 59
    assert min(lengths) >= 10
    assert max(lengths) <= 144
    assert np.std(np.log(lengths)) == pytest.approx(0.48, abs=0.05)  # 0.5 before the clipping


def test_people_of_the_splits_are_different():
    people = [sample_identity(SEED, split, number) for split in SPLITS for number in range(PEOPLE[split])]
    assert len({person.person for person in people}) == sum(PEOPLE.values())
    assert len({person.pitch for person in people}) == sum(PEOPLE.values())
    used = {
        split: {write_script(plan, SEED).identity.person for plan in plan_split(split, 60, SEED)} for split in SPLITS
    }
    assert not used['Train'] & used['Val']
    assert not (used['Train'] | used['Val']) & used['Test']
    assert len(used['Train']) > 30


def test_apex_shows_the_labelled_emotion():
    """The prototype's action units are higher at the apex than while the labelled emotion is absent."""
    for emotion, name in enumerate(EMOTIONS):
        gains = []
        for plan in plan_split('Train', 60, SEED):
            script = write_script(plan._replace(emotion=emotion, faceless=False), SEED)
            if name == 'Neutral':
                assert not script.intensity.any()
                continue
            assert 0.2 < script.intensity.max() <= 1
            calm = script.intensity < 0.05
            if calm.any():
                units = script.action_units[:, list(PROTOTYPES[name])].mean(axis=1)
                gains.append(units[script.intensity.argmax()] - units[calm].mean())
        assert not gains or np.mean(gains) > 0.2


def test_voice_follows_the_emotion():
    """An angry voice is louder than the same voice when it is sad. Each is as long as the clip."""
    louder = []
    for plan in plan_split('Train', 40, SEED):
        levels = []
        for name in ('Anger', 'Sad'):
            script = write_script(plan._replace(emotion=EMOTIONS.index(name)), SEED)
            script = script._replace(voice=script.voice._replace(noise=False, level=-24.0, expressiveness=1.0))
            audio = speak(script, clip_rng(plan, SEED, purpose=2))
            assert len(audio) == len(script.shots) * 640
            levels.append(np.log10(np.mean(np.square(audio, dtype=float)) + 1))
        if min(levels) > 0:
            louder.append(levels[0] > levels[1])
    assert len(louder) > 20
    assert np.mean(louder) > 0.9


def test_skin_detector_finds_only_faces():
    visible = found = faceless = false_alarms = 0
    errors = []
    for plan in [*plan_split('Train', 40, SEED), *plan_split('Val', 28, SEED)]:
        script = write_script(plan, SEED)
        frames = draw_frames(script, clip_rng(plan, SEED, purpose=1))
        truth = shape_face(script).landmarks
        within = ((truth > 6) & (truth < (IMAGE_WIDTH - 6, IMAGE_HEIGHT - 6))).all(axis=(1, 2))
        for index in range(0, len(frames), 6):
            faces = detect_skin(frames[index])
            if script.shots[index] != Shot.FACE:
                faceless += 1
                false_alarms += bool(faces)
            elif within[index] and (script.occluder is None or np.isnan(script.occluder.at[index, 0])):
                visible += 1
                if faces:
                    found += 1
                    distances = np.linalg.norm(faces[0].landmarks - truth[index], axis=1)
                    errors.append(distances.mean() / (2 * script.pose.scale[index]))
                    assert 0 <= faces[0].score <= 1
    assert visible > 500
    assert faceless > 50
    assert found / visible >= 0.97
    assert false_alarms / faceless <= 0.01
    assert np.mean(errors) < 0.04  # of the face's width


def test_skin_detector_finds_nothing_in_plain_images():
    assert detect_skin(np.zeros((IMAGE_HEIGHT, IMAGE_WIDTH, 3), np.uint8)) == []
    assert detect_skin(np.full((IMAGE_HEIGHT, IMAGE_WIDTH, 3), (200, 150, 120), np.uint8)) == []
    image = np.full((IMAGE_HEIGHT, IMAGE_WIDTH, 3), 90, np.uint8)
    cv2.rectangle(image, (10, 60), (180, 80), (200, 150, 120), -1)  # an arm
    assert detect_skin(image) == []


def test_output_with_other_files_is_refused(tmp_path):
    real = tmp_path / 'Train_AFEW' / 'Sad' / '000046280.avi'
    real.parent.mkdir(parents=True)
    real.write_text('not a synthetic clip')
    for overwrite in (False, True):
        with pytest.raises(InputError, match='contains files') as refusal:
            write_corpus(tmp_path, SIZES, SEED, jobs=1, overwrite=overwrite)
        assert '\n' not in str(refusal.value)
    assert real.exists()


def test_overwrite_replaces_only_the_corpus(tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    (tmp_path / 'Test_AFEW_labels.csv').write_text('video_id,label\n')
    with pytest.raises(InputError, match='--overwrite'):
        write_corpus(tmp_path, SIZES, SEED, jobs=1)
    stale = tmp_path / 'Val_AFEW' / 'Happy' / '000000000.avi'
    stale.parent.mkdir(parents=True)
    stale.write_text('stale')
    write_corpus(tmp_path, {'Train': 0, 'Val': 1, 'Test': 0}, SEED, jobs=1, overwrite=True)
    assert not stale.exists()
    assert (tmp_path / 'notes.txt').read_text() == 'mine'
    assert len(list(tmp_path.glob('Val_AFEW/*/*.avi'))) == 1
