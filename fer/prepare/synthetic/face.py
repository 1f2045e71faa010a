# SPDX-License-Identifier: Apache-2.0
"""A person as shapes, from a script: head, body and the places of the landmarks.

The geometry of all T frames is computed at once, as points [T, P, 2] in face coordinates. x points to the right and y
down, 1 is half the face's width, and 0 is between nose bridge and tip. Folds and wrinkles are lines that have the
colour of the skin at level 0 and darken with their action unit.
"""

from typing import NamedTuple

import numpy as np

from fer.prepare.synthetic.identity import ActionUnit, Identity
from fer.prepare.synthetic.script import Pose, Script

EYE_Y = -0.12  # of the eyes' centres, in face coordinates
RELIEF = 0.8  # depth from the middle of the face to its rim, in half face widths

_LIPS, _MOUTH, _TEETH, _EYE_WHITE = (
    np.array(colour, float) for colour in ([176, 88, 92], [58, 20, 26], [224, 222, 214], [226, 228, 230])
)
_GLASSES = np.array([34.0, 34, 38])


class Shape(NamedTuple):
    """One polygon or line over T frames."""

    points: np.ndarray  # float64 [T, P, 2], pixels
    colour: np.ndarray  # float64 [T, 3], RGB
    width: np.ndarray | None = None  # int64 [T], pixels, of a line. None fills the polygon


class FaceShapes(NamedTuple):
    """The shapes of a person, from back to front."""

    body: list[Shape]
    head: list[Shape]
    back_of_head: list[Shape]  # used instead of `head` in a Shot.BACK frame
    landmarks: np.ndarray  # float64 [T, 5, 2], pixels, in the order of `fer.prepare.faces.Face.landmarks`


def shape_face(script: Script) -> FaceShapes:
    """Returns the shapes of a script's person, and the true places of the landmarks."""
    identity = script.identity
    units = script.action_units.T[:, :, np.newaxis]  # [U, T, 1], so that a row broadcasts against points [P]
    artist = _Artist(script.pose, identity.skin)

    outline = _head_outline(identity, units)
    hair = artist.flat(_hair_outline(identity), identity.hair * 0.8)
    ears = [artist.flat(ellipse(x, 0.05, 0.13, 0.24), identity.skin * 0.86) for x in (-1.0, 1.0)]
    head = [
        hair,
        *ears,
        artist.flat(outline, identity.skin),
        artist.flat(_cheek_shade(outline), identity.skin * 0.93),
        *_folds(artist, identity, units),
        *_nose(artist, identity, units),
        *_mouth(artist, identity, units),
    ]
    for side in (-1, 1):
        head += _eye(artist, identity, units, side)
        head.append(_brow(artist, identity, units, side))
    head.append(artist.flat(_fringe(identity), identity.hair, depth=0.25))
    if identity.glasses:
        head += _glasses(artist, identity)
    return FaceShapes(
        body=_body(artist, identity),
        head=head,
        back_of_head=[hair, artist.flat(outline * 1.02, identity.hair * 0.9)],
        landmarks=_landmarks(artist, identity, units),
    )


