# SPDX-License-Identifier: Apache-2.0
"""Compares BlazeFace with MTCNN: python -m tests.benchmarks.detectors [--clips=FOLDER] [--faces=50]

It takes about ten minutes on one core. Each detector uses one thread. Times are CPU time of the process, because other
work on the machine does not change it much. The detectors take turns, so that they share what remains.

1. Clips: each detector follows the person through every clip, as preparation does.
2. Changed frames: frames of the clips are covered in part, turned, shrunk, blurred or darkened. The true place of a
   face is that of the same detector in the frame as it is, moved by the change.
3. Small faces: images of FER2013 in frames of the clip without faces, where their place is known.
4. Painted faces of the synthetic corpus, whose true landmarks are known.

The error of an alignment is the mean distance that the corners of the aligned face move, in pixels of a face of 112
pixels. A face is found if its centre is within half a face of the true one, and its box is smaller than twice that of
the true one and larger than half.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from absl import flags

from fer import cli
from fer.errors import InputError
from fer.prepare.datasets.source_files import VIDEO_SUFFIXES
from fer.prepare.detectors import DETECTORS, Detector
from fer.prepare.faces import TEMPLATE, Face, similarity
from fer.prepare.media import read_frames
from fer.prepare.synthetic.face import shape_face
from fer.prepare.synthetic.frames import draw_frames
from fer.prepare.synthetic.plan import clip_rng, plan_split
from fer.prepare.synthetic.script import Shot, write_script
from fer.prepare.tracking import TrackedFrame, follow
from tests.realmedia import find_realdata

flags.DEFINE_string('clips', None, 'Folder of clips, searched at any depth. Default: that of the tests (FER_REALDATA).')
flags.DEFINE_integer('faces', 50, 'Images of FER2013 of each size.', lower_bound=1)

NAMES = ('mtcnn', 'blazeface')
IMAGE_SIZE = 112
EVERY = 12  # the frames of the clips that are changed
SIZES = (20, 24, 28, 36, 48, 72, 120, 240)  # of pasted faces, in frames of 640x360


class Change(NamedTuple):
    """A change of a frame, and the matrix [2, 3] that moves its points to the same place in the changed one."""

    image: np.ndarray
    matrix: np.ndarray


class Timed:
    """A detector that counts its calls and their CPU seconds, of full searches and of those near boxes."""

    def __init__(self, detect: Detector) -> None:
        self._detect = detect
        self.seconds: dict[str, list[float]] = {'full': [], 'near': []}

    def __call__(self, image: np.ndarray, near: Sequence | None = None) -> list[Face]:
        start = time.process_time()
        faces = self._detect(image, near)
        self.seconds['full' if near is None else 'near'].append(time.process_time() - start)
        return faces

    def describe(self) -> str:
        """Returns the calls so far and their median CPU time, and forgets them."""
        parts = [f'{len(s)} {kind}, {1000 * np.median(s):.1f} ms' for kind, s in self.seconds.items() if s]
        self.seconds = {'full': [], 'near': []}
        return '; '.join(parts)


def compare_clips(detectors: dict[str, Timed], clips: Sequence[Path]) -> None:
    """Prints what each detector keeps of each clip, how fast, and how far their alignments lie apart."""
    print(
        'clip                  frames  both  only mtcnn  only blazeface  neither  distance mean  95%   f/s (CPU)  ratio'
    )
    totals, apart = np.zeros(4, int), []
    spent = dict.fromkeys(NAMES, 0.0)
    for clip in clips:
        frames = list(read_frames(clip))
        tracked: dict[str, list[TrackedFrame]] = {}
        seconds = {}
        for name, detect in detectors.items():
            start = time.process_time()
            tracked[name] = follow(frames, detect)
            seconds[name] = time.process_time() - start
            spent[name] += seconds[name]
        kept = np.array([[frame.face is not None for frame in tracked[name]] for name in NAMES])
        counts = [int((kept == np.array(state)[:, None]).all(0).sum()) for state in ((1, 1), (1, 0), (0, 1), (0, 0))]
        distances = [
            align_distance(one.face.landmarks, two.face.landmarks)
            for one, two in zip(*tracked.values(), strict=True)
            if one.face and two.face
        ]
        totals += counts
        apart += distances
        rates = [len(frames) / seconds[name] for name in NAMES]
        shown = f'{np.mean(distances):13.2f}  {np.percentile(distances, 95):4.1f}' if distances else ' ' * 19
        both, one, two, none = counts
        row = f'{clip.stem:20.20s}  {len(frames):6d}  {both:4d}  {one:10d}  {two:14d}  {none:7d}  {shown}'
        print(f'{row}  {rates[0]:.0f}, {rates[1]:.0f}  {rates[1] / rates[0]:.1f}', flush=True)
    print(f'all: both {totals[0]}, only mtcnn {totals[1]}, only blazeface {totals[2]}, neither {totals[3]}')
    print(f'distance of alignments: mean {np.mean(apart):.2f}, 95% {np.percentile(apart, 95):.2f}')
    print(f'CPU seconds of following: {spent}; ratio {spent["mtcnn"] / spent["blazeface"]:.2f}')
    for name in NAMES:
        print(f'{name}: {detectors[name].describe()}')


def align_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Returns how far the corners of an aligned face move if the second landmarks, [5, 2], replace the first."""
    corners = np.array([(0, 0), (1, 0), (0, 1), (1, 1)]) * IMAGE_SIZE
    target = TEMPLATE * IMAGE_SIZE
    back = cv2.invertAffineTransform(similarity(first, target))
    moved = move(similarity(second, target), move(back, corners))
    return float(np.hypot(*(moved - corners).T).mean())


