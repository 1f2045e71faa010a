"""The graph of a run: both splits' inputs and towers, the steps of each phase, and what else the loop runs."""

from typing import NamedTuple

import numpy as np

from fer.data.split import Split
from fer.emotions import NUM_CLASSES
from fer.tf1 import tf
from fer.training.chunks import chunked_gradients
from fer.training.features import FeatureCache, build_cache
from fer.training.losses import class_weights
from fer.training.schedule import learning_rate
from fer.training.stages import Blueprint, stage_of, trained_variables
from fer.training.tower import Side, Tower, build_side

# What the loss is multiplied by, and gradients divided by, in mixed precision: float16 ends at 6e-8, and gradients of a
# loss near 1 do not come near its other end, 65504. Fixed, because a scale that is tried out has steps that fail.
LOSS_SCALE = 128.0


class Step(NamedTuple):
    """One step of a phase's optimiser."""

    train: tf.Operation
    norm: tf.Tensor  # float32, of all gradients together, before clipping


class TrainGraph(NamedTuple):
    """What the loop runs; both sides share the network's variables."""

    training: dict[int, Side]  # by phase; the same one where both read images
    validation: dict[int, Side]  # by phase of training; empty without validation
    cache: FeatureCache | None  # of what phase one reads instead of images
    steps: dict[int, Step]  # by phase
    rate: tf.Tensor  # float32, the learning rate of the current step
    finite: tf.Tensor  # bool, whether every value of the network's variables is
    saver: tf.train.Saver  # of every variable, the optimisers' included


def build_graph(
    blueprint: Blueprint, train_split: Split, val_split: Split | None, epochs: tuple[int, ...]
) -> TrainGraph:
    """Adds all that a run needs to the default graph, seeded."""
    config = blueprint.config
    tf.set_random_seed(config.seed)
    global_step = tf.train.get_or_create_global_step()
    phases = (1, 2) if len(epochs) == 2 else (2,)
    weights = None
    if config.class_weights != 'none':
        weights = class_weights(_item_counts(train_split, config.classify), config.class_weights)
    # The cache's CNN comes first, so that variables are made, and their first values drawn, in the order of a run
    # without it.
    cache = _build_cache(blueprint, train_split, val_split, phases)
    if cache and not config.augment:
        kept = build_side(blueprint, cache.attach(train_split), (1,), weights)
        training = {1: kept, 2: build_side(blueprint, train_split, (2,), weights)}
    else:
        training = dict.fromkeys(phases, build_side(blueprint, train_split, phases, weights))
    validation = {}
    if val_split:
        validation = dict.fromkeys(phases, build_side(blueprint, val_split))
        if cache:
            validation[1] = build_side(blueprint, cache.attach(val_split))
    rate = learning_rate(config.learning_rate, config.lr_schedule, config.decay_rate, config.decay_steps, global_step)
    steps = {
        phase: build_step(
            side.towers[phase],
            rate,
            trained_variables(blueprint, phase),
            config.clip_norm,
            phase,
            config.mixed_precision,
        )
        for phase, side in training.items()
    }
    variables = tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(variable)) for variable in variables])
    return TrainGraph(training, validation, cache, steps, rate, finite, tf.train.Saver())


def _build_cache(
    blueprint: Blueprint, train_split: Split, val_split: Split | None, phases: tuple[int, ...]
) -> FeatureCache | None:
    """The cache that phase one reads from: where it is asked for, the CNN is frozen, and images stay as they are."""
    config = blueprint.config
    if not config.feature_cache:
        return None
    cnn = next(part for part in stage_of(config).parts(blueprint) if part.scope == config.model)
    splits = [split for split in (train_split if not config.augment else None, val_split) if split]
    if 1 not in phases or cnn.new or not splits:
        print('features: not kept; no phase has a frozen CNN and images that are not augmented')
        return None
    return build_cache(blueprint, splits, config.feature_cache, config.feature_cache_gb)


def _item_counts(split: Split, classify: str) -> np.ndarray:
    """int64 [7]: how many items of each class the loss is taken of in an epoch, windows or frames."""
    counts = np.zeros(NUM_CLASSES, np.int64)
    for window in split.windows:
        counts[split.videos[window.video].label] += window.length if classify == 'frame' else 1
    return counts


def build_step(
    tower: Tower,
    rate: tf.Tensor,
    variables: list[tf.Variable],
    clip_norm: float,
    phase: int,
    mixed_precision: bool = False,
) -> Step:
    """One Adam step on `variables`, after the updates of batch norm's moving averages and of the loss's own state.

    Each phase has an Adam of its own. Sharing one would start phase two's new variables with moments of zero but a
    bias correction that has run out, which makes their first steps three times too long.

    Args:
      tower: of the phase.
      rate: float32 scalar, the learning rate.
      variables: those the phase trains.
      clip_norm: gradients are scaled down together to at most this norm; 0 leaves them.
      phase: names the optimiser.
      mixed_precision: whether gradients may pass through float16, and so need `LOSS_SCALE`.
    """
    assert tower.loss is not None
    # Phase one's tower has batch norm frozen and adds no update; only phase two's are there.
    updates = [] if phase == 1 else tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    # As one op: NASNet has 1,600 updates, and each op of the gradients would be tied to each of them.
    updated = tf.group(*updates, *tower.loss.updates)
    with tf.variable_scope(f'phase_{phase}'), tf.control_dependencies([updated]):
        optimizer = tf.train.AdamOptimizer(rate)
        loss = tower.loss.total * LOSS_SCALE if mixed_precision else tower.loss.total
        if tower.chunked:
            pairs = chunked_gradients(loss, tower.chunked, variables)
        else:
            pairs = optimizer.compute_gradients(loss, variables)
        gradients, trained = zip(*[(g, v) for g, v in pairs if g is not None], strict=True)
        if mixed_precision:
            gradients = tuple(gradient / LOSS_SCALE for gradient in gradients)
        norm = tf.linalg.global_norm(gradients)
        if clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
        train_op = optimizer.apply_gradients(zip(gradients, trained, strict=True), tf.train.get_global_step())
    return Step(train_op, norm)