class _Artist:
    """Maker of shapes in pixels from face coordinates, by the head's pose."""

    def __init__(self, pose: Pose, skin: np.ndarray) -> None:
        self.pose = pose
        self.skin = skin
        self.length = len(pose.x)

    def project(self, points: np.ndarray, lift: float = 0.0) -> np.ndarray:
        """Projects points on the face into the frame, as the camera shows them.

        Args:
          points: float64 [T, P, 2] or [P, 2], face coordinates.
          lift: height above the surface of the face, in half face widths.

        Returns:
          float64 [T, P, 2], pixels.
        """
        x, y = points[..., 0], points[..., 1]
        depth = RELIEF * np.sqrt(np.maximum(1 - (x / 1.25) ** 2 - (y / 1.8) ** 2, 0)) + lift
        yaw, pitch = self.pose.yaw[:, np.newaxis], self.pose.pitch[:, np.newaxis]
        across = x * np.cos(yaw) + depth * np.sin(yaw)
        down = y * np.cos(pitch) + depth * np.sin(pitch)
        return self._place(across, down, self.pose.roll)

    def fill(self, points: np.ndarray, colour: np.ndarray, lift: float = 0.0) -> Shape:
        """Returns a polygon on the face."""
        return Shape(self.project(points, lift), self._over_time(colour))

    def flat(self, points: np.ndarray, colour: np.ndarray, *, depth: float = 0.0, upright: bool = False) -> Shape:
        """Returns a polygon that keeps its form when the head turns: an outline.

        Args:
          points: float64 [T, P, 2] or [P, 2], face coordinates.
          colour: float64 [3] or [T, 3], RGB.
          depth: how far in front of the head's axis it lies, in half face widths.
          upright: whether it also stays upright when the head tilts.
        """
        across = points[..., 0] + depth * np.sin(self.pose.yaw)[:, np.newaxis]
        down = points[..., 1] + depth * np.sin(self.pose.pitch)[:, np.newaxis]
        roll = np.zeros_like(self.pose.roll) if upright else self.pose.roll
        return Shape(self._place(across, down, roll), self._over_time(colour))

    def line(self, points: np.ndarray, colour: np.ndarray, width: float, lift: float = 0.0) -> Shape:
        """Returns a line on the face. `width` is in half face widths."""
        pixels = np.maximum(np.rint(width * self.pose.scale), 1).astype(int)
        return Shape(self.project(points, lift), self._over_time(colour), pixels)

    def fold(self, points: np.ndarray, level: np.ndarray, width: float = 0.035, lift: float = 0.0) -> Shape:
        """Returns a crease of the skin. Its `level`, [T, 1] in [0, 1], is how dark it is. 0 is invisible."""
        return self.line(points, self.skin * (1 - 0.6 * np.clip(level, 0, 1)), width, lift)

    def _place(self, across: np.ndarray, down: np.ndarray, roll: np.ndarray) -> np.ndarray:
        """Moves points of the turned face, each [T, P] in half face widths, to the head's place: [T, P, 2], pixels."""
        scale, roll = self.pose.scale[:, np.newaxis], roll[:, np.newaxis]
        left = self.pose.x[:, np.newaxis] + scale * (across * np.cos(roll) - down * np.sin(roll))
        top = self.pose.y[:, np.newaxis] + scale * (across * np.sin(roll) + down * np.cos(roll))
        return np.stack([left, top], axis=-1)

    def _over_time(self, colour: np.ndarray) -> np.ndarray:
        return np.broadcast_to(colour, (self.length, 3))


