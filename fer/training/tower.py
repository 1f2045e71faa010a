"""The graph of one stage: packed batch in, window logits and loss out."""

import os
from typing import NamedTuple

from fer.data.pipeline import Batch, Pipeline, build_pipeline
from fer.data.split import Split
from fer.emotions import NUM_CLASSES
from fer.errors import InputError
from fer.nets import Network
from fer.nets.conventions import Convention
from fer.tf1 import tf
from fer.training.aggregation import AGGREGATE, CLASSIFY, window_logits
from fer.training.config import TrainConfig
from fer.training.losses import LossSettings, total_loss

STAGES = ('finetune',)


class Tower(NamedTuple):
    """One copy of the network on one input. Train and evaluation towers of a graph share their variables."""

    window_logits: tf.Tensor  # float32 [B, 7]
    loss: tf.Tensor  # float32, scalar
    accuracy: tf.Tensor  # float32, scalar: share of windows predicted right


class Side(NamedTuple):
    """The training or the evaluation half of a graph: a split, its input, and a tower on it."""

    split: Split
    pipeline: Pipeline
    tower: Tower


def check_stage(config: TrainConfig, network: Network) -> None:
    """Raises InputError for settings that no graph can be built from."""
    for name, known in (('stage', STAGES), ('classify', CLASSIFY), ('aggregate', AGGREGATE)):
        if getattr(config, name) not in known:
            raise InputError(f'--{name}={getattr(config, name)}: expected one of {", ".join(known)}')
    if config.image_size < network.min_image_size:
        raise InputError(
            f'--image_size={config.image_size}: expected at least {network.min_image_size} for --model={config.model}'
        )
    if config.global_pool not in network.global_pool:
        raise InputError(
            f'--global_pool={config.global_pool}: --model={config.model} always averages its last map (6.1)'
        )
    if config.se_vgg and config.model != 'vgg_face':
        raise InputError(f'--se_vgg: expected --model=vgg_face, found --model={config.model}')


def check_gradients(config: TrainConfig, network: Network) -> None:
    """Raises InputError where the network cannot be trained on this machine, although it can be evaluated."""
    onednn = os.environ['TF_ENABLE_ONEDNN_OPTS'].lower()  # fer/tf1.py sets it
    if network.grouped and onednn in ('0', 'false') and not tf.config.list_physical_devices('GPU'):
        raise InputError(
            f'TF_ENABLE_ONEDNN_OPTS={onednn}: expected 1 to train --model={config.model}; without oneDNN, grouped '
            'convolutions have no gradients on a CPU'
        )


def build_tower(
    config: TrainConfig, network: Network, convention: Convention, batch: Batch, is_training: bool
) -> Tower:
    """Adds the network of the finetune stage to the default graph: each frame classified, then aggregated."""
    variant = {'se': True} if config.se_vgg else {}
    _, end_points = network.build(
        batch.images,
        num_classes=NUM_CLASSES,
        is_training=is_training,
        width=config.width,
        dropout=config.dropout,
        global_pool=config.global_pool,
        convention=convention,
        **variant,
    )
    frame_logits = end_points['logits']
    logits = window_logits(frame_logits, batch.lengths, batch.pad_index, config.classify, config.aggregate)
    loss = total_loss(LossSettings(), config.classify, frame_logits, logits, batch.labels, batch.lengths).total
    right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), batch.labels)
    return Tower(logits, loss, tf.reduce_mean(tf.cast(right, tf.float32)))


def build_side(config: TrainConfig, network: Network, convention: Convention, split: Split, is_training: bool) -> Side:
    """Adds input and network to the default graph; training batches are shuffled by the run's seed."""
    with tf.name_scope('train' if is_training else 'evaluation'):
        shuffle_seed = config.seed if is_training else None
        pipeline = build_pipeline(split, config.seq_len, config.batch_size, config.image_size, shuffle_seed)
        return Side(split, pipeline, build_tower(config, network, convention, pipeline.batch, is_training))


def phase_one_variables(network: Network) -> list[tf.Variable]:
    """The variables trained alone in phase one: the dense layers, which AFEW is new to."""
    return [v for v in tf.trainable_variables() if v.name.startswith(tuple(f'{s}/' for s in network.phase_one))]
