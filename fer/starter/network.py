# SPDX-License-Identifier: Apache-2.0
"""The graph of a network of the starter set: what it answers to a fixed input, and an ordinary run folder of it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fer.data.pipeline import Batch
from fer.errors import InputError
from fer.files import atomic_folder
from fer.nets.weights.identify import OpenedWeights, identify, open_part
from fer.nets.weights.starter import CARD_FILE, SET, WEIGHTS_FILE, open_starter, read_card
from fer.runs.names import LAST_PREFIX, STARTER_PREFIX
from fer.tf1 import tf
from fer.training import checkpoints, run_folder
from fer.training.restore import Origin, initialise
from fer.training.schedule import Phase
from fer.training.stages import Blueprint, build_frames

LICENCE_FILE = 'LICENSE'
_PROBES = 3  # items of the fixed input


def open_network(folder: Path) -> tuple[Blueprint, OpenedWeights]:
    """Opens a network of the starter set.

    Returns:
      What its graph is built from, and its weights.

    Raises:
      InputError: a file is missing or damaged.
    """
    tensors = open_starter(folder)
    blueprint = run_folder.read_blueprint(folder)
    weights = identify(tensors) if blueprint.convention else open_part(tensors, blueprint.config.model)
    if weights is None:
        raise InputError(f'{folder / WEIGHTS_FILE}: no weights of {blueprint.config.model}; build the network again')
    return blueprint, weights


@contextmanager
def restored(blueprint: Blueprint, weights: OpenedWeights) -> Iterator[tuple[tf.Session, tf.Tensor, tf.Tensor]]:
    """Opens a session in which the network has its weights, for evaluation.

    Yields:
      The session. The input, a placeholder: images float32 [N, H, W, 3] in [-1, 1], or scaled audio float32 [N, D].
      The logits, float32 [N, 7].
    """
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, *input_shape(blueprint)])
        number = tf.shape(inputs)[0]
        images, audio = (inputs, None) if blueprint.stage.contents.images else (None, inputs)
        each = tf.range(number)
        batch = Batch(images, audio, tf.ones_like(each), each[:, tf.newaxis], tf.zeros_like(each), each)
        frames = build_frames(blueprint, batch, is_training=False, phase=Phase.ALL)
        initialise(session, [Origin(weights.source.network, weights, '')], allow_missing=False)
        yield session, inputs, frames.logits


def input_shape(blueprint: Blueprint) -> tuple[int, ...]:
    """Returns the shape of one item: [H, W, 3] of an image, [D] of audio features."""
    if blueprint.stage.contents.images:
        return blueprint.config.image_size, blueprint.config.image_size, 3
    assert blueprint.scaling, 'a run with audio has a scaling'
    return (len(blueprint.scaling.names),)


def answer_probe(folder: Path) -> np.ndarray:
    """Returns the logits of a network for a fixed synthetic input, float32 [3, 7].

    The card keeps them, so that every machine can compare its own.
    """
    blueprint, weights = open_network(folder)
    values = np.random.default_rng(0).uniform(-1, 1, (_PROBES, *input_shape(blueprint))).astype(np.float32)
    with restored(blueprint, weights) as (session, inputs, logits):
        return session.run(logits, {inputs: values})


def unpack(folder: Path, run_dir: Path) -> None:
    """Writes an ordinary run folder of a network: what evaluate.py, fusion.py and fer.extract take.

    Args:
      folder: of the network.
      run_dir: absent or empty.

    Raises:
      InputError: a file of the network is missing or damaged, or `run_dir` is in use.
    """
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise InputError(f'--run_dir={run_dir}: already used; choose a new folder')
    card = read_card(folder)
    blueprint, weights = open_network(folder)
    step = int(card['recipe']['step'])
    with atomic_folder(run_dir) as target:
        for name in card['files']:
            if name != WEIGHTS_FILE:
                shutil.copy(folder / name, target)
        for path in (folder / CARD_FILE, SET / LICENCE_FILE):
            shutil.copy(path, target)
        with restored(blueprint, weights) as (session, _, _):
            checkpoints.save(tf.train.Saver(), session, target, LAST_PREFIX, step)
        run_folder.finish_run(target, step, f'unpacked from {STARTER_PREFIX}{card["name"]}')
