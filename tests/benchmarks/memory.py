# SPDX-License-Identifier: Apache-2.0
"""Measures the peak memory of a training step of each network, with and without chunks (fer/training/chunks.py).

python -m tests.benchmarks.memory [--networks=vgg_face,resnet50] [--chunks=0,40] [--seq_len=80] [--gradients=false] ...

A step trains a CNN and a recurrent network on it, on --batch_size windows of --seq_len random frames. The command takes
every flag of train.py. Each row is its own process, so that its peak has no other cause. The base row builds the graph
and sets first values, but takes no step. Chunks can only save memory above it.

With --gradients, gradients in four chunks are compared with those of all frames at once, if those fit the memory of
this machine. Batch statistics are frozen and weights are random (see `_load_like_trained`). The figure is the largest
difference in any variable, relative to its largest gradient. For variables with tiny gradients, it is relative to a
thousandth of the largest of all. A network also amplifies rounding errors by itself. A third run shows by how much,
with all frames at once and pixels multiplied by the smallest number above 1.
"""

import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import flags

from fer import cli
from fer.flags import define_flags, read_flags
from fer.runs.config import TrainConfig
from tests.benchmarks import timing

BASE, ALL, AUTOMATIC = 'base', '-1', '0'
GIGABYTES, DIFFERENCE = 12.0, 1e-4  # goals
_ADDED = 0.3  # factor of the last scale of a residual unit, in the weights for comparing gradients
_RESERVED = 10e9  # bytes for graphs, variables and other things

define_flags(TrainConfig)
flags.DEFINE_list(
    'networks', ['vgg_face', 'resnet50', 'densenet121', 'se_resnet50', 'se_resnext50', 'nasnet'], 'Networks to measure.'
)
flags.DEFINE_list('chunks', [AUTOMATIC], 'Values of --frames_per_chunk.')
flags.DEFINE_bool('gradients', True, 'Also compare gradients.')
flags.DEFINE_string(
    'measure', '', 'Measure only --model in this process, with this value of --frames_per_chunk, or base.'
)
flags.DEFINE_string(
    'gradients_file', '', 'Write gradients with frozen batch statistics to this file, and take no step.'
)
flags.DEFINE_float('pixel_scale', 1.0, 'Factor of the random pixels.')
OWN = (
    'networks',
    'chunks',
    'model',
    'measure',
    'gradients',
    'gradients_file',
    'pixel_scale',
    'rounds',
    'json',
    'folder',
)


def main() -> None:
    values = flags.FLAGS
    if values.measure:
        measure(values.measure, values.gradients_file)
        return
    rows: dict[str, list[float]] = {}
    at_most = {}
    for network in values.networks:
        for value in (BASE, *values.chunks):
            chunk, peak, seconds = _measure(network, value)
            if value == BASE:
                rows[f'{network}: before the step, GB'] = [peak]
                continue
            name = f'{network}, --frames_per_chunk={value} ({chunk:.0f}): peak GB'
            rows[name], at_most[name] = [peak], GIGABYTES
            rows[f'{network}, --frames_per_chunk={value}: s'] = [seconds]
        if values.gradients and (differences := _compare_gradients(network)):
            name = f'{network}: gradients, largest difference'
            rows[name], at_most[name] = [differences[0]], DIFFERENCE
            rows[f'{network}: of pixels that differ in the last bit'] = [differences[1]]
    timing.report(
        f'one training step, {values.batch_size or 4} windows of {values.seq_len} frames', rows, None, at_most
    )


def _measure(network: str, value: str, *more: str) -> list[float]:
    """Runs `measure` in another process. Returns the three numbers that it prints."""
    given = [flag.serialize() for name in flags.FLAGS if (flag := flags.FLAGS[name]).present and name not in OWN]
    command = [sys.executable, '-m', 'tests.benchmarks.memory', f'--model={network}', f'--measure={value}']
    done = subprocess.run([*command, *given, *more], stdout=subprocess.PIPE, text=True, check=True)
    return [float(word) for word in done.stdout.split()[-3:]]


