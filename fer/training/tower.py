"""The graph of a stage: packed batch in, window logits and loss out. Which stage, stages.py says."""

import os
from typing import NamedTuple

import numpy as np

from fer.data.pipeline import Batch, Pipeline, build_pipeline
from fer.data.split import Split
from fer.errors import InputError
from fer.nets import NETWORKS
from fer.runs.config import TrainConfig
from fer.tf1 import tf
from fer.training.aggregation import window_logits
from fer.training.chunks import Chunked
from fer.training.losses import Loss, total_loss
from fer.training.session import has_gpu, has_onednn
from fer.training.stages import (
    Blueprint,
    build_frames,
    chunk_of,
    loss_settings,
    reading,
    trained_variables,
    window_length,
)


class Tower(NamedTuple):
    """One copy of the network on one input. The towers of a graph share their variables."""

    window_logits: tf.Tensor  # float32 [B, 7]
    accuracy: tf.Tensor  # float32, scalar: share of windows predicted right
    loss: Loss | None  # None in evaluation
    chunked: Chunked | None = None  # the CNN, where it is trained in chunks


def check_gradients(config: TrainConfig) -> None:
    """Raises InputError where the network cannot be trained on this machine, although it can be evaluated."""
    grouped = config.model in NETWORKS and NETWORKS[config.model].grouped
    if grouped and not has_onednn() and not has_gpu():
        raise InputError(
            f'TF_ENABLE_ONEDNN_OPTS={os.environ["TF_ENABLE_ONEDNN_OPTS"]}: expected 1 to train --model={config.model}; '
            'without oneDNN, grouped convolutions have no gradients on a CPU'
        )


def build_tower(
    blueprint: Blueprint,
    batch: Batch,
    is_training: bool,
    phase: int = 2,
    class_weights: np.ndarray | None = None,
    chunk: int = 0,
) -> Tower:
    """Adds the stage's network to the default graph, its frames' logits aggregated over windows.

    Args:
      blueprint: of the run.
      batch: of a pipeline.
      is_training: whether there is a loss, and the network acts as in training.
      phase: of training.
      class_weights: float32 [7], of the loss; None for none.
      chunk: the most frames that pass the CNN at once; 0 for all.
    """
    config = blueprint.config
    frames = build_frames(blueprint, batch, is_training, phase, chunk)
    logits = window_logits(frames.logits, batch.lengths, batch.pad_index, config.classify, config.aggregate)
    right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), batch.labels)
    loss = None
    if is_training:
        loss = total_loss(
            loss_settings(config),
            config.classify,
            frames.logits,
            logits,
            batch.labels,
            batch.lengths,
            frames.embeddings,
            class_weights,
            trained_variables(blueprint, phase),
        )
    return Tower(logits, tf.reduce_mean(tf.cast(right, tf.float32)), loss, frames.chunked)


class Side(NamedTuple):
    """A split, its input, and the towers on it."""

    split: Split
    pipeline: Pipeline
    towers: dict[int, Tower]  # by phase of training; evaluation has one, as in phase 2


def build_side(
    blueprint: Blueprint,
    split: Split,
    phases: tuple[int, ...] = (),
    class_weights: np.ndarray | None = None,
    views: bool = False,
) -> Side:
    """Adds input and network to the default graph.

    Args:
      blueprint: of the run.
      split: its sound scaled; with features, its images are not read.
      phases: of training, whose batches are shuffled by the run's seed; none for evaluation.
      class_weights: float32 [7], of the loss.
      views: whether images are seen as the pipeline's `view` says.
    """
    config = blueprint.config
    with tf.name_scope('train' if phases else 'evaluation'):
        shuffle_seed = config.seed if phases else None
        most = sum(sorted(window.length for window in split.windows)[-config.batch_size :])  # frames of a batch
        pipeline = build_pipeline(split, window_length(config), config.batch_size, reading(config), shuffle_seed, views)
        towers = {
            phase: build_tower(
                *(blueprint, pipeline.batch, bool(phases), phase, class_weights),
                chunk_of(blueprint, phase, most) if phases else 0,
            )
            for phase in phases or (2,)
        }
    return Side(split, pipeline, towers)
