# SPDX-License-Identifier: Apache-2.0
"""A face detector for the synthetic corpus: skin by its colour, a face by its shape.

`--detector=skin` is short for `--detector=fer.prepare.synthetic.skin_detector:make_skin`.

1. Skin pixels are found by the ratios of the colour channels, which do not change with brightness. The thresholds on
   chromaticity follow Vezhnevets et al., "A survey on pixel-based skin color detection techniques", 2003.
2. Morphology and connected components join the pixels.
3. A component is a face if it fills the ellipse of its second moments and has a face's proportions.
4. Landmarks start at fixed places of the ellipse and move to the eyes and the mouth, which are darker and redder.

The detector needs no weights and searches hundreds of frames a second. It is far worse than MTCNN on real video,
because wood, sand and bare arms have the colour of skin.
"""

from typing import NamedTuple

import cv2
import numpy as np

from fer.prepare.detectors import Detector, anywhere
from fer.prepare.faces import Face

# Skin reflects more red than green, and more green than blue. The ratios hold for all skin tones and moderate casts.
RED_OVER_GREEN = (1.12, 1.85)
GREEN_OVER_BLUE = (0.98, 1.75)
MIN_RED, MIN_BLUE = 38, 10  # grey levels. In darker pixels the ratios are noise

MIN_AREA = 0.018  # share of the image
ASPECTS = (0.85, 1.9)  # height over width of the ellipse
MIN_FILL = 0.78  # share of the ellipse that is skin, eyes and mouth included
MIN_SCORE = 0.35
MIN_DARKNESS = 0.1  # of the darkest place of a face: 1 - its brightness / the brightness around it
MIN_MATCH = 0.3  # correlation of a face's dark places with the template. Bare skin stays below

# Places of the landmarks in the upright ellipse, (x, y) in half axes from its centre. The ellipse covers the visible
# skin, from the hairline to the collar.
_CANONICAL = np.array([[-0.43, -0.28], [0.43, -0.28], [0.0, 0.14], [-0.36, 0.5], [0.36, 0.5]])
_NOSE_OFFSET = np.array([0.0, -0.05])  # from the middle of the nostrils to the tip
# From the middle of the dark pixels to the middle of the eye. The line of the upper lid is among the dark pixels.
_EYE_OFFSET = np.array([0.0, 0.05])


def make_skin() -> Detector:
    """Returns the detector, in the form that `--detector` expects."""
    return anywhere(detect_skin)


def detect_skin(image: np.ndarray) -> list[Face]:
    """Finds the faces of an image, uint8 [H, W, 3] RGB. The highest score, in [0, 1], comes first."""
    smooth = cv2.blur(image, (3, 3))
    skin = _close_holes(skin_mask(smooth))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(skin, connectivity=4)
    faces = []
    for label in np.flatnonzero(stats[:, cv2.CC_STAT_AREA] > MIN_AREA * skin.size):
        if label == 0:  # pixels that are not skin
            continue
        face = _to_face(smooth, (labels == label).astype(np.uint8))
        if face is not None:
            faces.append(face)
    return sorted(faces, key=lambda face: -face.score)


def skin_mask(image: np.ndarray) -> np.ndarray:
    """Returns uint8 [H, W], 1 for pixels of a uint8 [H, W, 3] RGB image whose colour may be that of skin."""
    red, green, blue = cv2.split(image)
    red, green, blue = red.astype(np.float32), green.astype(np.float32), blue.astype(np.float32)
    skin = (red > RED_OVER_GREEN[0] * green) & (red < RED_OVER_GREEN[1] * green)
    skin &= (green > GREEN_OVER_BLUE[0] * blue) & (green < GREEN_OVER_BLUE[1] * blue)
    skin &= (red > MIN_RED) & (blue > MIN_BLUE)
    return skin.astype(np.uint8)


def _close_holes(skin: np.ndarray) -> np.ndarray:
    """Removes specks from a mask, uint8 [H, W], and closes its holes."""
    unit = max(3, round(skin.shape[0] / 40) | 1)
    skin = cv2.morphologyEx(skin, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (unit, unit)))
    closing = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * unit + 1, 2 * unit + 1))
    return cv2.morphologyEx(skin, cv2.MORPH_CLOSE, closing)


class _Ellipse(NamedTuple):
    """The ellipse of a component's second moments. Vectors are float64 [2] in pixels."""

    centre: np.ndarray
    right: np.ndarray  # half axis across the face
    down: np.ndarray  # half axis along the face
    score: float  # in [0, 1], how well the component fills it


