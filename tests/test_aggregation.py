# SPDX-License-Identifier: Apache-2.0
"""The packed batch gives the logits, loss and gradients of padding first, as in the dissertation."""

import numpy as np
import pytest
from conftest import choices

from fer.data.windows import pad_index
from fer.nets.vgg_face import vgg_face
from fer.runs.config import TrainConfig
from fer.tf1 import tf
from fer.training.aggregation import window_logits
from fer.training.losses import Predictions, total_loss

LENGTHS = [3, 1, 5, 2]
SEQ_LEN = 5
LABELS = [4, 0, 6, 2]


def packed(images):
    lengths = tf.constant(LENGTHS)
    _, end_points = vgg_face(images, width=0.05, dropout=0.0, is_training=True)
    return end_points['logits'], lengths, pad_index(lengths, SEQ_LEN)


def naive(images, classify, aggregate):
    """Repeats each window's last image, runs the network on all B x T images, then loops over the windows."""
    padded, first = [], 0
    for length in LENGTHS:
        padded += [images[first + min(t, length - 1)] for t in range(SEQ_LEN)]
        first += length
    _, end_points = vgg_face(tf.stack(padded), width=0.05, dropout=0.0, is_training=True)
    frames = tf.reshape(end_points['logits'], [len(LENGTHS), SEQ_LEN, 7])

    def median(values):
        columns = []
        for column in tf.unstack(values, axis=1):
            ordered = tf.nn.top_k(column, k=column.shape[0], sorted=True).values
            count = int(column.shape[0])
            columns.append((ordered[(count - 1) // 2] + ordered[count // 2]) / 2)
        return tf.stack(columns)

    reduce = {'mean': lambda values: tf.reduce_mean(values, axis=0), 'median': median}[aggregate]
    counted = [SEQ_LEN if classify == 'padded' else length for length in LENGTHS]
    logits = tf.stack([reduce(frames[b, :count]) for b, count in enumerate(counted)])
    if classify == 'frame':
        losses = [
            -tf.nn.log_softmax(frames[b, t])[LABELS[b]] for b, length in enumerate(LENGTHS) for t in range(length)
        ]
    else:
        losses = [-tf.nn.log_softmax(logits[b])[LABELS[b]] for b in range(len(LENGTHS))]
    return logits, tf.add_n(losses) / len(losses)


@pytest.mark.parametrize('aggregate', choices('aggregate'))
@pytest.mark.parametrize('classify', choices('classify'))
def test_packed_equals_padded(classify, aggregate):
    images = np.random.default_rng(3).uniform(-1, 1, (sum(LENGTHS), 32, 32, 3)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(4)
        images = tf.constant(images)
        frame_logits, lengths, index = packed(images)
        logits = window_logits(frame_logits, lengths, index, classify, aggregate)
        predictions = Predictions(frame_logits, logits, tf.constant(LABELS), lengths)
        loss = total_loss(TrainConfig(classify=classify), predictions).total
        variables = tf.trainable_variables()
        expected_logits, expected_loss = naive(images, classify, aggregate)
        assert tf.trainable_variables() == variables  # the second network reuses the weights
        found = [logits, loss, *(tf.convert_to_tensor(g) for g in tf.gradients(loss, variables))]
        gradients = tf.gradients(expected_loss, variables)
        expected = [expected_logits, expected_loss, *(tf.convert_to_tensor(g) for g in gradients)]
        session.run(tf.global_variables_initializer())
        found, expected = session.run([found, expected])
    assert np.abs(expected[0]).max() > 0.1  # no error can hide below the tolerance
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5 * max(1, np.abs(theirs).max()))


def test_median_is_numpys():
    frames = np.random.default_rng(6).normal(size=(sum(LENGTHS), 7))
    with tf.Graph().as_default(), tf.Session() as session:
        lengths = tf.constant(LENGTHS)
        index = pad_index(lengths, SEQ_LEN)
        exact, padded = session.run(
            [window_logits(tf.constant(frames), lengths, index, classify, 'median') for classify in ('exact', 'padded')]
        )
    ends = np.cumsum(LENGTHS)
    for b, (end, length) in enumerate(zip(ends, LENGTHS, strict=True)):
        real = frames[end - length : end]
        np.testing.assert_allclose(exact[b], np.median(real, axis=0))
        full = np.concatenate([real, np.repeat(real[-1:], SEQ_LEN - length, axis=0)])
        np.testing.assert_allclose(padded[b], np.median(full, axis=0))
