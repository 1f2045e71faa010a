# SPDX-License-Identifier: Apache-2.0
"""MTCNN (Zhang et al., "Joint face detection and alignment using multitask cascaded convolutional networks", 2016).

This is the `mtcnn` package, with the weights in its wheel and two changes that do not change its results:
- Its networks run as compiled functions, not op by op.
- Its first network, which searches an image at ever smaller scales, can be limited to the regions near given boxes.
  Each scale is made from the whole image, and regions are cut from it on the network's own grid. The network's input in
  a region is therefore the same as in a full search.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np

from fer.prepare.faces import MIN_FACE_SHARE, Box, Face
from fer.stack import find_stack, quiet_import

find_stack()
with quiet_import():
    import tensorflow as tf  # not through fer.tf1, because mtcnn needs eager TensorFlow
    from mtcnn import MTCNN
    from mtcnn.stages import StageONet, StagePNet, StageRNet
    from mtcnn.utils.bboxes import generate_bounding_box, resize_to_square, smart_nms_from_bboxes, upscale_bboxes

MIN_FACE = 20  # pixels, the package's smallest face. In a large image it is MIN_FACE_SHARE of the shorter side.

# A search near a box covers this many of its sides around its centre, and faces within this factor of its size.
REACH = 2.0
SIZE_RANGE = 2.0

_CELL, _STRIDE = 12, 2  # pixels of a scaled image: the input of one output of the first network, and between outputs
_SHRINK = 0.709  # from one scale to the next
_THRESHOLD = 0.6  # of the first network's scores, the package's value


@contextmanager
def _ignored_finalizers() -> Iterator[None]:
    """Keeps exceptions of finalizers off the screen, which CPython 3.13 prints and older versions do not.

    They occur because lz4 flushes the files of weights after joblib has closed them.
    """
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = before


class Mtcnn:
    """The three networks, loaded once. `detect` is a `fer.prepare.detectors.Detector`."""

    def __init__(self) -> None:
        # Worker processes already fill the cores, and GPUs are left to training.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.set_visible_devices([], 'GPU')
        with _ignored_finalizers():
            stages = [_Proposals(), StageRNet(), StageONet()]
        for stage, side in zip(stages, (None, 24, 48), strict=True):
            images = tf.TensorSpec([None, side, side, 3], tf.float32)
            stage._model = tf.function(stage.model.call, input_signature=[images])
        self._network = MTCNN(stages)

    def detect(self, image: np.ndarray, near: Sequence[Box] | None = None) -> list[Face]:
        """Finds faces, the highest score first.

        Args:
          image: uint8 [H, W, 3] RGB.
          near: boxes to search near. None searches the whole image.
        """
        faces = []
        # One row for each face: image, box, score, five x, five y. The package's other form rounds to whole pixels.
        for row in self._network.detect_faces(image, near=near, output_type='numpy').astype(np.float64):
            left, top, width, height, score = map(float, row[1:6])
            faces.append(Face((left, top, width, height), row[6:].reshape(2, 5).T, score))
        return faces


class _Proposals(StagePNet):
    """The package's first stage, with `near`: boxes to search near, or None for the whole image."""

    def __call__(
        self, images_normalized: tf.Tensor, images_oshapes: np.ndarray, near: Sequence[Box] | None = None, **_: object
    ) -> np.ndarray:
        image = np.asarray(images_normalized[0])
        found = [np.empty((0, 6))]
        for scale in pyramid(*image.shape[:2]):
            height, width = (int(side * scale) for side in image.shape[:2])
            regions = _regions(near, scale, height, width)
            if not regions:
                continue
            level = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            at_scale = []
            for left, top, right, bottom in regions:
                offsets, scores = self.model(level[None, top:bottom, left:right])
                boxes = generate_bounding_box(offsets, scores, _THRESHOLD)
                boxes[:, 1:5] += (left, top, left, top)
                at_scale.append(upscale_bboxes(boxes, np.array([scale])))
            boxes = np.concatenate(at_scale)
            found.append(smart_nms_from_bboxes(boxes, threshold=0.5, method='union', initial_sort=False))
        boxes = smart_nms_from_bboxes(np.concatenate(found), threshold=0.7, method='union', initial_sort=True)
        return resize_to_square(boxes)


def pyramid(height: int, width: int) -> np.ndarray:
    """Returns the scales at which an image of a size is searched, the largest first.

    They are those of the package. In a large image the largest scales are left out (see MIN_FACE_SHARE).
    """
    shorter = min(height, width)
    count = max(0, round(-(np.log(shorter / _CELL) / np.log(_SHRINK) + 1)))
    scales = _CELL / MIN_FACE * _SHRINK ** np.arange(count)
    return scales[_CELL / scales > max(MIN_FACE, MIN_FACE_SHARE * shorter) * _SHRINK]


def _regions(near: Sequence[Box] | None, scale: float, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Returns the regions of a scaled image to search, (left, top, right, bottom) in its pixels.

    They start on the first network's grid. If `near` is None, the region is the whole image.
    """
    if near is None:
        return [(0, 0, width, height)]
    regions = []
    for box in near:
        side = max(box[2], box[3]) * scale
        if _CELL / SIZE_RANGE <= side <= _CELL * SIZE_RANGE:
            x, y, reach = (box[0] + box[2] / 2) * scale, (box[1] + box[3] / 2) * scale, REACH / 2 * side
            left, top = (max(0, int((centre - reach) / _STRIDE)) * _STRIDE for centre in (x, y))
            right, bottom = min(width, int(np.ceil(x + reach))), min(height, int(np.ceil(y + reach)))
            if min(right - left, bottom - top) >= _CELL:
                regions.append((left, top, right, bottom))
    return regions
