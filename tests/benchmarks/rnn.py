"""fer.nets.rnn's loop over packed windows, against tf.nn.dynamic_rnn on the same windows padded.

python -m tests.benchmarks.rnn [--features=112,2048,4096] [--rounds=15]

Four windows of 80, 80, 40 and 20 frames into two GRU layers of 128 units, as in the dissertation's 6.3; forward, and
forward and backward. Both have the same weights; the largest difference of their outputs is printed to show that they
compute the same. Rounds alternate, and medians of their times are compared.
"""

import statistics
import time
import warnings

import numpy as np
from absl import flags

from fer import cli

LENGTHS, UNITS, LAYERS, WARM_UP = (80, 80, 40, 20), 128, 2, 3

flags.DEFINE_list('features', ['112', '2048', '4096'], 'Features of a frame: LLD, ResNet-50, VGG-Face.')
flags.DEFINE_integer('rounds', 15, 'Runs of each graph.', lower_bound=1)


def main() -> None:
    print(f'windows of {", ".join(map(str, LENGTHS))} frames, medians of {flags.FLAGS.rounds} runs')
    print(f'{"features":<10}{"":<10}{"ms: ours":>10}{"dynamic_rnn":>13}{"ratio":>8}{"difference":>13}')
    for features in map(int, flags.FLAGS.features):
        for what, (ours, theirs, difference) in measure(features).items():
            ratio = theirs / ours
            print(f'{features:<10}{what:<10}{ours * 1e3:>10.1f}{theirs * 1e3:>13.1f}{ratio:>8.2f}{difference:>13.1e}')


def measure(features: int) -> dict[str, tuple[float, float, float]]:
    """{'forward' or 'training': (our median seconds, theirs, largest difference of outputs)}."""
    from fer.data.windows import pad_index
    from fer.nets.rnn import recurrent
    from fer.tf1 import tf

    with tf.Graph().as_default(), tf.Session() as session:
        frames = tf.placeholder(tf.float32, [None, features])
        lengths = tf.constant(LENGTHS)
        index = pad_index(lengths, max(LENGTHS))
        ours = recurrent(frames, lengths, index, 'gru', LAYERS, UNITS)
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
        found = {}
        for what, pair in (('forward', [ours.op, theirs.op]), ('training', training)):
            seconds: list[list[float]] = [[], []]
            for _ in range(WARM_UP + flags.FLAGS.rounds):
                for graph, times in zip(pair, seconds, strict=True):
                    began = time.perf_counter()
                    session.run(graph, feed)
                    times.append(time.perf_counter() - began)
            medians = [statistics.median(times[WARM_UP:]) for times in seconds]
            found[what] = (*medians, difference)
        return found


if __name__ == '__main__':
    cli.run(main)
