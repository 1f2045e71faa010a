# SPDX-License-Identifier: Apache-2.0
"""The choice of the frames to show, and each frame's share of a mean. NumPy only."""

import numpy as np

from fer.predict.answer import FRAME_SECONDS

MOST_FRAMES = 6  # of a person that are shown
APART_S = 1.0  # seconds between two of them, at least. Neighbours look alike


def deciding_frames(
    frames: np.ndarray, logits: np.ndarray, most: int = MOST_FRAMES, apart_s: float = APART_S
) -> np.ndarray:
    """Chooses the frames whose logit of a class is highest, and that are not close to each other.

    Args:
      frames: int [N], their numbers at 25 frames/s.
      logits: float [N], of the class.
      most: number of frames to choose, at most.
      apart_s: seconds between two of them, at least.

    Returns:
      int [K], positions within `frames`, highest logit first. If logits tie, the earlier frame comes first.
    """
    apart = round(apart_s / FRAME_SECONDS)
    chosen: list[int] = []
    for position in np.lexsort([frames, -np.asarray(logits)]):
        if len(chosen) == most:
            break
        if all(abs(int(frames[position]) - int(frames[other])) >= apart for other in chosen):
            chosen.append(int(position))
    return np.array(chosen, np.int64)


def mean_contributions(logits: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Returns each frame's part of the mean of all frames. The parts add up to the mean exactly.

    Args:
      logits: float [N, 7], of the frames.
      counts: int [N], how often each frame counts, None for once.

    Returns:
      float64 [N, 7].
    """
    counts = np.ones(len(logits)) if counts is None else counts
    return np.asarray(logits, np.float64) * (counts / counts.sum())[:, np.newaxis]
