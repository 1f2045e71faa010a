# SPDX-License-Identifier: Apache-2.0
"""Differences between the images, and the audio, of two manifests that chance does not explain.

A public copy of FER2013 has a blurred training set and a sharp test set. A network trained on it scored 49% on
training images and 21% on the test set, and every image was valid. So the distribution of each quantity below is
compared between every two manifests, by the two-sample Kolmogorov-Smirnov test. A difference is reported if it is
unlikely (LEVEL, divided by the number of quantities) and large (DISTANCE). Frames of a video are alike, so that a
video counts once, with the mean over its frames.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import ks_2samp

from fer.tf1 import tf

LEVEL = 0.01  # probability of a difference by chance, for all quantities together
DISTANCE = 0.15  # least Kolmogorov-Smirnov distance that is reported: a share of the videos, in [0, 1]
LOUDNESS = ('pcm_LOGenergy_sma', 'pcm_LOGenergy_sma_amean')  # of a clip, and of a whole video
IMAGE_QUANTITIES = ('brightness', 'contrast', 'sharpness', 'colour')

Quantities = Mapping[str, np.ndarray]  # name to float64 [N], a value for each video


class Drift(NamedTuple):
    """One quantity that differs between two manifests."""

    quantity: str
    first: str  # a manifest
    second: str
    medians: tuple[float, float]
    distance: float  # Kolmogorov-Smirnov, in [0, 1]
    probability: float  # of such a distance by chance

    def __str__(self) -> str:
        one, other = self.medians
        chance = f'p {self.probability:.1g}' if self.probability >= 1e-9 else 'p below 1e-9'
        return (
            f'{self.quantity}: median {one:.3g} in {self.first}, {other:.3g} in {self.second}; '
            f'distance {self.distance:.2f}, {chance}'
        )


def measure_image(image: tf.Tensor) -> tf.Tensor:
    """Returns float32 [4], the IMAGE_QUANTITIES of an image.

    - Brightness: the mean grey level, in [0, 255].
    - Contrast: the standard deviation of the grey levels.
    - Sharpness: the standard deviation of the Laplacian, per contrast. Blurring lowers it, as does scaling up.
    - Colour: the mean difference of a pixel's largest and smallest channel, 0 for a grey image.

    Args:
      image: uint8 [H, W, 3].
    """
    pixels = tf.cast(image, tf.float32)
    grey = tf.reduce_mean(pixels, axis=-1)  # [H, W]
    contrast = tf.math.reduce_std(grey)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    laplacian = around - 4 * grey[1:-1, 1:-1]  # empty where a side has less than three pixels
    count = tf.cast(tf.size(laplacian), tf.float32)
    deviation = laplacian - tf.math.divide_no_nan(tf.reduce_sum(laplacian), count)
    variance = tf.math.divide_no_nan(tf.reduce_sum(tf.square(deviation)), count)
    sharpness = tf.math.divide_no_nan(tf.sqrt(variance), contrast)
    colour = tf.reduce_mean(tf.reduce_max(pixels, axis=-1) - tf.reduce_min(pixels, axis=-1))
    return tf.stack([tf.reduce_mean(grey), contrast, sharpness, colour])


def mean_by_video(videos: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns float64 [V, Q], the mean over each video's images.

    Args:
      videos: int [N], the video of each image.
      values: float [N, Q].
    """
    _, place = np.unique(videos, return_inverse=True)
    counts = np.bincount(place)
    return np.stack([np.bincount(place, column) / counts for column in values.T.astype(np.float64)], axis=1)


def measure_loudness(audio: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Returns float64 [V], the mean logarithm of the energy of each video. Empty where no feature is that.

    Args:
      audio: float32 [frames, D] for each video.
      names: of the D features.
    """
    column = next((names.index(name) for name in LOUDNESS if name in names), None)
    if column is None:
        return np.zeros(0)
    columns = [values[:, column] for values in audio]
    return np.array([np.nanmean(values) for values in columns if not np.isnan(values).all()], np.float64)


def find_drift(first: str, ours: Quantities, second: str, theirs: Quantities) -> list[Drift]:
    """Returns what differs between two manifests, the largest distance first."""
    shared = [name for name in ours if name in theirs and len(ours[name]) and len(theirs[name])]
    found = []
    for name in shared:
        result = ks_2samp(ours[name], theirs[name], method='asymp')
        if result.pvalue < LEVEL / len(shared) and result.statistic >= DISTANCE:
            medians = float(np.median(ours[name])), float(np.median(theirs[name]))
            found.append(Drift(name, first, second, medians, float(result.statistic), float(result.pvalue)))
    return sorted(found, key=lambda drift: -drift.distance)
