# SPDX-License-Identifier: Apache-2.0
"""The frames of a script: the person's shapes, the background, and light, blur and noise over them."""

import cv2
import numpy as np

from fer.prepare.synthetic.face import Shape, ellipse, shape_face
from fer.prepare.synthetic.identity import Identity, cool_colour
from fer.prepare.synthetic.script import IMAGE_HEIGHT, IMAGE_WIDTH, Occluder, Script, Shot

DARKNESS = 0.05  # brightness left in a Shot.DARK frame

_SUBPIXEL_BITS = 4  # cv2 draws at sixteenths of a pixel, so that slow motion does not jump
_MARGIN = 12  # pixels of background and noise beyond the frame, over which the camera drifts

# Points from the centre of an occluder, a colour, and the width of a line or None for a polygon. Points and widths are
# in half face widths.
_OccluderShape = tuple[np.ndarray, np.ndarray, float | None]


def draw_frames(script: Script, rng: np.random.Generator) -> np.ndarray:
    """Draws the frames of a script, uint8 [T, IMAGE_HEIGHT, IMAGE_WIDTH, 3] RGB."""
    face = shape_face(script)
    background = _draw_background(rng)
    light = _light_map(script)
    noise = (script.light.noise * rng.standard_normal(background.shape)).astype(np.int16)
    drift = np.cumsum(rng.normal(0, 0.25, size=(len(script.shots), 2)), axis=0)
    drift = np.clip(_MARGIN / 2 + drift, 0, _MARGIN).astype(int)
    grain = rng.integers(_MARGIN + 1, size=(len(script.shots), 2))

    frames = np.empty((len(script.shots), IMAGE_HEIGHT, IMAGE_WIDTH, 3), np.uint8)
    for index, shot in enumerate(script.shots):
        scene = background[::-1, ::-1] if shot == Shot.CUTAWAY else background
        image = _window(scene, drift[index]).copy()
        if shot not in (Shot.CUTAWAY, Shot.ABSENT):
            _draw(image, face.body, index)
            _draw(image, face.back_of_head if shot == Shot.BACK else face.head, index)
        if script.occluder is not None and shot == Shot.FACE:
            _draw_occluder(image, script.occluder, script, index)
        gain = script.light.gain[index] * (DARKNESS if shot == Shot.DARK else 1)
        image = cv2.multiply(image, light, scale=gain, dtype=cv2.CV_8U)
        if script.light.blur:
            image = cv2.GaussianBlur(image, (0, 0), script.light.blur)
        frames[index] = cv2.add(image, _window(noise, grain[index]), dtype=cv2.CV_8U)
    return frames


def _draw(image: np.ndarray, shapes: list[Shape], index: int) -> None:
    """Draws the shapes of frame `index` into an image, uint8 [H, W, 3] RGB."""
    for points, colour, width in shapes:
        _draw_shape(image, points[index], colour[index], None if width is None else int(width[index]))


def _draw_occluder(image: np.ndarray, occluder: Occluder, script: Script, index: int) -> None:
    """Draws the occluder of frame `index` into an image, uint8 [H, W, 3] RGB."""
    pose = script.pose
    if np.isnan(occluder.at[index, 0]):
        return
    scale = pose.scale[index]
    centre = np.array([pose.x[index], pose.y[index]]) + scale * occluder.at[index]
    turn = np.array(
        [[np.cos(occluder.angle), np.sin(occluder.angle)], [-np.sin(occluder.angle), np.cos(occluder.angle)]]
    )
    make_shapes = _hand if occluder.hand else _bar
    for points, colour, width in make_shapes(occluder, script.identity):
        pixels = None if width is None else max(1, round(width * scale))
        _draw_shape(image, centre + scale * points @ turn, colour, pixels)


def _draw_shape(image: np.ndarray, points: np.ndarray, colour: np.ndarray, width: int | None) -> None:
    """Draws a line of a width in pixels, or a polygon if the width is None. Points are float64 [P, 2], pixels."""
    corners = np.rint(points * 2**_SUBPIXEL_BITS).astype(np.int32)
    if width is None:
        cv2.fillPoly(image, [corners], colour.tolist(), cv2.LINE_AA, _SUBPIXEL_BITS)
    else:
        cv2.polylines(image, [corners], False, colour.tolist(), width, cv2.LINE_AA, _SUBPIXEL_BITS)


def _hand(occluder: Occluder, identity: Identity) -> list[_OccluderShape]:
    """Returns four fingers, a palm and a sleeve."""
    size = occluder.size
    fingers = [
        (np.array([[0.5 * finger * size, 0], [0.6 * finger * size, -1.7 * size]]), identity.skin * 0.82, 0.42 * size)
        for finger in (-1.5, -0.5, 0.5, 1.5)
    ]
    palm = (ellipse(0, 0, size, size), identity.skin * 0.88, None)
    sleeve = (size * np.array([[-0.7, 0.8], [0.7, 0.8], [1.0, 9], [-1.0, 9]]), identity.clothes * 0.9, None)
    return [*fingers, palm, sleeve]


def _bar(occluder: Occluder, identity: Identity) -> list[_OccluderShape]:
    size = occluder.size
    bar = np.array([[-3.0, -size], [3, -size], [3, size], [-3, size]])
    return [(bar, identity.clothes[[1, 0, 2]] * 0.5, None)]


def _window(image: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Cuts a frame out of a larger image, from its left and top corner on."""
    left, top = corner
    return image[top : top + IMAGE_HEIGHT, left : left + IMAGE_WIDTH]


def _draw_background(rng: np.random.Generator) -> np.ndarray:
    """Draws a colour gradient with clutter, uint8 [IMAGE_HEIGHT + _MARGIN, IMAGE_WIDTH + _MARGIN, 3]."""
    height, width = IMAGE_HEIGHT + _MARGIN, IMAGE_WIDTH + _MARGIN
    corners = np.stack([cool_colour(rng) for _ in range(4)]).reshape(2, 2, 3).astype(np.float32)
    image = np.clip(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), 0, 255).astype(np.uint8)
    for _ in range(rng.integers(3, 14)):
        centre = rng.uniform([0, 0], [width, height]).astype(int).tolist()
        axes = rng.integers(4, 45, size=2).tolist()
        colour = (cool_colour(rng) if rng.random() < 0.85 else rng.uniform(0.6, 1) * np.array([200, 30, 25])).tolist()
        if rng.random() < 0.5:
            cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            box = cv2.boxPoints((centre, axes, rng.uniform(0, 180)))
            cv2.fillPoly(image, [box.astype(np.int32)], colour, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 3))


def _light_map(script: Script) -> np.ndarray:
    """Returns factors for the light's colour and direction, float32 [IMAGE_HEIGHT, IMAGE_WIDTH, 3]."""
    right, down = script.light.side
    x = np.linspace(-1, 1, IMAGE_WIDTH)[np.newaxis, :, np.newaxis]
    y = np.linspace(-1, 1, IMAGE_HEIGHT)[:, np.newaxis, np.newaxis]
    return ((1 + right * x + down * y) * script.light.cast).astype(np.float32)
