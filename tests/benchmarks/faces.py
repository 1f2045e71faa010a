# SPDX-License-Identifier: Apache-2.0
"""Measures face preparation against the plain MTCNN package: python -m tests.benchmarks.faces [--clips=FOLDER]

It takes about four minutes on two cores. The package runs `detect_faces`, with its defaults, on every full-size frame
in one process. Our preparation runs from file to aligned JPEGs, in one process and in two. Rounds are interleaved, and
medians are printed.

The package's time is detection alone. Ours includes decoding twice, alignment and JPEG. Neither includes loading the
networks. Agreement is with the package's largest face of each frame.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from absl import flags

from fer import cli
from fer.errors import InputError
from fer.prepare.datasets.source_files import VIDEO_SUFFIXES
from fer.prepare.detectors import DETECTORS
from fer.prepare.faces import Box, align
from fer.prepare.media import read_frames
from fer.prepare.tracking import follow, iou
from fer.prepare.video_files import encode_jpeg
from tests.realmedia import find_realdata

flags.DEFINE_string('clips', None, 'Folder of clips, searched at any depth. Default: that of the tests (FER_REALDATA).')

IMAGE_SIZE, MARGIN = 112, 0.15  # the defaults of `python -m fer.prepare`
ROUNDS = 3  # in round k the package searches frames k, k + 3, ... of each clip, so each frame once in all


def start_package() -> None:
    """Loads the plain package in a worker process."""
    global _package
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    from mtcnn import MTCNN

    _package = MTCNN()
    _package.detect_faces(np.zeros((90, 90, 3), np.uint8))


def start_ours() -> None:
    """Loads our detector in a worker process."""
    global _detector
    cv2.setNumThreads(1)
    _detector = DETECTORS['mtcnn']()


def run_package(clip: Path, first: int) -> tuple[float, list[Box | None]]:
    """Returns seconds, and the largest face of every third frame."""
    frames = list(read_frames(clip))[first::ROUNDS]
    start = time.perf_counter()
    boxes = [[tuple(map(float, face['box'])) for face in _package.detect_faces(frame)] for frame in frames]
    seconds = time.perf_counter() - start
    return seconds, [max(found, key=lambda box: box[2] * box[3], default=None) for found in boxes]


def run_ours(clip: Path) -> tuple[float, list[Box | None]]:
    """Returns seconds, and the box of the followed person in each frame."""
    start = time.perf_counter()
    tracked = follow(read_frames(clip), _detector)
    for image, (face, _) in zip(read_frames(clip), tracked, strict=True):
        if face:
            encode_jpeg(align(image, face, IMAGE_SIZE, MARGIN))
    return time.perf_counter() - start, [frame.face.box if frame.face else None for frame in tracked]


def compare(clips: Sequence[Path]) -> None:
    """Measures the clips and prints the table."""
    context = get_context('spawn')
    with (
        ProcessPoolExecutor(1, context, start_package) as package,
        ProcessPoolExecutor(1, context, start_ours) as one,
        ProcessPoolExecutor(2, context, start_ours) as two,
    ):
        counts = [len(boxes) for _, boxes in one.map(run_ours, clips)]
        list(two.map(run_ours, clips))  # starts both processes
        package.submit(run_package, clips[0], 10**9).result()
        expected: list[list[Box | None]] = [[None] * count for count in counts]
        slow: list[list[float]] = [[] for _ in clips]  # package, frames/s, per clip and round
        quick: list[list[float]] = [[] for _ in clips]
        rates: dict[str, list[float]] = {'package': [], 'ours, 1 process': [], 'ours, 2 processes': []}
        for turn in range(ROUNDS):
            total = 0.0
            for index, clip in enumerate(clips):
                seconds, boxes = package.submit(run_package, clip, turn).result()
                expected[index][turn::ROUNDS] = boxes
                slow[index].append(len(boxes) / seconds)
                total += seconds
            rates['package'].append(sum(len(boxes[turn::ROUNDS]) for boxes in expected) / total)
            for processes, name, pool in ((1, 'ours, 1 process', one), (2, 'ours, 2 processes', two)):
                start = time.perf_counter()
                done = list(pool.map(run_ours, [*clips] * processes))
                rates[name].append(processes * sum(counts) / (time.perf_counter() - start))
                if pool is one:
                    for index, count in enumerate(counts):
                        quick[index].append(count / done[index][0])
    print('clip                  frames  package f/s  ours f/s  ratio  same keep/skip  IoU >= 0.9    min   mean')
    overlaps: list[float] = []
    same = 0
    for index, clip in enumerate(clips):
        pairs = list(zip(expected[index], done[index][1], strict=True))
        agree = sum((theirs is None) == (ours is None) for theirs, ours in pairs)
        found = [iou(theirs, ours) for theirs, ours in pairs if theirs and ours]
        before, after = median(slow[index]), median(quick[index])
        row = f'{clip.name:20.20s}  {len(pairs):6d}  {before:11.1f}  {after:8.1f}  {after / before:5.1f}'
        print(f'{row}  {agree / len(pairs):14.1%}  {_overlap(found)}')
        overlaps += found
        same += agree
    print(
        f'all: {same}/{sum(counts)} frames with the same decision; IoU >= 0.9, min, mean: {_overlap(overlaps).strip()}'
    )
    base = median(rates['package'])
    for name, values in rates.items():
        print(f'{name:18s} {median(values):6.1f} frames/s, {median(values) / base:5.1f} x')


def _overlap(values: list[float]) -> str:
    if not values:
        return f'{"-":>10s}  {"-":>5s}  {"-":>5s}'
    return f'{np.mean(np.array(values) >= 0.9):10.1%}  {min(values):5.3f}  {np.mean(values):5.3f}'


def main() -> None:
    """Finds the clips and compares."""
    folder = Path(flags.FLAGS.clips) if flags.FLAGS.clips else find_realdata()
    if folder is None or not folder.is_dir():
        raise InputError(f'--clips={folder or ""}: expected a folder of clips (or one named by FER_REALDATA)')
    clips = sorted(path for path in folder.rglob('*') if path.suffix.lower() in VIDEO_SUFFIXES)
    if not clips:
        raise InputError(f'--clips={folder}: found no video; expected one of {", ".join(sorted(VIDEO_SUFFIXES))}')
    compare(clips)


if __name__ == '__main__':
    cli.run(main)
