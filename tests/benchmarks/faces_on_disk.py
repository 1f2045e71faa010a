# SPDX-License-Identifier: Apache-2.0
"""JPEGs for benchmarks to read. They take as long to decode as faces, in videos as long as AFEW's."""

from pathlib import Path

import cv2
import numpy as np

from fer import emotions
from fer.manifest import write_manifest

MEDIAN, SIGMA, SHORTEST, LONGEST = 55, 0.5, 10, 144  # frames of AFEW's videos, a log-normal distribution


def afew_lengths(videos: int, seed: int = 0) -> list[int]:
    """Returns the numbers of frames of so many videos."""
    sampled = np.random.default_rng(seed).lognormal(np.log(MEDIAN), SIGMA, videos)
    return np.clip(sampled.round(), SHORTEST, LONGEST).astype(int).tolist()


def write_videos(folder: Path, lengths: list[int], size: int, kilobytes: float) -> Path:
    """Writes faces/<video>/<frame>.jpg and the manifest faces.txt, unless it exists. Returns the manifest's path.

    Args:
      folder: where to write.
      lengths: frames of each video.
      size: height and width in pixels.
      kilobytes: mean size of a file. Noise of two scales is mixed until JPEG quality 90 gives this size.
    """
    manifest = folder / 'faces.txt'
    if manifest.exists():
        return manifest
    rng = np.random.default_rng(0)
    fine = _detail(rng, size, kilobytes)
    rows = []
    for index, length in enumerate(lengths):
        (folder / 'faces' / f'{index:04d}').mkdir(parents=True)
        for frame in range(length):
            name = f'faces/{index:04d}/{frame:05d}.jpg'
            (folder / name).write_bytes(_encode(rng, size, fine))
            rows.append((name, emotions.to_one_hot(index % 7)))
    write_manifest(manifest, rows)
    return manifest


def _encode(rng: np.random.Generator, size: int, fine: float) -> bytes:
    coarse = cv2.resize(rng.uniform(30, 225, (7, 7, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    image = np.clip(coarse + rng.normal(0, fine, (size, size, 1)), 0, 255).astype(np.uint8)
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def _detail(rng: np.random.Generator, size: int, kilobytes: float) -> float:
    """Returns the standard deviation of the fine noise that gives a file its size."""
    low, high = 0.0, 120.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if len(_encode(rng, size, middle)) > kilobytes * 1e3 else (middle, high)
    return low
