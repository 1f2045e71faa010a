# SPDX-License-Identifier: Apache-2.0
"""Combines the logits of frames into the logits of windows (dissertation 5.8).

`--classify` names what is classified:
- `frame`: each real frame, with the label of its video.
- `exact`: a window, from its real frames.
- `padded`: a window whose last frame was repeated up to `seq_len` frames.
`--aggregate` names how the logits of frames are combined: `mean` or `median`.
"""

from fer.tf1 import tf


def window_logits(
    frame_logits: tf.Tensor, lengths: tf.Tensor, pad_index: tf.Tensor, classify: str, aggregate: str
) -> tf.Tensor:
    """Returns the logits that decide each window's class. `frame` is as `exact` here: only its loss is per frame.

    Args:
      frame_logits: float [N, C], one row per real frame.
      lengths: int32 [B], real frames of each window.
      pad_index: int32 [B, T], frame of each padded position.
      classify: `frame`, `exact` or `padded`.
      aggregate: `mean` or `median`. The median of an even number of frames is the mean of the middle two.

    Returns:
      float [B, C].
    """
    padded = tf.gather(frame_logits, pad_index)  # [B, T, C]
    count = tf.fill(tf.shape(lengths), tf.shape(pad_index)[1]) if classify == 'padded' else lengths  # [B]
    counted = tf.sequence_mask(count, tf.shape(pad_index)[1])[:, :, tf.newaxis]  # [B, T, 1]
    if aggregate == 'mean':
        total = tf.reduce_sum(tf.where_v2(counted, padded, tf.zeros_like(padded)), axis=1)
        return total / tf.cast(count, padded.dtype)[:, tf.newaxis]
    # Infinity moves positions that do not count to the end, so the median is the middle of the first `count`.
    last = tf.fill(tf.shape(padded), tf.constant(float('inf'), padded.dtype))
    ordered = tf.sort(tf.where_v2(counted, padded, last), axis=1)
    middle = tf.stack([(count - 1) // 2, count // 2], axis=1)  # [B, 2]
    return tf.reduce_mean(tf.gather(ordered, middle, batch_dims=1), axis=1)