def _to_face(image: np.ndarray, mask: np.ndarray) -> Face | None:
    """Returns the face that a component shows, if it shows one.

    Args:
      image: uint8 [H, W, 3] RGB.
      mask: uint8 [H, W], 1 for the pixels of the component.
    """
    ellipse = _fit_ellipse(mask)
    if ellipse is None:
        return None
    features = _find_features(image, ellipse)
    if features is None:
        return None
    axes = np.stack([ellipse.right, ellipse.down])
    landmarks = ellipse.centre + features @ axes
    corners = ellipse.centre + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ axes
    left, top = corners.min(axis=0)
    width, height = corners.max(axis=0) - (left, top)
    return Face((float(left), float(top), float(width), float(height)), landmarks, ellipse.score)


def _fit_ellipse(mask: np.ndarray) -> _Ellipse | None:
    """Returns the ellipse of a component, or None if its proportions are not those of a face."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(contours, key=cv2.contourArea)
    moments = cv2.moments(outline)  # of the filled outline, so that eyes and mouth are not holes
    if moments['m00'] == 0:
        return None
    centre = np.array([moments['m10'], moments['m01']]) / moments['m00']
    spread = np.array([[moments['mu20'], moments['mu11']], [moments['mu11'], moments['mu02']]]) / moments['m00']
    variances, axes = np.linalg.eigh(spread)
    # The long axis runs down the face, unless the face is too round to tell or would lie on its side.
    tilt = np.arctan2(axes[0, 1] * np.sign(axes[1, 1]), abs(axes[1, 1]))
    half_height, half_width = 2 * np.sqrt(variances[::-1])
    aspect = half_height / half_width
    if not ASPECTS[0] < aspect < ASPECTS[1] or abs(tilt) > 0.8:
        return None
    fill = moments['m00'] / (np.pi * half_height * half_width)
    solidity = moments['m00'] / cv2.contourArea(cv2.convexHull(outline))
    score = float(np.clip((min(fill, 1) - MIN_FILL) / (1 - MIN_FILL), 0, 1) * solidity)
    if score < MIN_SCORE:
        return None

    angle = -tilt * np.clip((aspect - 1) / 0.35, 0, 1)  # the rounder the ellipse, the less its long axis counts
    right = np.array([np.cos(angle), np.sin(angle)]) * half_width
    down = np.array([-np.sin(angle), np.cos(angle)]) * half_height
    return _Ellipse(centre, right, down, score)


def _find_features(image: np.ndarray, ellipse: _Ellipse) -> np.ndarray | None:
    """Finds the landmarks by a template of a face's dark places, then moves each to the dark pixels around it.

    Args:
      image: uint8 [H, W, 3] RGB.
      ellipse: where the face is.

    Returns:
      float64 [5, 2], in half axes from the centre. None if the dark places are not those of a face.
    """
    darkness, redness = _feature_maps(image, ellipse)
    if darkness.max() < MIN_DARKNESS:
        return None
    matches = []
    for angle, template in _TEMPLATES:
        _, match, _, corner = cv2.minMaxLoc(cv2.matchTemplate(darkness, template, cv2.TM_CCOEFF_NORMED))
        matches.append((match, corner, angle))
    match, (column, row), angle = max(matches)
    if match < MIN_MATCH:
        return None
    shift = np.array([column - _SEARCH, row - _SEARCH]) / _HALF_AXIS
    places = _turn(_CANONICAL, angle) + shift

    eyes = [_settle(darkness, place, (0.13, 0.09)) + _EYE_OFFSET for place in places[:2]]
    left, right = _mouth_corners(darkness + redness, places[3:].mean(axis=0), angle)
    nose = _settle(darkness, places[2] - _NOSE_OFFSET, (0.15, 0.1)) + _NOSE_OFFSET
    return np.array([*eyes, nose, left, right])


def _feature_maps(image: np.ndarray, ellipse: _Ellipse) -> tuple[np.ndarray, np.ndarray]:
    """Returns how much darker, and how much redder, the face is than its surroundings: two float32 [P, P] maps.

    The ellipse becomes a circle of radius `_HALF_AXIS` in the middle of the maps. They are 0 outside the circle.
    """
    to_image = np.column_stack([ellipse.right, ellipse.down, ellipse.centre]) @ np.array(
        [[1 / _HALF_AXIS, 0, -_MIDDLE / _HALF_AXIS], [0, 1 / _HALF_AXIS, -_MIDDLE / _HALF_AXIS], [0, 0, 1]]
    )
    size = (2 * _MIDDLE + 1, 2 * _MIDDLE + 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patch = cv2.warpAffine(image, to_image, size, flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    brightness = patch.sum(axis=2) + 1
    weight = np.maximum(cv2.blur(_INSIDE, _SURROUNDINGS), 1e-3)
    level = np.maximum(cv2.blur(brightness * _INSIDE, _SURROUNDINGS) / weight, 1e-3)
    darkness = np.clip(1 - brightness / level, 0, 0.6) * _INSIDE
    red_share = patch[..., 0] / (patch[..., 1] + 1)
    usual = np.maximum(cv2.blur(red_share * _INSIDE, _SURROUNDINGS) / weight, 1e-3)
    redness = np.clip(red_share / usual - 1, 0, 0.6) * _INSIDE
    return darkness, redness


def _settle(weight: np.ndarray, place: np.ndarray, reach: tuple[float, float]) -> np.ndarray:
    """Returns the centre of the weight near a place, by mean shift.

    Args:
      weight: float32 [P, P], a feature map.
      place: float64 [2], in half axes, as is the result.
      reach: how far the search reaches, across and down, in half axes (standard deviations of a Gaussian).
    """
    for _ in range(3):
        near = weight * np.exp(-0.5 * (((_GRID - place) / reach) ** 2).sum(axis=-1))
        total = near.sum()
        if total < 0.3:  # the eye is closed, or the place is hidden, so the template's place is better
            return place
        place = np.tensordot(near, _GRID, 2) / total
    return place


def _mouth_corners(weight: np.ndarray, place: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the left and the right end of a mouth, float64 [2] each in half axes, by the spread of the weight.

    Args:
      weight: float32 [P, P], a feature map.
      place: float64 [2], of the mouth's middle, in half axes.
      angle: of the mouth, in radians.
    """
    offset = _GRID - place
    near = weight * np.exp(-0.5 * ((offset / (0.3, 0.14)) ** 2).sum(axis=-1))
    total = near.sum()
    along = _turn(np.array([[1.0, 0.0]]), angle)[0]
    if total < 0.3:
        return place - 0.36 * along, place + 0.36 * along
    middle = np.tensordot(near, offset, 2) / total
    half = 2.05 * np.sqrt((near * ((offset - middle) @ along) ** 2).sum() / total)
    half = np.clip(half, 0.24, 0.56)
    return place + middle - half * along, place + middle + half * along


