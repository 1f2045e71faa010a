# SPDX-License-Identifier: Apache-2.0
"""Face detectors by the name that `--detector` gives them.

To add one, write `detect(image) -> list[Face]` and a row of DETECTORS: `'name': lambda: anywhere(detect)`. A
detector that is faster near given boxes takes `near` as well.

A detector outside this package needs no row. In a module of your own, write a function without arguments that returns
the detector, and pass `--detector=package.module:function`. Each process that prepares videos calls it once. If its
boxes are not faces, such as a fixed crop, add --person=largest, because people are distinguished by how they look.
Preparation does not notice a change of your detector's code or weights. After such a change, use --overwrite.
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from fer.errors import InputError
from fer.prepare.faces import MIN_FACE_SHARE, TEMPLATE, Box, Face


class Detector(Protocol):
    """Finds the faces of an image. It has no memory: the same image and boxes give the same faces."""

    def __call__(self, image: np.ndarray, near: Sequence[Box] | None = None) -> list[Face]:
        """Detects faces.

        Args:
          image: uint8 [H, W, 3] RGB.
          near: boxes where the caller expects faces. Faces far from all boxes, or of a very different size, may be
            missed. None searches the whole image.

        Returns:
          Faces in pixels of the whole image, in any order.
        """


def anywhere(detect: Callable[[np.ndarray], list[Face]]) -> Detector:
    """Returns a detector that searches the whole image, from a function that takes only the image."""
    return lambda image, near=None: detect(image)


def make_mtcnn() -> Detector:
    """Loads MTCNN (fer/prepare/mtcnn.py). Afterwards TensorFlow uses a single thread and no GPU in this process."""
    from fer.prepare.mtcnn import Mtcnn  # imported here, because no other detector needs TensorFlow

    return Mtcnn().detect


def make_blazeface() -> Detector:
    """Loads BlazeFace (fer/prepare/blazeface.py)."""
    from fer.prepare.blazeface import BlazeFace  # imported here, because no other detector needs LiteRT

    return BlazeFace().detect


# The template's place in the cascade's box, as shares of the box: its side, and its left upper corner. They are the
# least squares fit to the medians of MTCNN's landmarks in the cascade's boxes over two real clips (53 frames, two
# people). The medians are at most 0.02 of the box away from the fit, and the landmarks vary by 0.01 to 0.04.
HAAR_SIDE, HAAR_CORNER = 1.12, np.array([-0.07, -0.11])


def make_haar() -> Detector:
    """Loads OpenCV's cascade for frontal faces (Viola and Jones, 2001). It guesses upright landmarks from the box."""
    cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / 'data' / 'haarcascade_frontalface_default.xml'))

    def detect(image: np.ndarray) -> list[Face]:
        smallest = max(24, int(min(image.shape[:2]) * MIN_FACE_SHARE))  # the cascade's window has 24 pixels
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        boxes, votes = cascade.detectMultiScale2(grey, scaleFactor=1.1, minNeighbors=5, minSize=(smallest, smallest))
        faces = []
        for box, count in zip(boxes, votes, strict=True):
            left, top, width, height = map(float, box)
            landmarks = (TEMPLATE * HAAR_SIDE + HAAR_CORNER) * (width, height) + (left, top)
            faces.append(Face((left, top, width, height), landmarks, 1 - 1 / float(count)))
        return faces

    return anywhere(detect)


def detect_none(image: np.ndarray) -> list[Face]:
    """Returns the square in the middle as the face, for pictures that are already cropped and upright."""
    height, width = image.shape[:2]
    side = min(height, width)
    corner = np.array([width - side, height - side]) / 2
    return [Face((float(corner[0]), float(corner[1]), float(side), float(side)), TEMPLATE * side + corner, 1.0)]


DETECTORS: dict[str, Callable[[], Detector]] = {
    'blazeface': make_blazeface,
    'haar': make_haar,
    'mtcnn': make_mtcnn,
    'none': lambda: anywhere(detect_none),
    'skin': lambda: _load('fer.prepare.synthetic.skin_detector:make_skin'),
}

BOXES = 'boxes'  # in place of a detector's name: use the boxes that a dataset of stills lists


def make_detector(name: str) -> Detector:
    """Makes a detector by its name.

    Args:
      name: a key of DETECTORS, or `package.module:function`, which is imported and called. BOXES makes a detector that
        finds no faces.

    Raises:
      InputError: the name, module or function does not exist, or the function fails or does not return a detector.
    """
    if name in DETECTORS:
        return DETECTORS[name]()
    if name == BOXES:
        return anywhere(lambda image: [])
    module, _, function = name.partition(':')
    if not module or not function:
        raise InputError(f'--detector={name}: expected {", ".join(sorted(DETECTORS))} or package.module:function')
    try:
        detector = _load(name)
    except Exception as error:  # the user's code may raise anything
        problem = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise InputError(f'--detector={name}: {problem}; expected a function that makes a detector') from error
    if not callable(detector):
        raise InputError(f'--detector={name}: returned {detector!r}; expected a detector, see fer/prepare/detectors.py')
    return detector


def _load(name: str) -> Detector:
    """Imports the module of `package.module:function`, and returns what the function returns."""
    module, _, function = name.partition(':')
    return getattr(importlib.import_module(module), function)()
