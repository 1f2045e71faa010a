# SPDX-License-Identifier: Apache-2.0
"""The graph that other programs run: from bytes of images and features of audio to logits and probabilities.

All of the preprocessing is inside: the resizing, the convention of the pixels, the scaling of audio and the padding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from fer.data.audio import LARGEST, Scaling
from fer.data.images import scale_pixels
from fer.data.pipeline import Batch
from fer.data.windows import pad_index
from fer.tf1 import tf
from fer.training.aggregation import window_logits
from fer.training.schedule import Phase
from fer.training.stages import Blueprint, build_frames

IMAGES, AUDIO, LENGTHS = 'images', 'audio', 'lengths'  # inputs
LOGITS, PROBABILITIES, FRAME_LOGITS = 'logits', 'probabilities', 'frame_logits'  # outputs


class ServedGraph(NamedTuple):
    """The inputs and outputs of an exported network, by their names."""

    inputs: dict[str, tf.Tensor]
    outputs: dict[str, tf.Tensor]


def has_windows(blueprint: Blueprint) -> bool:
    """Returns whether an item of the network is a window of frames. Otherwise it is a still or a video's audio."""
    return blueprint.stage.contents.item == 'frame'


@contextmanager
def old_loops() -> Iterator[None]:
    """Adds loops to graphs in the form of TensorFlow 1. onnxruntime refuses what becomes of the newer form."""
    is_new = tf.control_flow_v2_enabled()
    tf.disable_control_flow_v2()
    try:
        yield
    finally:
        if is_new:
            tf.enable_control_flow_v2()


def open_cpu_session() -> tf.Session:
    """Opens a session of the default graph that uses no GPU, because a GPU may round products to 10 bits (TF32)."""
    return tf.Session(config=tf.ConfigProto(device_count={'GPU': 0}))


def build_served(blueprint: Blueprint, temperature: float) -> ServedGraph:
    """Adds a network with its preprocessing and its calibration to the default graph.

    An input that the stage does not use is left out. B counts stills, videos or windows, and stages without windows
    have no axis T. Values past the length of a window change nothing.

      images         uint8 [B, T, H, W, 3], RGB, of any height and width
      audio          float32 [B, T, D], features as openSMILE gives them. The mean of training replaces NaN and infinity
      lengths        int32 [B], frames of each window, from 1 to T. A window of another length gets NaN for answers
      logits         float32 [B, 7]
      probabilities  float32 [B, 7], the softmax of logits / temperature
      frame_logits   float32 [B, T, 7]. Past the length of a window, those of its last frame. Only with windows

    Args:
      blueprint: of the run.
      temperature: above 0.
    """
    contents, config = blueprint.stage.contents, blueprint.config
    inputs = _make_inputs(blueprint)
    net = dict(inputs)
    if has_windows(blueprint):
        steps = tf.shape(inputs[IMAGES if contents.images else AUDIO])[1]
        lengths = tf.clip_by_value(inputs[LENGTHS], 1, steps)
        real = tf.sequence_mask(lengths, steps)  # [B, T]
        net = {name: tf.boolean_mask(tensor, real) for name, tensor in inputs.items() if name != LENGTHS}
        padding = pad_index(lengths, tf.maximum(steps, config.seq_len) if config.classify == 'padded' else steps)
    else:
        lengths = tf.ones([tf.shape(next(iter(inputs.values())))[0]], tf.int32)
        padding = tf.range(tf.size(lengths))[:, tf.newaxis]
    batch = Batch(
        scale_pixels(resize(net[IMAGES], config.image_size)) if contents.images else None,
        scale_audio(net[AUDIO], blueprint.scaling) if blueprint.scaling else None,
        *(lengths, padding, tf.zeros_like(lengths), tf.range(tf.size(lengths))),
    )
    frames = build_frames(blueprint, batch, is_training=False, phase=Phase.ALL)
    logits = window_logits(frames.logits, lengths, padding, config.classify, config.aggregate)
    if not has_windows(blueprint):
        return ServedGraph(inputs, _name_outputs(logits, temperature))
    wrong = tf.not_equal(lengths, inputs[LENGTHS])[:, tf.newaxis]  # [B, 1]
    missing = tf.constant(np.nan, logits.dtype)
    of_frames = tf.gather(frames.logits, pad_index(lengths, steps))  # [B, T, 7]
    of_frames = tf.where_v2(wrong[:, tf.newaxis], missing, of_frames)
    outputs = _name_outputs(tf.where_v2(wrong, missing, logits), temperature)
    return ServedGraph(inputs, outputs | {FRAME_LOGITS: tf.identity(of_frames, FRAME_LOGITS)})