def _turn(points: np.ndarray, angle: float) -> np.ndarray:
    """Turns points, [N, 2], clockwise about the origin by an angle in radians."""
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _make_template(angle: float) -> np.ndarray:
    """Returns the dark places of a face (brows, eyes, nostrils, mouth), turned by an angle: float32 [S, S]."""
    template = np.zeros((2 * _MIDDLE + 1, 2 * _MIDDLE + 1), np.float32)

    def line(start: tuple[float, float], end: tuple[float, float], level: float, width: float):
        ends = np.rint(_MIDDLE + _HALF_AXIS * _turn(np.array([start, end]), angle)).astype(int).tolist()
        cv2.line(template, ends[0], ends[1], (level,), max(1, round(width * _HALF_AXIS)))

    for side in (-1, 1):
        line((side * 0.2, -0.5), (side * 0.65, -0.55), 0.5, 0.08)
        line((side * 0.26, -0.29), (side * 0.6, -0.29), 0.8, 0.14)
        line((side * 0.08, 0.2), (side * 0.12, 0.2), 0.5, 0.06)
    line((-0.33, 0.5), (0.33, 0.5), 0.7, 0.1)
    blurred = cv2.GaussianBlur(template, (0, 0), 0.06 * _HALF_AXIS)
    return blurred[_SEARCH:-_SEARCH, _SEARCH:-_SEARCH]


_HALF_AXIS = 20  # pixels of a half axis of the ellipse in the feature maps
_MIDDLE = 25  # pixel of the ellipse's centre in them
_SURROUNDINGS = (17, 17)  # pixels, with which darkness and redness compare
_SEARCH = 6  # pixels by which the template may move
_AXIS = (np.arange(2 * _MIDDLE + 1) - _MIDDLE) / _HALF_AXIS
_GRID = np.stack(np.meshgrid(_AXIS, _AXIS), axis=-1)  # [P, P, 2] places of the maps' pixels, in half axes
_INSIDE = (np.hypot(_GRID[..., 0], _GRID[..., 1]) < 0.9).astype(np.float32)
_TEMPLATES = [(angle, _make_template(angle)) for angle in (-0.26, -0.13, 0.0, 0.13, 0.26)]
