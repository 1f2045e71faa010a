# SPDX-License-Identifier: Apache-2.0
"""Grad-CAM: the places of an image that raise the logit of a class.

Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017, equations 1 and 2. Where a network averages its last map and one dense layer follows, Grad-CAM
equals the class activation map of Zhou et al. (CVPR 2016), except for a factor.
"""

from typing import NamedTuple

import numpy as np

from fer.tf1 import tf


class HeatMaps(NamedTuple):
    """Heat maps of N frames for one class."""

    maps: np.ndarray  # float32 [N, H', W'] in [0, 1]. The highest place of each frame is 1, or all are 0
    peaks: np.ndarray  # float32 [N], the value before scaling of the highest place. 0: nothing raises the logit


def build_grad_cam(last_map: tf.Tensor, score: tf.Tensor) -> tf.Tensor:
    """Adds Grad-CAM to the default graph.

    Args:
      last_map: float32 [N, H', W', C], a layer of the network.
      score: float32 scalar, the logit to explain, or the sum of logits that each depend on frames of their own.

    Returns:
      float32 [N, H', W'], not negative, not scaled.
    """
    (gradient,) = tf.gradients(score, last_map)
    weights = tf.reduce_mean(gradient, [1, 2], keepdims=True)  # [N, 1, 1, C], equation 1
    return tf.nn.relu(tf.reduce_sum(weights * last_map, axis=3))  # equation 2


def scale_maps(values: np.ndarray) -> HeatMaps:
    """Scales the map of each frame to [0, 1] by its highest place.

    Args:
      values: float32 [N, H', W'], not negative.
    """
    peaks = values.max(axis=(1, 2))
    return HeatMaps(values / np.where(peaks > 0, peaks, 1)[:, np.newaxis, np.newaxis], peaks)
