# SPDX-License-Identifier: Apache-2.0
"""Decides if two faces of one video show the same person, from the appearance of face, hair and clothes.

A descriptor has two parts. The distance of two descriptors does not depend on their overall brightness.
- the aligned face in grey, 32x32, with mean 0 and deviation 1
- the colours of head and shoulders in CIE L*a*b*, in cells of an 8x8 grid. Cells outside the image are not compared.

Descriptors compare shots of one video, where hair, clothes and light return. They do not recognise people across
videos.

The parts were chosen by measurement, on 96 synthetic people and three real ones, each clip cut into two pieces. At the
distance SAME_PERSON, no two people were taken for one, and 99% of the pieces of one person were joined.
The features of MTCNN's last network separate people much less well (`python -m tests.benchmarks.people --features`).
"""

import cv2
import numpy as np

from fer.prepare.faces import TEMPLATE, Face, align, similarity

SAME_PERSON = 0.65  # distance up to which two faces are of one person
DIFFERENT_PEOPLE = 0.9  # distance above which the faces of two consecutive frames are of two people

_FACE_SIDE, _FACE_MARGIN = 32, 0.15
_BODY_SIDE, _BODY_MARGIN, _GRID = 64, 0.9, 8
_BODY = np.zeros((_GRID, _GRID), bool)  # cells that head and shoulders cover in an aligned picture
_BODY[:5, 2:6] = _BODY[5, 1:7] = _BODY[6:] = True
_CENTRES = (np.argwhere(_BODY)[:, ::-1] + 0.5) / _GRID  # (x, y) of these cells, as shares of the side
# Distances of each part below which 1% of the pairs of different people are.
_GREY_SCALE, _COLOUR_SCALE = 0.8, 10.0


def describe(image: np.ndarray, face: Face) -> np.ndarray:
    """Returns a descriptor, float32 [D]. Cells outside the image are NaN.

    Args:
      image: uint8 [H, W, 3] RGB.
      face: a face in it.
    """
    grey = cv2.cvtColor(align(image, face, _FACE_SIDE, _FACE_MARGIN), cv2.COLOR_RGB2GRAY).astype(np.float32).ravel()
    grey = (grey - grey.mean()) / max(float(grey.std()), 1.0)
    around = align(image, face, _BODY_SIDE, _BODY_MARGIN).astype(np.float32) / 255
    colour = cv2.cvtColor(around, cv2.COLOR_RGB2LAB)  # [64, 64, 3]
    colour = cv2.resize(colour, (_GRID, _GRID), interpolation=cv2.INTER_AREA)[_BODY]  # [cells, 3]
    target = (TEMPLATE - 0.5) / (1 + 2 * _BODY_MARGIN) + 0.5
    places = np.c_[_CENTRES, np.ones(len(_CENTRES))] @ similarity(target, face.landmarks).T  # [cells, 2], pixels
    height, width = image.shape[:2]
    colour[((places < 0) | (places >= (width, height))).any(axis=1)] = np.nan
    return np.concatenate([grey / _GREY_SCALE, colour.ravel() / _COLOUR_SCALE]).astype(np.float32)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the smallest distance between two sets of descriptors, float32 [N, D] and [M, D]."""
    differences = first[:, None] - second  # [N, M, D]
    pixels = _FACE_SIDE**2
    grey = np.square(differences[..., :pixels]).mean(axis=-1)  # [N, M]
    cells = differences[..., pixels:].reshape(*grey.shape, -1, 3)
    outside = np.isnan(cells)
    inside = np.maximum((~outside).sum(axis=2), 1)  # [N, M, 3]
    cells = np.where(outside, 0, cells)
    # A difference that all cells share comes from the light.
    colour = np.square(cells).sum(axis=2) / inside - np.square(cells.sum(axis=2) / inside)
    return float(np.sqrt((grey + colour.mean(axis=-1)).min() / 2))
