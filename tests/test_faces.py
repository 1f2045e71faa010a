# SPDX-License-Identifier: Apache-2.0
"""Detectors, and the tracking of one person through a clip."""

import weakref
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

import cv2
import numpy as np
import pytest
from conftest import make_clip, realdata, run

from fer.errors import InputError
from fer.prepare import tracking
from fer.prepare.detectors import DETECTORS, make_detector
from fer.prepare.faces import TEMPLATE, Face, align
from fer.prepare.media import read_frames
from fer.prepare.synthetic.frames import draw_frames
from fer.prepare.synthetic.plan import clip_rng, plan_split
from fer.prepare.synthetic.script import write_script
from fer.prepare.tracking import MEMORY, SCAN_EVERY, SCAN_IDLE, DescriptorFile, TrackedFrame, follow, iou, take_largest

SAD, HAPPY = 'Val_AFEW/Sad/000000001.mp4', 'Val_AFEW/Happy/000000002.mp4'


class Film:
    """Painted frames, and a detector that finds the painted faces. A face that is more than half covered is not found.

    Args:
      script: for each frame {person: (left, top, side)}, in pixels. Later people are painted over earlier ones.
      cuts: frames at which the background changes.
    """

    def __init__(self, script, cuts=()):
        self.script, self.cuts = script, cuts
        self.full, self.near = [], []  # numbers of the frames that were searched fully, and only near boxes

    def frames(self):
        """Yields uint8 [90, 160, 3]. The first pixel holds the frame's number."""
        for time, people in enumerate(self.script):
            scene = sum(cut <= time for cut in self.cuts)
            coarse = np.random.default_rng(scene).integers(90, 150, (9, 16, 3), np.uint8)
            image = cv2.resize(coarse, (160, 90), interpolation=cv2.INTER_NEAREST)
            for person, (left, top, side) in people.items():  # all hair and clothes, behind all faces
                image[max(0, top - side // 3) : top + 2 * side, max(0, left - side // 2) : left + 3 * side // 2] = (
                    np.random.default_rng(200 + person).integers(30, 226, 3)
                )
            for person, (left, top, side) in people.items():
                image[top : top + side, left : left + side] = paint_person(person, side)
            image[0, 0] = time
            yield image

    def detect(self, image, near=None):
        time = int(image[0, 0, 0])
        (self.full if near is None else self.near).append(time)
        boxes = {person: (float(x), float(y), float(s), float(s)) for person, (x, y, s) in self.script[time].items()}
        people = list(boxes)
        faces = []
        for place, person in enumerate(people):
            box = boxes[person]
            covered = any(iou(box, boxes[other]) > 0.5 for other in people[place + 1 :])
            if not covered and (near is None or any(reaches(where, box) for where in near)):
                faces.append(Face(box, TEMPLATE * box[2] + box[:2], person / 10))
        return faces[::-1] if time % 2 else faces  # tracking must not rely on their order

    def followed(self):
        """Returns by frame the person whose face is found, or the reason why it is missing."""
        return [frame.reason_missing if frame.face is None else round(frame.face.score * 10) for frame in self.track()]

    def track(self):
        return follow(self.frames(), self.detect)


def paint_person(person, side):
    """Returns a face of few colours, uint8 [side, side, 3], different for each person."""
    colours = np.random.default_rng(100 + person).integers(30, 226, (4, 4, 3), np.uint8)
    return cv2.resize(colours, (side, side), interpolation=cv2.INTER_CUBIC)


def reaches(where, box):
    """Returns True if the middles of two boxes are at most one side of the first apart."""
    return all(abs(where[k] + where[k + 2] / 2 - box[k] - box[k + 2] / 2) <= where[2] for k in (0, 1))


def test_clip_without_frames_gives_no_faces():
    assert follow(iter([]), Film([]).detect) == []


def test_frames_without_people_have_no_face():
    film = Film([{}] * 10)
    assert film.track() == [TrackedFrame(None, 'no_face')] * 10
    assert film.full == list(range(0, 10, SCAN_IDLE))


def test_person_who_is_briefly_larger_does_not_win():
    script = [{1: (20, 20, 30)} for _ in range(40)]
    for time in (10, 11, 12):
        script[time][2] = (80, 10, 70)
    assert Film(script).followed() == [1] * 40


def test_larger_newcomer_wins_from_their_first_frame():
    """The newcomer appears between two full searches. The second search leads back to the newcomer's first frame."""
    arrives = SCAN_EVERY + 3
    script = [{1: (20, 20, 30), **({2: (80, 10, 60)} if time >= arrives else {})} for time in range(60)]
    film = Film(script)
    assert film.followed() == ['other_person'] * arrives + [2] * (60 - arrives)
    assert len(film.full) == -(-60 // SCAN_EVERY)


def test_person_entering_an_empty_frame_is_found_immediately():
    for arrives in range(1, 5):
        script = [{} if time < arrives else {1: (50, 30, 30)} for time in range(12)]
        assert Film(script).followed() == ['no_face'] * arrives + [1] * (12 - arrives)


@pytest.mark.parametrize('hidden', [1, 2])
def test_people_side_by_side_are_never_swapped(hidden):
    """Their faces touch, and one of them turns away for a while."""
    script = [{1: (40 + time % 3, 30, 30), 2: (70 - time % 2, 31, 29)} for time in range(50)]
    for time in range(15, 25):
        del script[time][hidden]
    film = Film(script)
    expected = [1 if 1 in people else 'other_person' for people in script]
    other = [2 if 2 in people else 'other_person' for people in script]
    assert film.followed() == (other if hidden == 1 else expected)


def test_visible_people_who_cross_are_not_swapped():
    """One person passes above the other, and covers a quarter of the other's face."""
    script = [{1: (10 + 3 * time, 14, 34), 2: (112 - 3 * time, 40, 30)} for time in range(35)]
    assert Film(script).followed() == [1] * 35


@pytest.mark.parametrize('front', [1, 2])
@pytest.mark.parametrize(('speed', 'right'), [(2, 110), (4, 110), (8, 104)])
def test_person_in_front_is_kept_when_two_cross(front, speed, right):
    """The person behind is hidden for a while. At 8 pixels a frame, they return nearer to the other's last place."""
    script = []
    for time in range(100 // speed):
        people = {1: (10 + speed * time, 30, 32), 2: (right - speed * time, 30, 32)}
        script.append({person: people[person] for person in (3 - front, front)})
    assert Film(script).followed() == [front] * len(script)


def test_hidden_person_is_recognised_again():
    script = [{1: (50, 30, 40)} for _ in range(70)]
    for time in range(10, 10 + MEMORY - 5):
        script[time] = {}
    assert Film(script).followed() == [1 if people else 'no_face' for people in script]


@pytest.mark.parametrize(
    ('back', 'how'),
    [((50, 30, 40), 'much later'), ((110, 30, 40), 'elsewhere'), ((53, 33, 31), 'at another size')],
)
@pytest.mark.parametrize('person', [1, 2])
def test_returning_person_is_recognised_by_appearance(back, how, person):
    gone = MEMORY + 5 if how == 'much later' else 10
    script = [{1: (50, 30, 40)}] * 30 + [{}] * gone + [{person: back}] * 20
    assert Film(script).followed() == [1] * 30 + ['no_face'] * gone + [1 if person == 1 else 'other_person'] * 20


def test_stranger_at_a_lost_persons_place_is_rejected():
    script = [{1: (50, 30, 40)}] * 30 + [{}] * 10 + [{2: (50, 30, 40)}] * 20
    assert Film(script).followed() == [1] * 30 + ['no_face'] * 10 + ['other_person'] * 20


@pytest.mark.parametrize('cuts', [(20, 34, 50, 60), ()], ids=['cuts', 'one background'])
def test_one_person_is_followed_across_cuts(cuts):
    """Shot, reverse shot, shot, a third person, shot, each at a different place and size."""
    shots = [(1, (50, 30, 40), 20), (2, (60, 30, 44), 14), (1, (54, 32, 38), 16), (3, (40, 20, 60), 10)]
    shots += [(1, (90, 25, 50), 12)]
    script = [{person: box} for person, box, frames in shots for _ in range(frames)]
    expected = [1 if person == 1 else 'other_person' for person, _, frames in shots for _ in range(frames)]
    assert Film(script, cuts).followed() == expected


@pytest.mark.parametrize('main', [0, 1])
def test_synthetic_people_are_followed_across_cuts(main):
    """Two synthetic people take turns, A B A B A, and the skin detector finds them."""
    scripts = [write_script(plan, 11) for plan in plan_split('Train', 20, seed=11)]
    scripts = [s for s in scripts if s.occluder is None and len(s.shots) >= 40 and not s.shots[:40].any()]
    clips = [draw_frames(script, clip_rng(script.plan, 11, 1)) for script in scripts[:2]]
    shots = [(main, slice(0, 15)), (1 - main, slice(0, 12)), (main, slice(15, 30)), (1 - main, slice(12, 24))]
    shots += [(main, slice(30, 40))]
    frames = [image for person, part in shots for image in clips[person][part]]
    truth = [person for person, part in shots for _ in range(part.start, part.stop)]
    tracked = follow(iter(frames), DETECTORS['skin']())
    kept = [person for person, frame in zip(truth, tracked, strict=True) if frame.face]
    assert kept == [main] * 40
    assert [frame.reason_missing for frame in tracked if not frame.face] == ['other_person'] * 24


def test_close_up_between_two_shots_does_not_win():
    script = [{1: (50, 30, 30)}] * 20 + [{2: (40, 10, 70)}] * 30 + [{1: (50, 30, 30)}] * 20
    assert Film(script, cuts=[20, 50]).followed() == [1] * 20 + ['other_person'] * 30 + [1] * 20


def test_similar_faces_in_one_frame_are_two_people():
    film = Film([{1: (20, 30, 40)}] * 30)

    def detect(image, near=None):
        twin = [Face((100.0, 30.0, 40.0, 40.0), TEMPLATE * 40 + (100, 30), 0.9)] if image[0, 0, 0] < 10 else []
        return film.detect(image, near) + twin

    frames = []
    for image in film.frames():
        image[30:70, 100:140] = image[30:70, 20:60]
        frames.append(image)
    assert [frame.face.box[0] for frame in follow(iter(frames), detect)] == [20.0] * 30


def test_largest_takes_the_largest_face_of_each_frame():
    script = [{1: (20, 20, 30), 2: (80, 10, 40)}] * 3 + [{}] + [{1: (20, 20, 30)}] * 2
    film = Film(script)
    tracked = take_largest(film.frames(), film.detect)
    people = [round(frame.face.score * 10) if frame.face else frame.reason_missing for frame in tracked]
    assert people == [2, 2, 2, 'no_face', 1, 1]


def test_cut_to_a_face_nearby_starts_another_person():
    script = [{1: (50, 30, 40)}] * 20 + [{2: (54, 32, 42)}] * 30
    for cuts in ([20], []):  # with and without a change of the background
        assert Film(script, cuts).followed() == ['other_person'] * 20 + [2] * 30


def test_change_of_light_is_not_a_cut():
    script = [{1: (50 + time, 30, 40)} for time in range(20)]
    film = Film(script)
    frames = (image // 3 + 90 if time >= 10 else image for time, image in enumerate(film.frames()))

    def detect(image, near=None):
        image = image.copy()
        image[0, 0] = image[0, 0] if image[0, 0, 0] < 30 else (image[0, 0] - 90) * 3
        return [Face((50.0, 30.0, 40.0, 40.0), TEMPLATE, 1.0)]

    assert all(frame.face for frame in follow(frames, detect))


def test_most_frames_are_searched_near_the_face():
    script = [{1: (20 + time, 30, 30)} for time in range(60)]
    film = Film(script)
    assert film.followed() == [1] * 60
    assert film.full == list(range(0, 60, SCAN_EVERY))
    assert sorted(film.full + film.near) == list(range(60))


def test_face_that_leaps_triggers_a_full_search():
    script = [{1: (10, 10, 30)}] * 5 + [{1: (110, 50, 30)}] * 20
    film = Film(script)
    assert film.followed() == [1] * 25
    assert 5 in film.full


def test_few_frames_are_held_in_memory():
    film = Film([{1: (20, 20, 30)}] * 100)
    alive = weakref.WeakSet()

    class Frame(np.ndarray):
        """An array that can be hashed, for a set."""

        __hash__ = object.__hash__
        __eq__ = object.__eq__

    most = 0

    def stream():
        nonlocal most
        for image in film.frames():
            frame = image.view(Frame)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame
            del frame

    assert len(follow(stream(), lambda image, near=None: film.detect(image.view(np.ndarray), near))) == 100
    assert 1 < most <= SCAN_EVERY + 2


def test_detector_none_returns_the_middle_square():
    image = np.random.default_rng(0).integers(0, 256, (48, 60, 3), np.uint8)
    [face] = DETECTORS['none']()(image)
    assert (face.box, face.score) == ((6.0, 0.0, 48.0, 48.0), 1.0)
    np.testing.assert_allclose(align(image, face, 48, margin=0), image[:, 6:54], atol=1)


def test_own_detector_is_used_by_the_command(tmp_path):
    """The command's processes receive only the detector's name."""
    for name in ('Train_AFEW/Sad/1.avi', 'Val_AFEW/Fear/2.avi'):
        (tmp_path / 'raw' / name).parent.mkdir(parents=True)
        make_clip(tmp_path / 'raw' / name, 25, 0.2)
    flags = ('--detector=tests.own_detector:make_corner', '--image_size=16', '--audio_features=')
    run('-m', 'fer.prepare', f'--source={tmp_path / "raw"}', f'--output={tmp_path / "data"}', *flags)
    assert f'{flags[0]}\n' in (tmp_path / 'data/prepare_flags.txt').read_text()
    first, second = (tmp_path / 'data/faces').rglob('frames.csv')
    for table in (first, second):
        header, *rows = (line.split(',') for line in table.read_text().splitlines())
        assert header[4:9] == ['score', 'left', 'top', 'width', 'height']
        assert len(rows) >= 5
        assert {tuple(row[4:9]) for row in rows} == {('0.500000', '1.00', '2.00', '30.00', '30.00')}


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('unknown', 'expected blazeface, haar, mtcnn, none, skin or package.module:function'),
        ('tests.own_detector', 'expected blazeface'),
        (':make', 'expected blazeface'),
        ('no_such.module:make', "ModuleNotFoundError: No module named 'no_such'"),
        ('.own_detector:make', 'TypeError'),
        ('own_detector:nothing', "AttributeError: module 'own_detector' has no attribute 'nothing'"),
        ('own_detector:TEMPLATE', "TypeError: 'numpy.ndarray' object is not callable"),
        ('own_detector:fail', 'OSError: no weights anywhere'),
        ('own_detector:detect', "TypeError: detect() missing 1 required positional argument: 'image'"),
        ('own_detector:make_nothing', 'returned None; expected a detector'),
    ],
)
def test_unusable_detector_is_refused(name, message):
    with pytest.raises(InputError) as caught:
        make_detector(name)
    assert str(caught.value).startswith(f'--detector={name}: ')
    assert message in str(caught.value)
    assert '\n' not in str(caught.value)


def test_unusable_detector_is_refused_before_anything_is_written(tmp_path):
    flags = ('--detector=tests.own_detector:fail', f'--source={tmp_path}', f'--output={tmp_path / "data"}')
    done = run('-m', 'fer.prepare', *flags, ok=False)
    assert (done.code, done.out) == (2, '')
    (line,) = done.err.splitlines()
    assert '--detector=tests.own_detector:fail: OSError: no weights anywhere' in line
    assert not (tmp_path / 'data').exists()


@pytest.fixture(scope='module')
def worker():
    """Starts a process for MTCNN, because its TensorFlow is eager and this process may be in graph mode."""
    with ProcessPoolExecutor(1, get_context('spawn')) as pool:
        yield pool


def mtcnn_faces(images, near=()):
    """Returns MTCNN's faces of each image, and those of the last image near each box of `near`. Runs in a process."""
    global _mtcnn
    _mtcnn = globals().get('_mtcnn') or DETECTORS['mtcnn']()
    return [_mtcnn(image) for image in images], [_mtcnn(images[-1], [box]) for box in near]


def test_haar_agrees_with_mtcnn_on_a_frontal_face(worker):
    image = next(read_frames(realdata() / HAPPY))
    [haar], [[exact]] = DETECTORS['haar']()(image), worker.submit(mtcnn_faces, [image]).result()[0]
    assert np.abs(haar.landmarks - exact.landmarks).max() < 0.1 * haar.box[2]
    assert iou(haar.box, exact.box) > 0.5
    assert 0 < haar.score < 1


def test_detectors_find_no_face_in_noise(worker):
    shapes = [(5, 7), (13, 200), (90, 70)]
    images = [np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    assert worker.submit(mtcnn_faces, images, [(0.0, 0.0, 30.0, 30.0)]).result() == ([[], [], []], [[]])
    assert [DETECTORS['haar']()(image) for image in images] == [[], [], []]


def test_pyramid_ends_at_the_smallest_face():
    """The scales are the package's. The smallest face has 20 pixels up to a side of 360, then a share of the side."""
    from fer.prepare import mtcnn  # imported here, because TensorFlow is slow to load and few tests here need it

    for height, width in ((360, 640), (576, 720), (1080, 1920), (2160, 3840), (100, 50)):
        sizes = 12 / mtcnn.pyramid(height, width)
        steps = np.log(sizes / 20) / -np.log(0.709)
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
        np.testing.assert_allclose(np.diff(steps), 1)
        limit = max(20, min(height, width) / 18)
        assert 0.709 * limit < sizes[0] <= limit
    assert not len(mtcnn.pyramid(11, 400))


def sample(folder):
    """Returns a few frames, one image of two people side by side, and one of twice the size."""
    sad, happy = ([*islice(read_frames(folder / name), 0, 50, 24)] for name in (SAD, HAPPY))
    both = np.hstack([sad[0], happy[0]])
    return [*sad, *happy, both, cv2.resize(happy[1], (1280, 720))]


def package_faces(images):
    """Returns the faces that the unchanged package finds in each image. Runs in a process."""
    from mtcnn import MTCNN

    network = MTCNN()
    return [network.detect_faces(image) for image in images]


def test_mtcnn_finds_the_same_faces_as_its_package(worker):
    images = sample(realdata())
    found, _ = worker.submit(mtcnn_faces, images).result()
    # A process of its own, because our detector sets TensorFlow's threads for its process.
    with ProcessPoolExecutor(1, get_context('spawn')) as other:
        expected = other.submit(package_faces, images).result()
    assert sum(map(len, expected)) == len(images) + 1
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs)
        for face, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(face.box, other['box'], atol=1)  # the package rounds its corners to pixels
            names = ('left_eye', 'right_eye', 'nose', 'mouth_left', 'mouth_right')
            np.testing.assert_allclose(face.landmarks, [other['keypoints'][name] for name in names], atol=1)
            assert face.score == pytest.approx(other['confidence'], abs=1e-4)


def test_mtcnn_near_a_face_finds_the_same_face(worker):
    for image in sample(realdata())[::2]:
        [[faces], _] = worker.submit(mtcnn_faces, [image]).result()
        moved = []
        for face in faces:
            left, top, width, height = face.box
            moved.append((left + 0.1 * width, top - 0.1 * height, 1.1 * width, 1.1 * height))
        [_, [*near, nowhere]] = worker.submit(mtcnn_faces, [image], [*moved, (0.0, 0.0, 20.0, 20.0)]).result()
        for face, found in zip(faces, near, strict=True):
            assert any(iou(other.box, face.box) > 0.99 for other in found)
        assert nowhere == []


def follow_clip(clip):
    """Returns the boxes, landmarks and scores of the first frames' faces. Runs in a process."""
    tracked = follow(islice(read_frames(clip), 16), DETECTORS['mtcnn']())
    return [(frame.face.box, frame.face.landmarks.tolist(), frame.face.score) for frame in tracked]


def test_faces_are_the_same_in_every_process(worker):
    clip = realdata() / HAPPY
    with ProcessPoolExecutor(1, get_context('spawn')) as other:
        first, second = (pool.submit(follow_clip, clip) for pool in (worker, other))
        assert first.result() == second.result()


def test_benchmark_without_clips_is_refused(tmp_path):
    done = run('-m', 'tests.benchmarks.faces', f'--clips={tmp_path}', ok=False)
    assert done.code == 2
    assert 'found no video' in done.err
    assert len(done.err.splitlines()) == 1


def test_descriptors_in_a_file_equal_those_in_memory(monkeypatch):
    monkeypatch.setattr(tracking, 'IN_MEMORY', 2)
    descriptors, rows = DescriptorFile(), np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    assert [descriptors.append(row) for row in rows] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(descriptors.read([4, 0, 2]), rows[[4, 0, 2]])
