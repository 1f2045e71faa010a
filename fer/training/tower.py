# SPDX-License-Identifier: Apache-2.0
"""The graph of a stage: takes a packed batch, gives logits of windows and a loss. stages.py describes the stages."""

import os
from typing import NamedTuple

import numpy as np

from fer.data.pipeline import Batch, Pipeline, build_pipeline
from fer.data.sampling import make_sampler
from fer.data.split import Split
from fer.errors import InputError
from fer.nets import NETWORKS
from fer.runs.config import TrainConfig
from fer.tf1 import tf
from fer.training.aggregation import window_logits
from fer.training.chunks import Chunked
from fer.training.losses import Loss, Predictions, total_loss
from fer.training.schedule import Phase
from fer.training.session import has_gpu, has_onednn
from fer.training.stages import (
    Blueprint,
    build_frames,
    keeps_maps,
    make_reading,
    phase_chunk_size,
    trained_variables,
)


class Tower(NamedTuple):
    """One copy of the network on one input. The towers of a graph share their variables."""

    window_logits: tf.Tensor  # float32 [B, 7]
    frame_logits: tf.Tensor  # float32 [N, 7], of the real frames of the windows, one after the other
    accuracy: tf.Tensor  # float32, scalar: share of windows classified correctly
    loss: Loss | None  # None in evaluation
    chunked: Chunked | None = None  # the CNN, where it is trained in chunks
    frames_at_once: int = 0  # most frames whose maps a step keeps at once, 0 if it does not train the CNN


def check_gradients(config: TrainConfig) -> None:
    """Raises InputError if this machine can evaluate the network but cannot train it."""
    grouped = config.model in NETWORKS and NETWORKS[config.model].grouped
    if grouped and not has_onednn() and not has_gpu():
        raise InputError(
            f'TF_ENABLE_ONEDNN_OPTS={os.environ["TF_ENABLE_ONEDNN_OPTS"]}: expected 1 to train --model={config.model}; '
            'without oneDNN, grouped convolutions have no gradients on a CPU'
        )


def build_tower(
    blueprint: Blueprint,
    batch: Batch,
    *,
    is_training: bool,
    phase: Phase = Phase.ALL,
    class_weights: np.ndarray | None = None,
    chunk_size: int = 0,
) -> Tower:
    """Adds the stage's network to the default graph, with the logits of its frames combined over windows.

    Args:
      blueprint: of the run.
      batch: of a pipeline.
      is_training: whether there is a loss, and the network acts as in training.
      phase: of training.
      class_weights: float32 [7], of the loss, or None for weights of 1.
      chunk_size: the most frames that pass the CNN at once, 0 for all.
    """
    config = blueprint.config
    frames = build_frames(blueprint, batch, is_training=is_training, phase=phase, chunk_size=chunk_size)
    logits = window_logits(frames.logits, batch.lengths, batch.pad_index, config.classify, config.aggregate)
    correct = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), batch.labels)
    loss = None
    if is_training:
        predictions = Predictions(frames.logits, logits, batch.labels, batch.lengths, frames.embeddings)
        variables = trained_variables(blueprint, phase)
        loss = total_loss(config, predictions, class_weights, variables)
    return Tower(logits, frames.logits, tf.reduce_mean(tf.cast(correct, tf.float32)), loss, frames.chunked)


class Side(NamedTuple):
    """A split, its pipeline, and the towers on it."""

    split: Split
    pipeline: Pipeline
    towers: dict[Phase, Tower]  # evaluation has only the tower of Phase.ALL


def build_side(
    blueprint: Blueprint,
    split: Split,
    phases: tuple[Phase, ...] = (),
    class_weights: np.ndarray | None = None,
    *,
    views: bool = False,
) -> Side:
    """Adds a pipeline and the network to the default graph.

    Args:
      blueprint: of the run.
      split: with scaled audio. If it has features, its images are not read.
      phases: of training, whose batches are shuffled with the run's seed. None for evaluation.
      class_weights: float32 [7], of the loss.
      views: whether the pipeline's `view` chooses how images are presented.
    """
    config = blueprint.config
    with tf.name_scope('train' if phases else 'evaluation'):
        shuffle_seed = config.seed if phases else None
        most_frames = make_sampler(split, config.sampling if phases else 'all').most_frames(config.batch_size)
        reading = make_reading(blueprint)
        pipeline = build_pipeline(split, config.batch_size, reading, shuffle_seed, views=views)
        towers = {}
        for phase in phases or (Phase.ALL,):
            chunk_size = phase_chunk_size(blueprint, phase, most_frames) if phases else 0
            tower = build_tower(
                blueprint,
                pipeline.batch,
                is_training=bool(phases),
                phase=phase,
                class_weights=class_weights,
                chunk_size=chunk_size,
            )
            keeps = bool(phases) and keeps_maps(blueprint, phase)
            towers[phase] = tower._replace(frames_at_once=(chunk_size or most_frames) if keeps else 0)
    return Side(split, pipeline, towers)