def _compare_gradients(network: str) -> tuple[float, float] | None:
    """Returns the differences by chunks and by pixels, or None, and prints why, if all frames do not fit the memory."""
    from fer.nets import get_network
    from fer.nets.summary import summarise

    values = flags.FLAGS
    kept = summarise(get_network(network), values.image_size, 0, get_network(network).global_pool[0]).kept
    frames = values.seq_len * (values.batch_size or 4)
    needed = kept * frames * values.width
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    if needed > memory - _RESERVED:
        print(f'{network}: gradients not compared; all frames keep {needed / 1e9:.1f} GB, of {memory / 1e9:.1f}')
        return None
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'gradients.npz'
        for value, scale in (
            (ALL, 1.0),
            (str(frames // 4), 1.0),
            (ALL, float(np.nextafter(np.float32(1), np.float32(2)))),
        ):
            chunk, peak, _ = _measure(network, value, f'--gradients_file={path}', f'--pixel_scale={scale!r}')
            print(f'{network}: gradients by chunks of {chunk:.0f} (0: all), peak {peak:.2f} GB', flush=True)
            with np.load(path) as file:
                found.append({name: file[name] for name in file.files})
    whole, chunked, shifted = found
    return _largest_difference(whole, chunked), _largest_difference(whole, shifted)


def _largest_difference(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> float:
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    return max(
        float(np.abs(found[name] - gradient).max() / max(np.abs(gradient).max(), 1e-3 * largest))
        for name, gradient in expected.items()
    )


def measure(value: str, gradients_file: str) -> None:
    """Prints the size of a chunk (0 without chunks), the peak in GB, and the seconds of a step or of gradients."""
    from fer.emotions import NUM_CLASSES
    from fer.nets import get_network
    from fer.tf1 import tf
    from fer.training.graph import build_step
    from fer.training.optimizers import ParameterGroup, make_optimizer
    from fer.training.restore import source_convention
    from fer.training.schedule import Phase
    from fer.training.session import open_session
    from fer.training.stages import Blueprint, get_stage, phase_chunk_size, trained_variables
    from fer.training.tower import build_tower

    given = read_flags(TrainConfig)
    network = get_network(given.model)
    config = dataclasses.replace(
        given,
        stage='temporal',
        frames_per_chunk=0 if value == BASE else int(value),
        batch_size=given.batch_size or 4,
        batch_norm_mode='frozen' if gradients_file else given.batch_norm_mode,
        global_pool=network.global_pool[0] if given.global_pool is None else given.global_pool,
    )
    frames = config.batch_size * config.seq_len
    blueprint = Blueprint(config, get_stage('temporal', config.model), source_convention(network, None, 'source'))
    chunk = phase_chunk_size(blueprint, Phase.ALL, frames)
    rng = np.random.default_rng(0)
    with tf.Graph().as_default():
        tf.set_random_seed(0)
        tf.train.get_or_create_global_step()
        batch, values = _make_batch(tf, config, NUM_CLASSES, rng)
        tower = build_tower(blueprint, batch, is_training=True, chunk_size=chunk)
        variables = trained_variables(blueprint, Phase.ALL)
        if gradients_file:
            fetches = _gradients(tf, tower, variables)
        else:
            optimizer = make_optimizer(config, tf.constant(config.learning_rate))
            fetches = build_step(tower, [ParameterGroup(optimizer, variables)], 0, Phase.ALL).train
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            if gradients_file:
                _load_like_trained(session, config.model)
            began = time.perf_counter()
            if value != BASE:
                fetched = session.run(fetches, values)
            seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts kilobytes
    if gradients_file:
        np.savez(gradients_file, **fetched)
    print(chunk, peak, seconds)


def _load_like_trained(session, model: str) -> None:
    """Loads random weights that saturate no layer.

    Each residual unit adds only a little, as in trained networks. Otherwise sixteen of them make features of 10^4,
    closed gates, and gradients that a rounding error changes.
    """
    from fer.tf1 import tf
    from tests.nets import load, load_seeded

    values = load_seeded(session, model)
    added = [v for v in tf.global_variables(model) if v.op.name.endswith('conv3/BatchNorm/gamma')]
    if added:
        load(session, {variable: _ADDED * values[variable.op.name] for variable in added})


def _gradients(tf, tower, variables) -> dict:
    """Returns the gradients of the tower's loss by the name of their variable."""
    from fer.training.chunks import chunked_gradients

    if tower.chunked:
        pairs = chunked_gradients(tower.loss.total, tower.chunked, variables)
    else:
        pairs = zip(tf.gradients(tower.loss.total, variables), variables, strict=True)
    return {v.op.name.replace('/', ':'): tf.convert_to_tensor(g) for g, v in pairs if g is not None}


def _make_batch(tf, config, num_classes: int, rng: np.random.Generator):
    """Returns a batch of placeholders for whole windows, and values for it."""
    from fer.data.pipeline import Batch
    from fer.data.windows import pad_index

    images = tf.placeholder(tf.float32, [None, config.image_size, config.image_size, 3])
    lengths, labels, windows = (tf.placeholder(tf.int32, [None]) for _ in range(3))
    batch = Batch(images, None, lengths, pad_index(lengths, config.seq_len), labels, windows)
    size, count = config.image_size, config.batch_size
    pixels = rng.uniform(-1, 1, (count * config.seq_len, size, size, 3)).astype(np.float32)
    pixels *= np.float32(flags.FLAGS.pixel_scale)
    values = {images: pixels, lengths: [config.seq_len] * count, windows: list(range(count))}
    return batch, values | {labels: rng.integers(0, num_classes, count)}


if __name__ == '__main__':
    cli.run(main)