def _points(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns points [..., P, 2] from their coordinates, broadcast together."""
    return np.stack(np.broadcast_arrays(x, y), axis=-1)


def ellipse(x: float, y: float, half_width: float, half_height: float) -> np.ndarray:
    """Returns 16 points on an ellipse around (x, y), float64 [16, 2]."""
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    return _points(x + half_width * np.cos(angle), y + half_height * np.sin(angle))


def _head_outline(identity: Identity, units: np.ndarray) -> np.ndarray:
    """Returns the outline [T, 40, 2], clockwise from the left temple over the skull to the chin."""
    upper, lower = np.linspace(np.pi, 2 * np.pi, 20), np.linspace(0, np.pi, 22)[1:-1]
    top = _points(np.cos(upper), identity.upper_height * np.sin(upper))
    x = np.sign(np.cos(lower)) * np.abs(np.cos(lower)) ** identity.jaw_power
    jaw = _points(x, (identity.lower_height + 0.22 * units[ActionUnit.JAW_DROP]) * np.sin(lower))  # [T, 20, 2]
    return np.concatenate([np.broadcast_to(top, (len(jaw), 20, 2)), jaw], axis=1)


def _cheek_shade(outline: np.ndarray) -> np.ndarray:
    """Returns a crescent along the right side of the face and the chin."""
    rim = outline[:, 14:34]
    return np.concatenate([rim, rim[:, ::-1] * np.array([0.82, 0.9])], axis=1)


def _hair_outline(identity: Identity) -> np.ndarray:
    angle = np.linspace(np.pi, 2 * np.pi, 20)
    volume = identity.hair_volume
    top = _points(volume * np.cos(angle), identity.upper_height * (volume - 0.02) * np.sin(angle))
    ends = np.array([[0.95 * volume, identity.hair_length], [-0.95 * volume, identity.hair_length]])
    return np.vstack([top, ends])


def _fringe(identity: Identity) -> np.ndarray:
    angle = np.linspace(np.pi * 1.03, np.pi * 1.97, 18)
    top = _points(identity.hair_volume * np.cos(angle), identity.hair_volume * identity.upper_height * np.sin(angle))
    hairline = -identity.upper_height * (0.9 - 0.3 * identity.fringe)
    across = np.linspace(0.95, -0.95, 9)
    return np.vstack([top, _points(across, hairline + 0.55 * np.abs(across) ** 3)])


def _body(artist: _Artist, identity: Identity) -> list[Shape]:
    chin = identity.lower_height
    neck = np.array([[-0.52, 0.8], [0.52, 0.8], [0.56, chin + 0.3], [-0.56, chin + 0.3]])
    collar = chin + 0.1
    shoulders = np.array(
        [[-0.6, collar], [0, collar + 0.12], [0.6, collar], [1.6, chin + 0.4], [2.1, 5.0], [-2.1, 5.0]]
        + [[-1.6, chin + 0.4]]
    )
    return [
        artist.flat(neck, identity.skin * 0.72, upright=True),
        artist.flat(shoulders, identity.clothes, upright=True),
    ]


def _eye(artist: _Artist, identity: Identity, units: np.ndarray, side: int) -> list[Shape]:
    opening = identity.eye_size * identity.eye_opening
    droop = 1 - units[ActionUnit.LID_DROOP]
    across = np.linspace(-1, 1, 9)
    arc = 1 - across**2
    upper = opening * (1 + 0.9 * units[ActionUnit.LID_RAISE] - 0.25 * units[ActionUnit.LID_TIGHTEN]) * droop
    lower = opening * 0.65 * (
        1 - 0.75 * units[ActionUnit.LID_TIGHTEN] - 0.6 * units[ActionUnit.CHEEK_RAISE]
    ) * np.minimum(2 * droop, 1) + 0.03 * (1 - droop)
    x = side * identity.eye_distance + identity.eye_size * across
    upper_lid = _points(x, EYE_Y + 0.03 * (1 - droop) - upper * arc)  # [T, 9, 2]
    lower_lid = _points(x, EYE_Y + np.maximum(lower, -upper) * arc)

    # The iris is a disc. Its points are clipped to the space between the lids.
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    iris_x = 0.12 * np.cos(angle)
    lids = 1 - (iris_x / identity.eye_size) ** 2
    iris_y = np.clip(0.12 * np.sin(angle) - 0.02, 0.03 * (1 - droop) - upper * lids, np.maximum(lower, -upper) * lids)
    iris = _points(side * identity.eye_distance + iris_x, EYE_Y + iris_y)
    centre = np.array([side * identity.eye_distance, EYE_Y])
    pupil = centre + 0.5 * (iris - centre)

    crease = upper_lid + [0, -0.05]
    return [
        artist.fold(crease, 0.25 + 0 * droop),
        artist.fill(np.concatenate([upper_lid, lower_lid[:, ::-1]], axis=1), _EYE_WHITE),
        artist.fill(iris, identity.iris),
        artist.fill(pupil, np.array([16.0, 14, 16])),
        artist.line(upper_lid, np.array([40.0, 30, 30]), 0.055),
        artist.fold(lower_lid, 0.3 + 0.5 * units[ActionUnit.LID_TIGHTEN]),
    ]


def _brow(artist: _Artist, identity: Identity, units: np.ndarray, side: int) -> Shape:
    along = np.linspace(0, 1, 8)  # from the inner to the outer end
    lower = units[ActionUnit.BROW_LOWER]
    inner_x = 0.17 - 0.06 * lower
    x = side * (inner_x + (identity.eye_distance + 0.3 - inner_x) * along)
    y = EYE_Y - identity.brow_height - 0.06 * np.sin(np.pi * along) + identity.brow_slope * (0.5 - along)
    y = y - 0.22 * units[ActionUnit.INNER_BROW_RAISE] * (1 - along) ** 1.3
    y = y - 0.2 * units[ActionUnit.OUTER_BROW_RAISE] * along**0.7
    y = y + 0.22 * lower * (1 - 0.75 * along) + 0.05 * units[ActionUnit.NOSE_WRINKLE]
    half = identity.brow_thickness * (0.5 - 0.35 * along**2)
    brow = np.concatenate([_points(x, y - half), _points(x, y + half)[:, ::-1]], axis=1)
    return artist.fill(brow, np.minimum(identity.hair * 0.75, 110))


def _folds(artist: _Artist, identity: Identity, units: np.ndarray) -> list[Shape]:
    brows = EYE_Y - identity.brow_height
    along = np.linspace(-1, 1, 7)
    raised = 0.5 * (units[ActionUnit.INNER_BROW_RAISE] + units[ActionUnit.OUTER_BROW_RAISE])
    shapes = []
    for height in (0.2, 0.32):
        shapes.append(artist.fold(_points(0.5 * along, brows - height - 0.03 * along**2), 0.7 * raised))
    nose_y = EYE_Y + identity.nose_length
    lifted = np.maximum(units[ActionUnit.UPPER_LIP_RAISE], units[ActionUnit.NOSE_WRINKLE] * 0.7)
    cheek = np.maximum(units[ActionUnit.CORNER_PULL], lifted)
    wrinkle = units[ActionUnit.NOSE_WRINKLE]
    for height in (0.02, 0.1, 0.18):
        shapes.append(artist.fold(_points(0.1 * along, EYE_Y + height + 0.03 * along**2), 0.9 * wrinkle, lift=0.1))
    mouth_width, _ = _mouth_corners(identity, units)
    down = np.linspace(0, 1, 6)
    for side in (-1, 1):
        frown = np.array([[side * 0.07, brows + 0.12], [side * 0.05, brows - 0.08]])
        shapes.append(artist.fold(frown, 0.9 * units[ActionUnit.BROW_LOWER]))
        bag = side * identity.eye_distance + 0.2 * along
        shapes.append(
            artist.fold(_points(bag, EYE_Y + 0.24 - 0.05 * along**2), 0.1 + 0.6 * units[ActionUnit.CHEEK_RAISE])
        )
        foot = side * (identity.eye_distance + identity.eye_size)
        for slope in (-0.06, 0.06):
            crow = np.array([[foot + side * 0.04, EYE_Y + slope * 0.4], [foot + side * 0.15, EYE_Y + slope * 1.5]])
            shapes.append(artist.fold(crow, 0.6 * units[ActionUnit.CHEEK_RAISE]))
        x = identity.nose_width + 0.04 + (mouth_width + 0.07 - identity.nose_width - 0.04) * down**1.2
        y = nose_y - 0.06 * cheek + (identity.mouth_height - nose_y) * down
        shapes.append(artist.fold(_points(side * x, y), 0.12 + 0.6 * cheek))
    return shapes


def _nose(artist: _Artist, identity: Identity, units: np.ndarray) -> list[Shape]:
    tip = EYE_Y + identity.nose_length - 0.05 * units[ActionUnit.NOSE_WRINKLE]
    width = identity.nose_width * (1 + 0.15 * units[ActionUnit.NOSE_WRINKLE])
    along = np.linspace(0, 1, 5)
    bridge = _points(0.05 + 0.08 * along, EYE_Y + 0.05 + (tip - EYE_Y - 0.08) * along)
    across = np.linspace(-1, 1, 7)
    base = _points(width * across, tip + 0.06 - 0.07 * across**4)
    shapes = [
        artist.fold(bridge, np.full_like(tip, 0.22), 0.05, lift=0.15),
        artist.fold(base, np.full_like(tip, 0.4), lift=0.12),
    ]
    for side in (-1, 1):
        nostril = _points(side * width * 0.5 + 0.05 * across, tip + 0.045 - 0.02 * across**2)
        shapes.append(artist.line(nostril, identity.skin * 0.35, 0.045, lift=0.12))
    return shapes


def _mouth_corners(identity: Identity, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns half the mouth's width, and the corners' y below the mouth's middle, each [T, 1]."""
    pull, depress = units[ActionUnit.CORNER_PULL], units[ActionUnit.CORNER_DEPRESS]
    stretch, drop = units[ActionUnit.LIP_STRETCH], units[ActionUnit.JAW_DROP]
    width = identity.mouth_width * (1 + 0.3 * pull + 0.28 * stretch - 0.2 * drop)
    return width, -0.2 * pull + 0.19 * depress + 0.04 * stretch + 0.08 * drop


def _mouth(artist: _Artist, identity: Identity, units: np.ndarray) -> list[Shape]:
    width, corner_y = _mouth_corners(identity, units)
    raise_, part, drop = units[ActionUnit.UPPER_LIP_RAISE], units[ActionUnit.LIPS_PART], units[ActionUnit.JAW_DROP]
    fullness = identity.lip_fullness * (1 - 0.75 * units[ActionUnit.LIP_PRESS])
    across = np.linspace(-1, 1, 11)
    arc = 1 - across**2
    body = np.maximum(arc, 0) ** 0.6
    x = width * across
    middle = identity.mouth_height + corner_y * across**2
    upper = middle - (0.04 * part + 0.14 * raise_ + 0.06 * units[ActionUnit.NOSE_WRINKLE]) * arc
    lower = middle + (0.1 * part + 0.4 * drop - 0.05 * raise_) * arc
    lower = np.maximum(lower, upper)
    cupid = 1 - 0.25 * np.exp(-((across / 0.15) ** 2))
    outer = np.concatenate(
        [_points(x, upper - 0.75 * fullness * body * cupid), _points(x, lower + 1.1 * fullness * body)[:, ::-1]], axis=1
    )
    teeth = upper + np.minimum(0.09, 0.7 * (lower - upper))
    press = units[ActionUnit.LIP_PRESS]
    lips = 0.45 * artist.skin + 0.55 * _LIPS * (artist.skin.sum() / 560)
    chin = _points(0.22 * across, identity.mouth_height + 0.24 + 0.3 * drop + 0.03 * across**2)
    return [
        artist.fill(outer, lips),
        artist.fill(np.concatenate([_points(x, upper), _points(x, lower)[:, ::-1]], axis=1), _MOUTH),
        artist.fill(np.concatenate([_points(x, upper), _points(x, teeth)[:, ::-1]], axis=1), _TEETH),
        artist.line(_points(x, upper), lips * 0.45, 0.03),
        artist.fold(chin, 0.2 + 0.4 * press),
    ]


def _glasses(artist: _Artist, identity: Identity) -> list[Shape]:
    shapes = []
    for side in (-1, 1):
        rim = ellipse(side * identity.eye_distance, EYE_Y + 0.03, 0.33, 0.25)
        shapes.append(artist.line(np.vstack([rim, rim[:1]]), _GLASSES, 0.03))
    bridge = np.array([[-identity.eye_distance + 0.32, EYE_Y], [identity.eye_distance - 0.32, EYE_Y]])
    return [*shapes, artist.line(bridge, _GLASSES, 0.03)]


def _landmarks(artist: _Artist, identity: Identity, units: np.ndarray) -> np.ndarray:
    """Returns the places of the landmarks, float64 [T, 5, 2], in pixels."""
    mouth_width, corner_y = _mouth_corners(identity, units)
    nose_y = EYE_Y + identity.nose_length - 0.05 * units[ActionUnit.NOSE_WRINKLE]
    zero = np.zeros_like(nose_y)
    landmarks = [
        artist.project(_points(zero - identity.eye_distance, zero + EYE_Y)),
        artist.project(_points(zero + identity.eye_distance, zero + EYE_Y)),
        artist.project(_points(zero, nose_y), lift=0.25),
        artist.project(_points(-mouth_width, identity.mouth_height + corner_y)),
        artist.project(_points(mouth_width, identity.mouth_height + corner_y)),
    ]
    return np.concatenate(landmarks, axis=1)