def move(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Moves points [P, 2] by a matrix [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def turn(degrees: float) -> Callable[[np.ndarray, Face], Change]:
    def apply(image: np.ndarray, face: Face) -> Change:
        left, top, width, height = face.box
        return warp(image, cv2.getRotationMatrix2D((left + width / 2, top + height / 2), degrees, 1))

    return apply


def shrink(side: int) -> Callable[[np.ndarray, Face], Change]:
    def apply(image: np.ndarray, face: Face) -> Change:
        scale = side / face.box[3]
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        canvas = np.full((360, 640, 3), 110, np.uint8)
        height, width = min(360, small.shape[0]), min(640, small.shape[1])
        canvas[:height, :width] = small[:height, :width]
        return Change(canvas, np.array([[scale, 0, 0], [0, scale, 0]]))

    return apply


def squeeze(image: np.ndarray, face: Face) -> Change:
    """Makes the picture narrower, as a face that is turned away by 53 degrees."""
    return warp(image, np.array([[0.6, 0, 0.2 * image.shape[1]], [0, 1, 0]]))


def warp(image: np.ndarray, matrix: np.ndarray) -> Change:
    size = image.shape[1::-1]
    return Change(cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.asarray(matrix, np.float64))


def cover(begin: tuple[float, float], end: tuple[float, float]) -> Callable[[np.ndarray, Face], Change]:
    """Returns a change that paints a part of the face, given by shares (x, y) of the aligned face, in one colour."""

    def apply(image: np.ndarray, face: Face) -> Change:
        corners = np.array([begin, (end[0], begin[1]), end, (begin[0], end[1])])
        area = move(similarity(TEMPLATE, face.landmarks), corners)
        return Change(cv2.fillPoly(image.copy(), [area.round().astype(np.int32)], (120, 90, 80)), np.eye(2, 3))

    return apply


def keep_place(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, Face], Change]:
    return lambda image, face: Change(change(image), np.eye(2, 3))


CHANGES = {
    'as it is': keep_place(np.copy),
    'left half covered': cover((-0.2, -0.3), (0.5, 1.2)),
    'mouth covered': cover((-0.2, 0.7), (1.2, 1.3)),
    'eyes covered': cover((-0.2, 0.3), (1.2, 0.58)),
    'lower half covered': cover((-0.2, 0.52), (1.2, 1.3)),
    'turned by 15 degrees': turn(15),
    'turned by 30 degrees': turn(30),
    'turned by 45 degrees': turn(45),
    'turned by 90 degrees': turn(90),
    'squeezed to 0.6': squeeze,
    'shrunk to 40 pixels': shrink(40),
    'shrunk to 24 pixels': shrink(24),
    'dark, a tenth of the light': keep_place(lambda image: (image * 0.1).astype(np.uint8)),
    'blurred by a tenth of the height': keep_place(lambda image: cv2.GaussianBlur(image, (0, 0), image.shape[0] / 60)),
}


def compare_changes(detectors: dict[str, Timed], clips: Sequence[Path]) -> None:
    """Prints how often each detector finds a face again after a change, and the error of its alignment."""
    frames = [image for clip in clips for image in list(read_frames(clip))[::EVERY]]
    print('\nchange                            mtcnn: found  false  error  95%   blazeface: found  false  error  95%')
    largest = {
        name: [max(detect(image), key=lambda face: face.box[2], default=None) for image in frames]
        for name, detect in detectors.items()
    }
    for label, change in CHANGES.items():
        row = f'{label:34s}'
        for name, detect in detectors.items():
            found = false = total = 0
            errors = []
            for image, face in zip(frames, largest[name], strict=True):
                if face is None:
                    continue
                total += 1
                changed = change(image, face)
                faces = detect(changed.image)
                true = [other for other in faces if is_same(other, face.box, changed.matrix)]
                found += bool(true)
                false += len(faces) - len(true)
                errors += [align_distance(move(changed.matrix, face.landmarks), other.landmarks) for other in true[:1]]
            shown = f'{np.mean(errors):5.1f} {np.percentile(errors, 95):5.1f}' if errors else ' ' * 11
            row += f'{found:4d} of {total:3d}  {false:4d}  {shown}       '
        print(row, flush=True)


def is_same(face: Face, box: Sequence[float], matrix: np.ndarray) -> bool:
    """Returns True if a face is the one of a box [4] that a matrix has moved."""
    left, top, width, height = box
    centre = move(matrix, np.array([(left + width / 2, top + height / 2)]))[0]
    side = np.sqrt(width * height * abs(np.linalg.det(matrix[:, :2])))
    place = np.array(face.box[:2]) + np.array(face.box[2:]) / 2
    size = np.sqrt(face.box[2] * face.box[3])
    return bool(np.abs(place - centre).max() < side / 2 and side / 2 < size < 2 * side)


def compare_sizes(detectors: dict[str, Timed], folder: Path, clip: Path, count: int) -> None:
    """Prints how many pasted faces of each size are found in a full search, and near their place."""
    with np.load(folder / 'fer2013' / 'fer2013.npz', allow_pickle=False) as archive:
        pixels = archive['pixels'][archive['usage'] == 1]  # PublicTest
    backgrounds = [cv2.resize(image, (640, 360), interpolation=cv2.INTER_AREA) for image in read_frames(clip)]
    print('\nside of the pasted face     found by mtcnn: full, near, false     by blazeface: full, near, false')
    for side in SIZES:
        row = f'{side:4d} pixels, {count} faces'
        counts = {name: [0, 0, 0] for name in NAMES}
        for image, box in paste(pixels, backgrounds, side, count):
            for name, detect in detectors.items():
                faces = detect(image)
                true = sum(is_same(face, box, np.eye(2, 3)) for face in faces)
                shifted = (box[0] + 0.08 * side, box[1] - 0.06 * side, box[2], box[3])
                near = any(is_same(face, box, np.eye(2, 3)) for face in detect(image, [shifted]))
                counts[name] = [*np.add(counts[name], (true > 0, near, len(faces) - true)).tolist()]
        print(row + ''.join(f'{counts[name]!s:>36s}' for name in NAMES), flush=True)
    for name in NAMES:
        print(f'{name}: {detectors[name].describe()}')


def compare_painted(detectors: dict[str, Timed], count: int) -> None:
    """Prints how many painted faces are found, and the error of their alignment against the true landmarks."""
    print('\npainted faces: found, false, error mean, 95%')
    results: dict[str, list[tuple[int, int, list[float]]]] = {name: [] for name in NAMES}
    for plan in plan_split('Train', count, seed=7):
        script = write_script(plan, 7)
        landmarks = shape_face(script).landmarks
        visible = np.flatnonzero(script.shots == Shot.FACE)
        if script.occluder is not None or not visible.size:
            continue
        index = int(visible[visible.size // 2])
        image = draw_frames(script, clip_rng(plan, 7, 1))[index]
        place = similarity(TEMPLATE, landmarks[index])
        corner, side = move(place, np.zeros((1, 2)))[0], float(np.hypot(*place[:, 0]))
        for name, detect in detectors.items():
            faces = detect(image)
            true = [face for face in faces if is_same(face, (*corner, side, side), np.eye(2, 3))]
            errors = [align_distance(landmarks[index], face.landmarks) for face in true[:1]]
            results[name].append((bool(true), len(faces) - len(true), errors))
    for name, rows in results.items():
        errors = [error for row in rows for error in row[2]]
        shown = f'{np.mean(errors):.1f}, {np.percentile(errors, 95):.1f}' if errors else '-'
        print(f'{name}: {sum(row[0] for row in rows)} of {len(rows)}, {sum(row[1] for row in rows)}, {shown}')


def paste(
    pixels: np.ndarray, backgrounds: Sequence[np.ndarray], side: int, count: int
) -> Iterator[tuple[np.ndarray, tuple[float, float, float, float]]]:
    """Yields pictures with one face, uint8 [360, 640, 3], and its box. The same for each call of a size."""
    rng = np.random.default_rng(side)
    method = cv2.INTER_AREA if side < pixels.shape[1] else cv2.INTER_LINEAR
    for number in rng.choice(len(pixels), count, replace=False):
        image = backgrounds[rng.integers(len(backgrounds))].copy()
        left, top = int(rng.integers(0, 640 - side + 1)), int(rng.integers(0, 360 - side + 1))
        face = cv2.resize(pixels[number], (side, side), interpolation=method)
        image[top : top + side, left : left + side] = face[..., None]
        yield image, (float(left), float(top), float(side), float(side))


def main() -> None:
    """Loads both detectors and prints the four tables."""
    folder = Path(flags.FLAGS.clips) if flags.FLAGS.clips else find_realdata()
    clips = sorted(path for path in folder.rglob('*') if path.suffix.lower() in VIDEO_SUFFIXES) if folder else []
    if folder is None or not clips:
        raise InputError(f'--clips={folder}: expected a folder of clips (or one named by FER_REALDATA)')
    cv2.setNumThreads(1)
    detectors = {name: Timed(DETECTORS[name]()) for name in NAMES}
    for detect in detectors.values():
        detect(np.zeros((90, 90, 3), np.uint8), None)
        detect.describe()
    compare_clips(detectors, clips)
    empty = [clip for clip in clips if clip.parent.name == 'no_face']
    compare_changes(detectors, [clip for clip in clips if clip not in empty])
    if empty and (folder / 'fer2013').is_dir():
        compare_sizes(detectors, folder, empty[0], flags.FLAGS.faces)
    compare_painted(detectors, flags.FLAGS.faces)


if __name__ == '__main__':
    cli.run(main)
