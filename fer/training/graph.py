# SPDX-License-Identifier: Apache-2.0
"""The graph of a run: pipelines and towers of both splits, the training step of each phase, and what the loop runs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fer.data.split import Split
from fer.emotions import NUM_CLASSES
from fer.tf1 import tf
from fer.training.chunks import chunked_gradients
from fer.training.features import FeatureCache, build_cache
from fer.training.losses import class_weights
from fer.training.optimizers import ParameterGroup, apply_gradients, parameter_groups
from fer.training.schedule import Phase, learning_rate, phases_of
from fer.training.stages import Blueprint, trained_variables
from fer.training.tower import Side, Tower, build_side

# In mixed precision, the loss is multiplied by this factor and gradients are divided by it. The smallest value of
# float16 is 6e-8. Its largest is 65504, far above the gradients of a loss near 1. The factor is fixed, because dynamic
# scaling skips steps.
LOSS_SCALE = 128.0


class TrainStep(NamedTuple):
    """One step of a phase's optimiser."""

    train: tf.Operation
    norm: tf.Tensor  # float32, of all gradients together, before clipping


class TrainGraph(NamedTuple):
    """The tensors and operations that the loop runs. Both sides share the network's variables."""

    training: dict[Phase, Side]  # the same side for both phases if both read images
    validation: dict[Phase, Side]  # by phase of training, empty without validation
    cache: FeatureCache | None  # of the features that phase one reads instead of images
    steps: dict[Phase, TrainStep]
    rate: tf.Tensor  # float32, the learning rate of the current step
    finite: tf.Tensor  # bool, whether every value of the network's variables is finite
    saver: tf.train.Saver  # of every variable, those of the optimisers included


def build_graph(
    blueprint: Blueprint, train_split: Split, val_split: Split | None, epochs: tuple[int, ...]
) -> TrainGraph:
    """Adds everything that a run needs to the default graph, and sets its seed.

    Args:
      blueprint: of the run.
      train_split: the videos to train on.
      val_split: the videos to validate on, if any.
      epochs: of each phase.
    """
    config = blueprint.config
    tf.set_random_seed(config.seed)
    global_step = tf.train.get_or_create_global_step()
    phases = phases_of(epochs)
    # The cache's CNN is added first, so that variables get the order and the first values of a run without a cache.
    cache = _build_cache(blueprint, train_split, val_split, phases)
    training = _build_training(blueprint, train_split, cache, phases)
    validation = _build_validation(blueprint, val_split, cache, phases)
    last_step = sum(epochs) * training[phases[0]].pipeline.num_batches
    rate = learning_rate(config, last_step, global_step)
    groups = parameter_groups(config, rate, {phase: trained_variables(blueprint, phase) for phase in phases})
    steps = {
        phase: build_step(
            side.towers[phase], groups[phase], config.clip_norm, phase, mixed_precision=config.mixed_precision
        )
        for phase, side in training.items()
    }
    variables = tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(variable)) for variable in variables])
    return TrainGraph(training, validation, cache, steps, rate, finite, tf.train.Saver())


def _build_cache(
    blueprint: Blueprint, train_split: Split, val_split: Split | None, phases: tuple[Phase, ...]
) -> FeatureCache | None:
    """Returns the cache that phase one reads from, if it is wanted, the CNN is frozen and images never change."""
    config = blueprint.config
    if not config.feature_cache:
        return None
    cnn = next(part for part in blueprint.stage.parts(blueprint) if part.scope == config.model)
    splits = [split for split in (train_split if not config.augment else None, val_split) if split]
    if Phase.NEW_LAYERS not in phases or cnn.new_layers or not splits:
        print('features: not kept; no phase has a frozen CNN and images that are not augmented')
        return None
    return build_cache(blueprint, splits, config.feature_cache, config.feature_cache_gb)


def _build_training(
    blueprint: Blueprint, split: Split, cache: FeatureCache | None, phases: tuple[Phase, ...]
) -> dict[Phase, Side]:
    """Returns the training side of each phase. Phase one reads features if there is a cache and no augmentation."""
    config, weights = blueprint.config, None
    if config.class_weights != 'none':
        weights = class_weights(_item_counts(split, config.classify), config.class_weights)
    if not cache or config.augment:
        return dict.fromkeys(phases, build_side(blueprint, split, phases, weights))
    return {
        phase: build_side(blueprint, cache.attach(split) if phase == Phase.NEW_LAYERS else split, (phase,), weights)
        for phase in phases
    }


def _build_validation(
    blueprint: Blueprint, split: Split | None, cache: FeatureCache | None, phases: tuple[Phase, ...]
) -> dict[Phase, Side]:
    """Returns the validation side of each phase. Phase one reads features if there is a cache."""
    if split is None:
        return {}
    if not cache:
        return dict.fromkeys(phases, build_side(blueprint, split))
    validation = {Phase.ALL: build_side(blueprint, split)} if Phase.ALL in phases else {}
    return validation | {Phase.NEW_LAYERS: build_side(blueprint, cache.attach(split))}


def _item_counts(split: Split, classify: str) -> np.ndarray:
    """Returns the items of each class in an epoch, windows or frames, int64 [7]."""
    counts = np.zeros(NUM_CLASSES, np.int64)
    for window in split.windows:
        counts[split.videos[window.video].label] += window.length if classify == 'frame' else 1
    return counts


def build_step(
    tower: Tower,
    groups: Sequence[ParameterGroup],
    clip_norm: float,
    phase: Phase,
    *,
    mixed_precision: bool = False,
) -> TrainStep:
    """Adds a step of the optimisers of `groups`. It runs after the updates of batch norm's averages and of the loss.

    Args:
      tower: of the phase.
      groups: the variables that the phase trains, with their optimisers.
      clip_norm: gradients are scaled down together to at most this norm. 0 leaves them as they are.
      phase: names the variables of new optimisers.
      mixed_precision: whether gradients may pass through float16, which requires `LOSS_SCALE`.
    """
    assert tower.loss is not None
    # Batch norm is frozen in the tower of phase one, so the updates of the collection all belong to phase two.
    updates = [] if phase == Phase.NEW_LAYERS else tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    # One op for all, because NASNet has 1,600 updates and each op of the gradients would depend on each of them.
    updated = tf.group(*updates, *tower.loss.updates)
    variables = [variable for group in groups for variable in group.variables]
    with tf.variable_scope(f'phase_{phase}'), tf.control_dependencies([updated]):
        loss = tower.loss.total * LOSS_SCALE if mixed_precision else tower.loss.total
        if tower.chunked:
            pairs = chunked_gradients(loss, tower.chunked, variables)
        else:
            pairs = groups[-1].optimizer.compute_gradients(loss, variables)
        gradients, trained = zip(*[(g, v) for g, v in pairs if g is not None], strict=True)
        if mixed_precision:
            gradients = tuple(gradient / LOSS_SCALE for gradient in gradients)
        norm = tf.linalg.global_norm(gradients)
        if clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
        step = apply_gradients(groups, list(zip(gradients, trained, strict=True)), tf.train.get_global_step())
    return TrainStep(step, norm)
