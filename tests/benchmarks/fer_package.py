# SPDX-License-Identifier: Apache-2.0
"""The side of the `fer` package of PyPI in peers.py: a line of JSON in, a line of JSON out.

It runs in the environment of peers_venv.py by `python -I` outside the checkout, where `import fer` is that package.
Images pass its own `detect_emotions`, which converts them to grey, cuts the given boxes, resizes them to 64 pixels and
scales them to [-1, 1]. The box is the whole image, so no image is lost to a face detector.
"""

import csv
import json
import os
import sys
import time
import warnings

os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
os.environ['CUDA_VISIBLE_DEVICES'] = ''

import cv2
import numpy as np
import tensorflow as tf
from fer.fer import FER

cv2.setNumThreads(1)
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
warnings.simplefilter('ignore')

# The package's classes in our spelling.
CLASSES = {'angry': 'Anger', 'surprise': 'Surprise'}
CLASSES |= {name: name.capitalize() for name in ('disgust', 'fear', 'happy', 'sad', 'neutral')}
_BATCH = 64
_GRID = 8  # images beside each other in a picture of a batch


class Preparation(FER):
    """The package up to the input of its network, so that faces of several images can pass it together."""

    def _classify_emotions(self, gray_faces):
        self.prepared = gray_faces
        return np.zeros((len(gray_faces), len(self._get_labels())))


def predict(images: list[str], ids: list[str], tflite: bool, offset: int, output: str) -> int:
    """Writes the probabilities of image files as a CSV for fer.score, and returns their number.

    The probabilities are those before the package rounds them to two decimals.

    Args:
      images: paths.
      ids: of the images.
      tflite: whether the package uses its TFLite network, as it does by default, and not its Keras network.
      offset: pixels by which the package enlarges a box. Its default is 10. What lies outside the image is grey.
      output: CSV to write.
    """
    preparation, network = Preparation(offsets=(offset, offset)), FER(use_tflite=tflite)
    order = network._get_labels()
    with open(output, 'w', newline='') as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(['id', *(f'p_{CLASSES[order[index]]}' for index in range(len(order)))])
        for first in range(0, len(images), _BATCH):
            faces = []
            for path in images[first : first + _BATCH]:
                image = cv2.imread(path)
                preparation.detect_emotions(image, [(0, 0, image.shape[1], image.shape[0])])
                faces.append(preparation.prepared)
            found = np.asarray(network._classify_emotions(np.concatenate(faces)))
            for name, values in zip(ids[first : first + _BATCH], found, strict=True):
                rows.writerow([name, *(f'{value:.9g}' for value in values)])
    return len(images)


def measure(images: list[str], tflite: bool, batch: int, number: int) -> float:
    """Returns the images/s of `detect_emotions` with as many boxes at a time as a batch has images.

    A batch is one picture in memory, with its images beside each other and a box around each.

    Args:
      images: paths of at least as many images as a batch has, all of one size.
      tflite: as in `predict`.
      batch: images at a time.
      number: images in all, a multiple of `batch`.
    """
    network = FER(use_tflite=tflite, offsets=(0, 0))
    faces = [cv2.imread(path) for path in images[:batch]]
    height, width = faces[0].shape[:2]
    columns = min(batch, _GRID)
    picture = np.zeros((-(-batch // columns) * height, columns * width, 3), np.uint8)
    boxes = []
    for index, face in enumerate(faces):
        y, x = index // columns * height, index % columns * width
        picture[y : y + height, x : x + width] = face
        boxes.append((x, y, width, height))
    assert len(network.detect_emotions(picture, boxes)) == batch  # and warms up
    began = time.perf_counter()
    for _ in range(number // batch):
        network.detect_emotions(picture, boxes)
    return number / (time.perf_counter() - began)


def main() -> None:
    for line in sys.stdin:
        question = json.loads(line)
        answer = {'predict': predict, 'measure': measure}[question.pop('what')](**question)
        print(json.dumps(answer), flush=True)


if __name__ == '__main__':
    main()
