# SPDX-License-Identifier: Apache-2.0
"""Windows of a video, and the index that pads them without copying a pixel."""

from collections.abc import Sequence
from typing import NamedTuple

from fer.errors import InputError
from fer.manifest import Video
from fer.tf1 import tf


class Window(NamedTuple):
    """Consecutive frames of one video, which the network takes as one input (dissertation 5.8)."""

    video: int  # index of the video in the manifest
    start: int  # its first frame in the video, from 0
    length: int  # real frames, 1..seq_len


def split_windows(videos: Sequence[Video], seq_len: int) -> list[Window]:
    """Cuts each video into windows of `seq_len` frames. The last window has the rest: 100 frames give 80 and 20.

    Raises:
      InputError: `seq_len` is below 1.
    """
    if seq_len < 1:
        raise InputError(f'--seq_len={seq_len}: expected at least 1 frame')
    windows = []
    for index, video in enumerate(videos):
        for start in range(0, len(video.lines), seq_len):
            windows.append(Window(index, start, min(seq_len, len(video.lines) - start)))
    return windows


def pad_index(lengths, seq_len: int):
    """Returns the packed frame for each position of the padded windows.

    Args:
      lengths: int32 [B], real frames of each window, at least 1.
      seq_len: T, the padded length.

    Returns:
      int32 [B, T], values in [0, sum(lengths)). Positions past a window's end have the index of its last frame, which
      is the dissertation's padding (5.1.5). `tf.gather(per_frame, pad_index)` is [B, T, ...].
    """
    first = tf.cumsum(lengths, exclusive=True)  # [B]
    position = tf.minimum(tf.range(seq_len)[tf.newaxis, :], lengths[:, tf.newaxis] - 1)  # [B, T]
    return first[:, tf.newaxis] + position
