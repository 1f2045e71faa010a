"""Face detectors by the name that `--detector` gives them.

A detector is a function `detect(image) -> list[Face]` on uint8 [H, W, 3] RGB; a new one is one more entry here.
"""

import os
from collections.abc import Callable

import numpy as np

from fer.prepare.faces import Face
from fer.prepare.skin import detect_skin

Detector = Callable[[np.ndarray], list[Face]]


def make_mtcnn() -> Detector:
    """MTCNN (Zhang et al., 2016), the `mtcnn` package with the weights in its wheel."""
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # as in fer/tf1.py, which preparation never imports
    from mtcnn import MTCNN  # here, not above: it brings TensorFlow, which no other detector needs

    network = MTCNN()

    def detect(image: np.ndarray) -> list[Face]:
        faces = []
        for found in network.detect_faces(image):
            points = found['keypoints']
            names = ('left_eye', 'right_eye', 'nose', 'mouth_left', 'mouth_right')
            landmarks = np.array([points[name] for name in names], np.float64)
            left, top, width, height = map(float, found['box'])
            faces.append(Face((left, top, width, height), landmarks, float(found['confidence'])))
        return faces

    return detect


DETECTORS: dict[str, Callable[[], Detector]] = {
    'mtcnn': make_mtcnn,
    'skin': lambda: detect_skin,
}
