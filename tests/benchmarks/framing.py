# SPDX-License-Identifier: Apache-2.0
"""Measures how FER2013 frames its faces, and what other framings cost: python -m tests.benchmarks.framing

  python -m tests.benchmarks.framing [--images=300] [--run=RUN] [--margins=-0.06,0,0.15]

Searches images of FER2013's training data with MTCNN, each with a border that repeats its edge, as `fer.prepare
--dataset=fer2013 --detector=mtcnn` does. Prints the share of images with a face, where its landmarks lie, and the
--margin at which fer.prepare cuts faces as large as FER2013's are.

With --run, a run that was trained on FER2013 as it is, also cuts images of PublicTest at each margin, and prints
the accuracy of the run on them and on the same images as published. A further row puts the landmarks where FER2013 has
them, so it differs from the published images by nothing but the turn and the jitter of the detector. Pixels outside
an image repeat its edge, so margins above 0 also measure what that costs.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from absl import flags

from fer import cli
from fer.emotions import EMOTIONS, FER2013_CODES
from fer.errors import InputError
from fer.manifest import write_manifest
from fer.prepare.detectors import make_mtcnn
from fer.prepare.faces import TEMPLATE, Face, align, similarity
from fer.progress import progress
from tests.realmedia import find_realdata

flags.DEFINE_string('data', None, 'Folder with fer2013.npz. Default: that of the tests (FER_REALDATA).')
flags.DEFINE_integer('images', 300, 'Images of training data, and of PublicTest with --run.', lower_bound=10)
flags.DEFINE_string('run', '', 'Folder of a run that was trained on FER2013. Empty: geometry only.')
flags.DEFINE_list('margins', ['-0.06', '0', '0.15'], 'Margins to cut faces with.')

BORDER = 0.15  # as fer.prepare.still_faces has it
USAGES = {'train': 0, 'val': 1}  # of fer2013.npz


class Sample(NamedTuple):
    """Images, and the largest face of each."""

    images: np.ndarray  # uint8 [N, 48, 48]
    labels: list[int]
    faces: list[Face | None]  # in pixels of the image, None without a face


def main() -> None:
    args = flags.FLAGS
    folder = Path(args.data) if args.data else (find_realdata() or Path('realdata')) / 'fer2013'
    path = folder / 'fer2013.npz'
    if not path.exists():
        raise InputError(f'{path}: no such file; give --data, the folder of fer2013.npz')
    train = find_faces(path, 'train', args.images)
    placed = report_geometry(train)
    if args.run:
        report_accuracies(find_faces(path, 'val', args.images), placed, [float(text) for text in args.margins])


def find_faces(path: Path, split: str, number: int) -> Sample:
    """Searches random images of a split."""
    data = np.load(path)
    indices = np.flatnonzero(data['usage'] == USAGES[split])
    chosen = np.random.default_rng(0).choice(indices, min(number, len(indices)), replace=False)
    images = data['pixels'][chosen]
    labels = [EMOTIONS.index(FER2013_CODES[int(code)]) for code in data['emotion'][chosen]]
    detect = make_mtcnn()
    faces = [_largest(detect, image) for image in progress(images, label=f'searching {split}', unit='image')]
    return Sample(images, labels, faces)


def _largest(detect, image: np.ndarray) -> Face | None:
    border = round(BORDER * len(image))
    bordered = cv2.copyMakeBorder(colour(image), *[border] * 4, cv2.BORDER_REPLICATE)
    found = detect(bordered)
    if not found:
        return None
    face = max(found, key=lambda one: one.box[2] * one.box[3])
    left, top, width, height = face.box
    return Face((left - border, top - border, width, height), face.landmarks - border, face.score)


def colour(image: np.ndarray) -> np.ndarray:
    """Returns a grey image as uint8 [H, W, 3]."""
    return np.repeat(image[:, :, None], 3, axis=2)


def report_geometry(sample: Sample) -> np.ndarray:
    """Prints where faces lie in images. Returns the median landmarks, float [5, 2], as shares of the image."""
    side = sample.images.shape[1]
    landmarks = np.array([(face.landmarks + 0.5) / side for face in sample.faces if face])
    print(f'{len(landmarks)} of {len(sample.images)} images have a face that MTCNN finds')
    # One unit of the template is the side of a crop with margin 0. Its scale in an image is that side.
    scales = np.array([np.hypot(*similarity(TEMPLATE, points)[:, 0]) for points in landmarks])
    margins = (1 / scales - 1) / 2
    quarter, middle, last = np.percentile(margins, [25, 50, 75])
    print(f'a crop as large as the image has the margin {middle:.3f} (quartiles {quarter:.3f} and {last:.3f})')
    median = np.median(landmarks, axis=0)
    own = similarity(TEMPLATE, median)
    centre = own[:, :2] @ [0.5, 0.5] + own[:, 2]
    print(f'the centre of such a crop lies at {centre[0]:.3f} and {centre[1]:.3f} of the image (0.5 is its middle)')
    for name, points in (('FER2013', median), ('--margin=0.15', (TEMPLATE - 0.5) / 1.3 + 0.5)):
        eyes = np.hypot(*(points[1] - points[0]))
        print(f'{name}: eyes {eyes:.3f} of the side apart and {points[:2, 1].mean():.3f} below the top')
    return median


def report_accuracies(sample: Sample, placed: np.ndarray, margins: Sequence[float]) -> None:
    """Prints the accuracy of --run on the images with a face, cut in several ways."""
    side = sample.images.shape[1]
    found = [(image, label, face) for image, label, face in zip(*sample, strict=True) if face]
    ways: dict[str, Callable] = {'as published': lambda image, face: image}
    for margin in margins:
        ways[f'--margin={margin:g}'] = lambda image, face, margin=margin: align(image, face, side, margin)
    ways["landmarks at FER2013's"] = lambda image, face: _place(image, face, placed)
    labels = [label for _, label, _ in found]
    cut = [way(colour(image), face) for way in ways.values() for image, _, face in found]
    answers = classify(cut).reshape(len(ways), len(found))
    for name, given in zip(ways, answers, strict=True):
        correct = int((given == labels).sum())
        print(f'{name:24s} {correct} of {len(labels)} = {correct / len(labels):.1%}')


def _place(image: np.ndarray, face: Face, placed: np.ndarray) -> np.ndarray:
    """Returns the image, moved so that the face's landmarks fall on `placed`, shares of the image."""
    matrix = similarity(face.landmarks, placed * len(image) - 0.5)
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def classify(images: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the classes that --run gives images, int [N].

    A process of its own computes them, because MTCNN needs eager TensorFlow and our networks need graphs.
    """
    with tempfile.TemporaryDirectory(prefix='fer-framing-') as temporary:
        folder = Path(temporary)
        names = [f'{number:05d}.png' for number in range(len(images))]
        for name, image in zip(names, images, strict=True):
            cv2.imwrite(str(folder / name), image[:, :, ::-1])
        write_manifest(folder / 'images.txt', [(name,) for name in names])
        files = (f'--manifest={folder / "images.txt"}', f'--output={folder / "answers.npz"}')
        command = [sys.executable, '-m', 'fer.extract', '--item=still', f'--init_from={flags.FLAGS.run}', *files]
        subprocess.run(command, check=True)
        with np.load(folder / 'answers.npz') as answers:
            return answers['logits'].argmax(axis=1)


if __name__ == '__main__':
    cli.run(main)