def _make_inputs(blueprint: Blueprint) -> dict[str, tf.Tensor]:
    """Returns the placeholders that `build_served` describes, by their names."""
    items = [None, None] if has_windows(blueprint) else [None]
    inputs = {}
    if blueprint.stage.contents.images:
        inputs[IMAGES] = tf.placeholder(tf.uint8, [*items, None, None, 3], IMAGES)
    if blueprint.scaling:
        inputs[AUDIO] = tf.placeholder(tf.float32, [*items, len(blueprint.scaling.names)], AUDIO)
    if has_windows(blueprint):
        inputs[LENGTHS] = tf.placeholder(tf.int32, [None], LENGTHS)
    return inputs


def _name_outputs(logits: tf.Tensor, temperature: float) -> dict[str, tf.Tensor]:
    probabilities = tf.nn.softmax(logits / temperature)
    return {LOGITS: tf.identity(logits, LOGITS), PROBABILITIES: tf.identity(probabilities, PROBABILITIES)}


def resize(images: tf.Tensor, image_size: int) -> tf.Tensor:
    """Computes `fer.data.images.resize` from operations that every program computes in one way.

    ONNX has an operation for it too. But onnxruntime rounds the places of samples otherwise than TensorFlow, and VGG's
    logits then differ by up to 1e-4.

    Args:
      images: uint8 [N, H, W, 3].
      image_size: height and width to resize to.

    Returns:
      float32 [N, image_size, image_size, 3], in [0, 255].
    """

    def find_samples(length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the pixels before and after each sample of an axis, and the weight of the one after."""
        # In float64, because TensorFlow turns this division into a product, and 48 * (1 / 48) is not 1 in float32.
        scale = tf.cast(tf.cast(length, tf.float64) / image_size, tf.float32)
        places = tf.cast(tf.range(image_size), tf.float32) * scale
        before = tf.cast(tf.floor(places), tf.int32)
        return before, tf.minimum(before + 1, length - 1), places - tf.floor(places)

    height, width = tf.unstack(tf.shape(images)[1:3])
    above, below, down = find_samples(height)
    left, right, across = find_samples(width)

    def resize_rows(rows: tf.Tensor) -> tf.Tensor:
        """Returns float32 [N, image_size, image_size, 3], given the rows that are taken."""
        net = tf.gather(images, rows, axis=1)
        first, second = (tf.cast(tf.gather(net, columns, axis=2), tf.float32) for columns in (left, right))
        return first + (second - first) * across[:, tf.newaxis]

    top, bottom = resize_rows(above), resize_rows(below)
    resized = top + (bottom - top) * down[:, tf.newaxis, tf.newaxis]
    return tf.ensure_shape(resized, [None, image_size, image_size, 3])


def scale_audio(values: tf.Tensor, scaling: Scaling) -> tf.Tensor:
    """Computes `fer.data.audio.scale_features` in the graph: float32 [N, D] to float32 [N, D].

    It computes in float64 too, because a feature may have a mean of a million and a deviation of one.
    """
    found = tf.where_v2(tf.math.is_finite(values), tf.cast(values, tf.float64), scaling.mean)
    scaled = (found - scaling.offset) / scaling.scale
    if scaling.kind != 'none':
        scaled = tf.clip_by_value(scaled, -LARGEST, LARGEST)
    if scaling.kind == 'log':
        scaled = tf.sign(scaled) * tf.math.log(1 + tf.abs(scaled))
    return tf.cast(scaled, tf.float32)
