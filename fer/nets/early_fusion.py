# SPDX-License-Identifier: Apache-2.0
"""Early fusion: the visual and audio features of a frame, joined, and a classifier on them (dissertation 4.4).

The options of figure 6.13 differ in the joined features and in the classifier:

  option  visual                   audio                  classifier
  1       CNN features             LLD                    GRU
  2       CNN features             audio GRU's outputs    GRU
  3       CNN features             audio GRU's outputs    dense layer
  4       visual GRU's outputs     audio GRU's outputs    GRU
"""

from typing import NamedTuple

from fer.nets.layers import classifier
from fer.nets.layers import dropout as dropout_layer
from fer.nets.rnn import Recurrence, sequence_classifier
from fer.tf1 import tf


class Option(NamedTuple):
    """One row of the table at the top of this file."""

    visual_rnn: bool
    audio_rnn: bool
    recurrent: bool


OPTIONS = {
    1: Option(visual_rnn=False, audio_rnn=False, recurrent=True),
    2: Option(visual_rnn=False, audio_rnn=True, recurrent=True),
    3: Option(visual_rnn=False, audio_rnn=True, recurrent=False),
    4: Option(visual_rnn=True, audio_rnn=True, recurrent=True),
}


def early_fusion(
    visual: tf.Tensor,
    audio: tf.Tensor,
    lengths: tf.Tensor,
    pad_index: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    rnn: Recurrence | None = Recurrence(),  # noqa: B008 (immutable)
    dropout: float = 0.0,
    scope: str = 'early_fusion',
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Concatenates visual and audio features and classifies each frame.

    Args:
      visual: float32 [N, V], features of the real frames of B windows, one window after the other.
      audio: float32 [N, A], features of the same frames.
      lengths: int32 [B], real frames of each window, at least 1.
      pad_index: int32 [B, T], as `fer.data.windows.pad_index` makes it.
      num_classes: units of the classifier.
      is_training: True turns dropout on.
      rnn: of the recurrent network that classifies the frames, or None for a dense layer on each frame.
      dropout: share of units dropped before the dense layer that gives the logits, in [0, 1).
      scope: scope of the variables, which are reused if they exist.

    Returns:
      outputs: float32 [N, U], the input of the dense layer: the GRU's outputs, or the joined features.
      end_points: `joined`, float32 [N, V + A], and `logits`, float32 [N, num_classes].
    """
    joined = tf.concat([visual, audio], axis=1)
    if rnn:
        outputs, end_points = sequence_classifier(
            joined, lengths, pad_index, num_classes, is_training, rnn, dropout, scope
        )
        return outputs, {'joined': joined, 'logits': end_points['logits']}
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
        net = dropout_layer(joined, dropout, is_training, scope=f'{scope}/dropout')
        logits = classifier(net, num_classes)
    return joined, {'joined': joined, 'logits': logits}
