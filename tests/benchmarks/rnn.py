# SPDX-License-Identifier: Apache-2.0
"""Compares the loop of fer/nets/cells.py with TensorFlow's: python -m tests.benchmarks.rnn

  python -m tests.benchmarks.rnn [--features=112,2048,4096] [--rounds=25] [--phase_one=False]

Prints three comparisons. Contestants take turns, and ratios are those within a round.

1. The network against tf.nn.dynamic_rnn on the same windows, padded. The weights are equal, and the largest difference
   of the outputs is printed.
2. A training step, with the hand-written gradients of the loop against TensorFlow's own gradients of the same loop.
3. An epoch of phase one on cached features of --model (default vgg_face: 4096 features at width 1), with the same two
   gradients. The first call computes the features, which takes about a minute.

The windows have 80, 80, 40 and 20 frames, and the network has two GRU layers of 128 units (dissertation 6.3).
The hand-written gradients stay in the package as long as comparison 3 gives at least 1.3 on each TensorFlow. Takes any
flag of train.py.
"""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
from absl import flags

from fer import cli
from tests.benchmarks import timing
from tests.benchmarks.runs import Training, synthetic_manifest

LENGTHS, UNITS, LAYERS, CLASSES = (80, 80, 40, 20), 128, 2, 7
GOAL = 1.3
HAND_WRITTEN, TENSORFLOWS = 'hand-written gradients', "TensorFlow's gradients"

flags.DEFINE_list('features', ['112', '2048', '4096'], 'Features of a frame: LLD, ResNet-50, VGG-Face.')
flags.DEFINE_bool('phase_one', True, 'Measure phase one as well, which computes the features of a CNN first.')
flags.DEFINE_integer('videos', 12, 'Synthetic videos of phase one.', lower_bound=4)
flags.FLAGS.set_default('stage', 'temporal')
flags.FLAGS.set_default('rounds', 25)


def main() -> None:
    values = flags.FLAGS
    for features in map(int, values.features):
        compare_with_dynamic_rnn(features)
    for features in map(int, values.features):
        steps = {name: build_step(features, name) for name in (HAND_WRITTEN, TENSORFLOWS)}
        report_gradients(f'{features} features, training step: s', steps)
    if values.phase_one:
        compare_phase_one()


@contextlib.contextmanager
def gradients_of(name: str) -> Iterator[None]:
    """Lets graphs built inside have the hand-written gradients of the loop, or TensorFlow's."""
    from fer.tf1 import tf

    if name == HAND_WRITTEN:
        yield
    else:
        with mock.patch.object(tf, 'custom_gradient', lambda compute: lambda *inputs: compute(*inputs)[0]):
            yield


def report_gradients(title: str, measures: dict[str, Callable[[], float]], goal: float | None = None) -> None:
    """Times both gradients in turn and prints medians, extremes and ratios."""
    found = timing.interleave(measures, flags.FLAGS.rounds)
    ratio = f'{TENSORFLOWS} / hand-written'
    rows = {**found, ratio: timing.ratios(found, TENSORFLOWS, HAND_WRITTEN)}
    timing.report(title, rows, {ratio: goal} if goal else {})


def build_step(features: int, gradients: str) -> Callable[[], float]:
    """Builds a network on features alone and returns a function that times one step of Adam."""
    from fer.data.windows import pad_index
    from fer.nets.rnn import Recurrence, sequence_classifier
    from fer.tf1 import tf

    rng = np.random.default_rng(0)
    with tf.Graph().as_default(), gradients_of(gradients):
        tf.set_random_seed(1)
        frames, labels = tf.placeholder(tf.float32, [None, features]), tf.placeholder(tf.int32, [None])
        lengths = tf.constant(LENGTHS)
        index = pad_index(lengths, max(LENGTHS))
        _, end_points = sequence_classifier(frames, lengths, index, CLASSES, rnn=Recurrence('gru', LAYERS, UNITS))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=end_points['logits'])
        train = tf.train.AdamOptimizer(1e-5).minimize(tf.reduce_mean(losses))
        session = tf.Session()
        session.run(tf.global_variables_initializer())
    feed = {
        frames: rng.normal(size=(sum(LENGTHS), features)),
        labels: rng.integers(0, CLASSES, sum(LENGTHS)),
    }
    return lambda: _seconds(lambda: session.run(train, feed))


def compare_phase_one() -> None:
    """Times epochs of phase one, input included, with both gradients."""
    from fer.tf1 import tf

    values = flags.FLAGS
    manifest = synthetic_manifest(values.videos, values.image_size)
    cache = str(Path(values.folder) / f'feature_cache_{tf.__version__}')
    measures = {}
    for name in (HAND_WRITTEN, TENSORFLOWS):
        with gradients_of(name):
            training = Training(manifest, phase=1, drop_last=False, feature_cache=cache)
        assert training.cache, 'phase one has a frozen CNN'
        training.cache.load(training.session)
        measures[name] = lambda training=training: _seconds(
            lambda: [training.step() for _ in range(training.steps_per_epoch)]
        )
    title = f'{values.model} and {values.rnn_cell}, phase one with cached features, TensorFlow {tf.__version__}: s'
    report_gradients(f'{title} of an epoch of {training.steps_per_epoch} steps', measures, GOAL)


def compare_with_dynamic_rnn(features: int) -> None:
    """Times the forward pass and the gradients of the network and of tf.nn.dynamic_rnn on equal weights."""
    from fer.data.windows import pad_index
    from fer.nets.rnn import Recurrence, recurrent
    from fer.tf1 import tf

    with tf.Graph().as_default(), tf.Session() as session:
        frames = tf.placeholder(tf.float32, [None, features])
        lengths = tf.constant(LENGTHS)
        index = pad_index(lengths, max(LENGTHS))
        ours = recurrent(frames, lengths, index, Recurrence('gru', LAYERS, UNITS))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the cells are deprecated
            cells = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.GRUCell(UNITS) for _ in range(LAYERS)])
            padded, _ = tf.nn.dynamic_rnn(
                cells, tf.gather(frames, index), sequence_length=lengths, dtype=tf.float32, scope='theirs'
            )
        theirs = tf.boolean_mask(padded, tf.sequence_mask(lengths, max(LENGTHS)))
        scopes = {'rnn/': ours, 'theirs/': theirs}
        training = [
            tf.group(*tf.gradients(tf.reduce_sum(outputs**2), [frames, *tf.trainable_variables(scope)]))
            for scope, outputs in scopes.items()
        ]
        session.run(tf.global_variables_initializer())
        pairs = zip(tf.trainable_variables('theirs/'), tf.trainable_variables('rnn/'), strict=True)
        session.run([other.assign(mine) for other, mine in pairs])
        feed = {frames: np.random.default_rng(0).normal(size=(sum(LENGTHS), features))}
        difference = float(np.abs(np.subtract(*session.run([ours, theirs], feed))).max())
        for what, graphs in (('forward', [ours.op, theirs.op]), ('gradients', training)):
            found = timing.interleave(
                {
                    name: lambda graph=graph: _seconds(lambda: session.run(graph, feed))
                    for name, graph in zip(('ours', 'dynamic_rnn'), graphs, strict=True)
                },
                flags.FLAGS.rounds,
            )
            rows = {**found, 'dynamic_rnn / ours': timing.ratios(found, 'dynamic_rnn', 'ours')}
            timing.report(f'{features} features, {what}, outputs differ by {difference:.1e}: s', rows)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == '__main__':
    cli.run(main)
