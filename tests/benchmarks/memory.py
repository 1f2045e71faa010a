"""Peak memory and time of one training step, with the frames at once and in chunks (fer/training/chunks.py).

python -m tests.benchmarks.memory [--networks=vgg_face,resnet50] [--chunks=-1,0,40] [--seq_len=80] ...

A recurrent network on a CNN, both trained, on --batch_size windows of --seq_len random frames; whatever flag of
train.py is given counts here as well. Each row is a process of its own, so that its peak is of nothing else. The base
row has built the graph and drawn first values, and takes no step: what chunks save is of what lies above it.
"""

import dataclasses
import resource
import subprocess
import sys
import time

import numpy as np
from absl import flags

import train  # noqa: F401 (its flags)
from fer import cli

BASE = 'base'

flags.DEFINE_list('networks', ['vgg_face', 'resnet50'], 'Networks to measure.')
flags.DEFINE_list('chunks', ['-1', '0', '40'], 'Values of --frames_per_chunk.')
flags.DEFINE_string('measure', '', 'Measure --model with this one value, or `base`, in this process.')


def main() -> None:
    if flags.FLAGS.measure:
        measure(flags.FLAGS.measure)
        return
    given = [f'--{name}={flags.FLAGS[name].value}' for name in _given() - {'networks', 'chunks', 'model', 'measure'}]
    print(f'{"network":<14}{"frames_per_chunk":>17}{"chunk":>7}{"frames":>8}{"peak, GB":>10}{"above base":>12}{"s":>8}')
    for network in flags.FLAGS.networks:
        base = 0.0
        for value in (BASE, *flags.FLAGS.chunks):
            command = [sys.executable, '-m', 'tests.benchmarks.memory', f'--model={network}', f'--measure={value}']
            done = subprocess.run([*command, *given], capture_output=True, text=True)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or [f'killed, exit code {done.returncode}'])[-1]
                print(f'{network:<14}{value:>17}  {last}', flush=True)
                continue
            chunk, frames, peak, seconds = done.stdout.split()[-4:]
            base = float(peak) if value == BASE else base
            print(
                f'{network:<14}{value:>17}{chunk:>7}{frames:>8}{float(peak):>10.2f}{float(peak) - base:>12.2f}'
                f'{float(seconds):>8.1f}',
                flush=True,
            )


def _given() -> set[str]:
    """Names of the flags on the command line."""
    return {name for name in flags.FLAGS if flags.FLAGS[name].present}


def measure(value: str) -> None:
    """Prints the size of a chunk (0: not in chunks), the frames, the peak in GB and the seconds of a step."""
    from fer.emotions import NUM_CLASSES
    from fer.nets import get_network
    from fer.tf1 import tf
    from fer.training.config import TrainConfig
    from fer.training.loop import build_step
    from fer.training.restore import source_convention
    from fer.training.session import open_session
    from fer.training.stages import Blueprint, chunk_of, trained_variables
    from fer.training.tower import build_tower

    network = get_network(flags.FLAGS.model)
    settings = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(TrainConfig)}
    settings |= {'stage': 'temporal', 'frames_per_chunk': 0 if value == BASE else int(value)}
    settings['batch_size'] = settings['batch_size'] or 4
    if settings['global_pool'] is None:
        settings['global_pool'] = network.global_pool[0]
    config = TrainConfig(**settings)
    frames = config.batch_size * config.seq_len
    blueprint = Blueprint(config, source_convention(network, None, 'source'), None)
    chunk = chunk_of(blueprint, 2, frames)
    rng = np.random.default_rng(0)
    with tf.Graph().as_default():
        tf.set_random_seed(0)
        tf.train.get_or_create_global_step()
        batch, values = _make_batch(tf, config, NUM_CLASSES, rng)
        tower = build_tower(blueprint, batch, True, chunk=chunk)
        step = build_step(tower, tf.constant(config.learning_rate), trained_variables(blueprint, 2), 0, 2)
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            began = time.perf_counter()
            if value != BASE:
                session.run(step.train, values)
            seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts kilobytes
    print(chunk, frames, peak, seconds)


def _make_batch(tf, config, num_classes: int, rng: np.random.Generator):
    """A batch of whole windows to be fed, and values for it."""
    from fer.data.pipeline import Batch
    from fer.data.windows import pad_index

    images = tf.placeholder(tf.float32, [None, config.image_size, config.image_size, 3])
    lengths, labels, windows = (tf.placeholder(tf.int32, [None]) for _ in range(3))
    batch = Batch(images, None, lengths, pad_index(lengths, config.seq_len), labels, windows)
    size, count = config.image_size, config.batch_size
    pixels = rng.uniform(-1, 1, (count * config.seq_len, size, size, 3)).astype(np.float32)
    values = {images: pixels, lengths: [config.seq_len] * count, windows: list(range(count))}
    return batch, values | {labels: rng.integers(0, num_classes, count)}


if __name__ == '__main__':
    cli.run(main)
