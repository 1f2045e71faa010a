# SPDX-License-Identifier: Apache-2.0
"""A detected face, and its alignment to a fixed template."""

from typing import NamedTuple

import cv2
import numpy as np

Box = tuple[float, float, float, float]  # left, top, width, height

# The smallest face that is searched for, as a share of the image's shorter side. A search for smaller faces costs as
# much as for all others together, and such a small face shows no emotion.
MIN_FACE_SHARE = 1 / 18


class Face(NamedTuple):
    """One detected face, in pixels of the image it was found in (x to the right, y down)."""

    box: Box
    landmarks: np.ndarray  # [5, 2] float64 (x, y): left eye, right eye, nose tip, left and right mouth corner.
    # Left and right are those of the image.
    score: float  # confidence in [0, 1]


# The landmarks of an aligned face, as shares of the image side. They are the 112x112 template of ArcFace
# (Deng et al., CVPR 2019) and its predecessors, which public face networks are trained on.
_TEMPLATE_112 = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
TEMPLATE = np.array(_TEMPLATE_112) / 112


def align(image: np.ndarray, face: Face, image_size: int, margin: float) -> np.ndarray:
    """Turns, scales and shifts the image so that the face's landmarks fall on the template.

    Args:
      image: uint8 [H, W, 3].
      face: a face in it.
      image_size: side of the result in pixels.
      margin: space to add on each side of the template's own crop (brows to chin), as a share of the crop's side.

    Returns:
      uint8 [image_size, image_size, 3]. Pixels outside the image repeat its edge.
    """
    target = (((TEMPLATE - 0.5) / (1 + 2 * margin) + 0.5) * image_size).astype(np.float64)
    landmarks = face.landmarks
    scale = np.hypot(*similarity(landmarks, target)[:, 0])
    if scale < 1:  # shrink by averaging first, because warping alone would pick single pixels of a large face
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        landmarks = (landmarks + 0.5) * scale - 0.5
    matrix = similarity(landmarks, target)
    return cv2.warpAffine(image, matrix, (image_size, image_size), borderMode=cv2.BORDER_REPLICATE)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Computes the rotation, uniform scale and shift that bring `source` nearest to `target` in least squares.

    Args:
      source: float [P, 2] points (x, y).
      target: float [P, 2], the place that each point of `source` should move to.

    Returns:
      float64 [2, 3], the matrix for cv2.warpAffine.
    """
    x, y = source.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    # x' = a x - b y + c and y' = b x + a y + d are linear in (a, b, c, d).
    system = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, c, d = np.linalg.lstsq(system, np.concatenate(target.T), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d]])
