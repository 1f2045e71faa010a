# SPDX-License-Identifier: Apache-2.0
"""The stages of training (dissertation ch. 4), a table. The loop, evaluation and reports are the same for all stages.

A row of the table names what a stage reads from a manifest, the parts of its network, and how the network turns a batch
into logits of frames. A part is named by the scope of its variables. It names the flag that it is restored from and its
new layers. The first of two phases trains only new layers, and all other layers act as in evaluation.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from fer.data.audio import FUNCTIONALS, LLD, Scaling
from fer.data.pipeline import Batch, Reading
from fer.data.split import Contents
from fer.emotions import NUM_CLASSES
from fer.errors import InputError
from fer.nets import NETWORKS, get_network
from fer.nets.conventions import Convention
from fer.nets.early_fusion import OPTIONS, early_fusion
from fer.nets.ffn import ffn
from fer.nets.initialisers import initialiser_scope
from fer.nets.layers import batch_norm, dropout
from fer.nets.rnn import Recurrence, sequence_classifier
from fer.runs.config import TrainConfig
from fer.tf1 import slim, tf
from fer.training.chunks import Chunked, choose_chunk_size
from fer.training.schedule import Phase

TEMPORAL, AUDIO_GRU, FFN, EARLY_FUSION = 'temporal', 'audio_gru', 'ffn', 'early_fusion'  # scopes


class NetworkPart(NamedTuple):
    """A part of a stage's network."""

    scope: str  # of its variables
    flag: str  # that names what the part is restored from
    new_layers: tuple[str, ...] = ()  # scopes that phase one trains


class FrameOutputs(NamedTuple):
    """The network's outputs for the N real frames of a batch. A still, or the audio of a whole video, is one frame."""

    logits: tf.Tensor  # float32 [N, 7]
    embeddings: tf.Tensor | None  # float32 [N, D], the input of the classifier, or None with cached logits
    chunked: Chunked | None = None  # the CNN, where it runs in chunks


class Stage(NamedTuple):
    """A row of the table."""

    models: tuple[str, ...]  # the values of --model
    contents: Contents
    batch_size: int  # the default of --batch_size
    parts: Callable[['Blueprint'], list[NetworkPart]]
    # build(blueprint, batch, cnn_outputs, is_trained) adds the layers on top of the CNN to the default graph, given the
    # outputs of `build_cnn`, if the stage has a CNN. is_trained(scope) tells whether a part acts as in training
    # (dropout, batch statistics) or as in evaluation.
    build: Callable[['Blueprint', Batch, Mapping[str, tf.Tensor], Callable[[str], bool]], FrameOutputs]
    cnn_classes: int = 0  # of the CNN's own classifier, 0 without one
    cnn_outputs: tuple[str, ...] = ()  # the outputs of `build_cnn` that training needs


class Blueprint(NamedTuple):
    """Everything that a run's graph is built from, except its data."""

    config: TrainConfig
    stage: Stage
    convention: Convention | None  # of the CNN, if there is one
    scaling: Scaling | None = None  # of the audio, if there is audio
    audio_run: TrainConfig | None = None  # of the run whose audio GRU is part of the network (early fusion, 2 to 4)
    visual_run: TrainConfig | None = None  # of the run whose visual GRU is (option 4), or None if that GRU is new


def build_cnn(blueprint: Blueprint, images: tf.Tensor, *, is_training: bool) -> dict[str, tf.Tensor]:
    """Adds the run's CNN to the default graph.

    Args:
      blueprint: of a run of a stage with images.
      images: float32 [N, H, W, 3], RGB in [-1, 1].
      is_training: whether dropout acts and batch normalisation uses the statistics of the batch.

    Returns:
      `features`, float32 [N, D], and `last_map` [N, H', W', C]. If the stage has a classifier on the CNN, also `logits`
      [N, 7] and the input of the classifier, `embeddings` [N, E]: fc7 in VGG-Face, else the features.
    """
    config = blueprint.config
    num_classes = blueprint.stage.cnn_classes
    features, end_points = get_network(config.model).build(
        images,
        num_classes=num_classes,
        is_training=is_training,
        dropout=config.dropout,
        **cnn_arguments(blueprint),
    )
    outputs = {'features': features, 'last_map': end_points['last_map']}
    if not num_classes:
        return outputs
    return outputs | {'logits': end_points['logits'], 'embeddings': end_points.get('fc7', features)}


def cnn_arguments(blueprint: Blueprint) -> dict:
    """Returns the arguments of a network's builder that its features depend on."""
    config = blueprint.config
    return {
        'width': config.width,
        'global_pool': config.global_pool,
        'convention': blueprint.convention,
        **option_arguments(config),
    }


def option_arguments(config: TrainConfig) -> dict:
    """Returns the arguments that only some networks take, of the options that a run uses."""
    arguments: dict = {'se': True} if config.se_vgg else {}
    if config.stem_stride != TrainConfig.stem_stride:
        arguments['stem_stride'] = config.stem_stride
    return arguments


# The flags that `cnn_arguments`, `_recurrence` and `_build_ffn` read: weights fit a network of the same flags only.
_CNN_FLAGS = ('width', 'global_pool', 'se_vgg', 'stem_stride')
_RECURRENCE_FLAGS = (
    *('rnn_cell', 'rnn_layers', 'rnn_units', 'bidirectional', 'bidirectional_kind'),
    *('attention', 'attention_kind', 'attention_length'),
)
_FFN_FLAGS = ('hidden_units', 'batch_norm')


def network_flags(model: str) -> tuple[str, ...]:
    """Returns the names of the flags, besides --model, that the network of images or audio is built from."""
    return {FFN: _FFN_FLAGS, AUDIO_GRU: _RECURRENCE_FLAGS}.get(model, _CNN_FLAGS)


def _recurrence(config: TrainConfig) -> Recurrence:
    """Returns the sizes and kind of a run's recurrent network."""
    return Recurrence(
        config.rnn_cell,
        config.rnn_layers,
        config.rnn_units,
        bidirectional=config.bidirectional_kind if config.bidirectional else '',
        attention=config.attention_kind if config.attention else '',
        attention_length=config.attention_length,
    )


def _build_classifier(blueprint: Blueprint, batch: Batch, cnn_outputs: Mapping, is_trained: Callable) -> FrameOutputs:
    """Classifies each frame with the CNN alone (6.1, 6.2)."""
    return FrameOutputs(cnn_outputs['logits'], cnn_outputs.get('embeddings'))


def _classify_sequence(
    config: TrainConfig, batch: Batch, inputs: tf.Tensor, scope: str, *, is_training: bool
) -> FrameOutputs:
    """Adds a recurrent network over the frames of windows, with the run's own flags, and a classifier of each frame."""
    outputs, end_points = sequence_classifier(
        inputs,
        batch.lengths,
        batch.pad_index,
        NUM_CLASSES,
        is_training,
        _recurrence(config),
        config.rnn_dropout,
        scope,
    )
    return FrameOutputs(end_points['logits'], outputs)


def _features_for(blueprint: Blueprint, cnn_outputs: Mapping, scope: str, is_trained: Callable) -> tf.Tensor:
    """Returns the CNN's features, float32 [N, D], as the part that takes them gets them: with --fc6_dropout.

    The dropout acts if that part is trained, even if the CNN is frozen. It comes after the features, so that they can
    be cached.

    Args:
      blueprint: of the run.
      cnn_outputs: of `build_cnn`.
      scope: of the part that takes the features.
      is_trained: tells whether a part acts as in training.
    """
    return dropout(cnn_outputs['features'], blueprint.config.fc6_dropout, is_trained(scope), scope='fc6_dropout')


def _build_temporal(blueprint: Blueprint, batch: Batch, cnn_outputs: Mapping, is_trained: Callable) -> FrameOutputs:
    """Classifies sequences of CNN features with a recurrent network (5.2, 6.3)."""
    features = _features_for(blueprint, cnn_outputs, TEMPORAL, is_trained)
    is_training = is_trained(TEMPORAL)
    return _classify_sequence(blueprint.config, batch, features, TEMPORAL, is_training=is_training)


def _build_ffn(blueprint: Blueprint, batch: Batch, cnn_outputs: Mapping, is_trained: Callable) -> FrameOutputs:
    """Classifies the functionals of whole videos (6.4, table 1)."""
    config = blueprint.config
    hidden, end_points = ffn(
        batch.audio, NUM_CLASSES, is_trained(FFN), config.hidden_units, config.dropout, config.batch_norm
    )
    return FrameOutputs(end_points['logits'], hidden)


def _build_audio_gru(blueprint: Blueprint, batch: Batch, cnn_outputs: Mapping, is_trained: Callable) -> FrameOutputs:
    """Classifies sequences of the descriptors of audio clips (6.4, table 2)."""
    is_training = is_trained(AUDIO_GRU)
    return _classify_sequence(blueprint.config, batch, batch.audio, AUDIO_GRU, is_training=is_training)


def _build_early_fusion(blueprint: Blueprint, batch: Batch, cnn_outputs: Mapping, is_trained: Callable) -> FrameOutputs:
    """Classifies faces and audio together with one of the four options of figure 6.13 (4.4, 6.5)."""
    config = blueprint.config
    option = OPTIONS[config.fusion_option]
    visual = _features_for(blueprint, cnn_outputs, TEMPORAL if option.visual_rnn else EARLY_FUSION, is_trained)
    audio = batch.audio
    sequence = (batch.lengths, batch.pad_index)
    if option.visual_rnn:
        rnn = _recurrence(blueprint.visual_run or config)
        visual, _ = sequence_classifier(visual, *sequence, 0, is_trained(TEMPORAL), rnn, scope=TEMPORAL)
    if option.audio_rnn:
        assert blueprint.audio_run, 'check_config requires --audio_run_dir'
        rnn = _recurrence(blueprint.audio_run)
        audio, _ = sequence_classifier(audio, *sequence, 0, is_trained(AUDIO_GRU), rnn, scope=AUDIO_GRU)
    outputs, end_points = early_fusion(
        visual,
        audio,
        *sequence,
        NUM_CLASSES,
        is_trained(EARLY_FUSION),
        _recurrence(config) if option.recurrent else None,
        config.rnn_dropout,
        EARLY_FUSION,
    )
    return FrameOutputs(end_points['logits'], outputs)


def _cnn_parts(blueprint: Blueprint) -> list[NetworkPart]:
    model = blueprint.config.model
    return [NetworkPart(model, 'init_from', new_layers=get_network(model).phase_one)]


def _temporal_parts(blueprint: Blueprint) -> list[NetworkPart]:
    return [
        NetworkPart(blueprint.config.model, 'init_from'),
        NetworkPart(TEMPORAL, 'init_from', new_layers=(TEMPORAL,)),
    ]


def _audio_parts(blueprint: Blueprint) -> list[NetworkPart]:
    model = blueprint.config.model
    return [NetworkPart(model, 'init_from', new_layers=(model,))]


def _early_fusion_parts(blueprint: Blueprint) -> list[NetworkPart]:
    option = OPTIONS[blueprint.config.fusion_option]
    parts = [NetworkPart(blueprint.config.model, 'init_from')]
    if option.visual_rnn:
        parts.append(NetworkPart(TEMPORAL, 'init_from', new_layers=() if blueprint.visual_run else (TEMPORAL,)))
    if option.audio_rnn:
        parts.append(NetworkPart(AUDIO_GRU, 'audio_run_dir'))
    return [*parts, NetworkPart(EARLY_FUSION, 'init_from', new_layers=(EARLY_FUSION,))]


_CNNS = tuple(NETWORKS)
_STAGES = {
    'pretrain': (
        Stage(
            models=_CNNS,
            contents=Contents(item='still', images=True, audio_size=0),
            batch_size=64,  # (6.1)
            parts=_cnn_parts,
            build=_build_classifier,
            cnn_classes=NUM_CLASSES,
            cnn_outputs=('logits', 'embeddings'),
        ),
    ),
    'finetune': (
        Stage(
            models=_CNNS,
            contents=Contents(item='frame', images=True, audio_size=0),
            batch_size=4,  # (6.2)
            parts=_cnn_parts,
            build=_build_classifier,
            cnn_classes=NUM_CLASSES,
            cnn_outputs=('logits', 'embeddings'),
        ),
    ),
    'temporal': (
        Stage(
            models=_CNNS,
            contents=Contents(item='frame', images=True, audio_size=0),
            batch_size=4,  # (6.2)
            parts=_temporal_parts,
            build=_build_temporal,
            cnn_outputs=('features',),
        ),
    ),
    'audio': (
        Stage(
            models=(FFN,),
            contents=Contents(item='video', images=False, audio_size=FUNCTIONALS),
            batch_size=16,  # (6.4)
            parts=_audio_parts,
            build=_build_ffn,
        ),
        Stage(
            models=(AUDIO_GRU,),
            contents=Contents(item='frame', images=False, audio_size=LLD),
            batch_size=16,  # (6.4)
            parts=_audio_parts,
            build=_build_audio_gru,
        ),
    ),
    'early_fusion': (
        Stage(
            models=_CNNS,
            contents=Contents(item='frame', images=True, audio_size=LLD),
            batch_size=4,  # (6.2)
            parts=_early_fusion_parts,
            build=_build_early_fusion,
            cnn_outputs=('features',),
        ),
    ),
}


def get_stage(stage: str, model: str) -> Stage:
    """Returns the row of --stage and --model. Raises InputError for an unknown stage or model."""
    if stage not in _STAGES:
        raise InputError(f'--stage={stage}: expected one of {", ".join(_STAGES)}')
    rows = _STAGES[stage]
    for row in rows:
        if model in row.models:
            return row
    known = [name for row in rows for name in row.models]
    raise InputError(f'--model={model}: expected one of {", ".join(known)} for --stage={stage}')


def stages_of(model: str) -> list[str]:
    """Returns the values of --stage that have --model."""
    return [stage for stage, rows in _STAGES.items() if any(model in row.models for row in rows)]


def has_recurrence(config: TrainConfig) -> bool:
    """Returns whether a run has a recurrent network of its own, which its flags describe."""
    if config.stage == 'early_fusion':
        return OPTIONS[config.fusion_option].recurrent
    return config.stage == 'temporal' or config.model == AUDIO_GRU


def window_length(blueprint: Blueprint) -> int:
    """Returns the frames of a window: --seq_len, or 1 for a still or the audio of a whole video."""
    return blueprint.config.seq_len if blueprint.stage.contents.item == 'frame' else 1


def make_reading(blueprint: Blueprint) -> Reading:
    """Returns what the pipeline does with a window."""
    config, contents = blueprint.config, blueprint.stage.contents
    return Reading(
        config.image_size if contents.images else 0,
        len(blueprint.scaling.names) if blueprint.scaling else contents.audio_size,
        config.augment,
        config.audio_noise,
        config.audio_time_mask,
        config.bucket_by_length,
        config.sampling,
        config.augment_windows,
    )


def build_frames(
    blueprint: Blueprint, batch: Batch, *, is_training: bool, phase: Phase, chunk_size: int = 0
) -> FrameOutputs:
    """Adds a stage's network to the default graph. Towers of a graph share its variables.

    Args:
      blueprint: of the run.
      batch: of the run's pipeline. If it has features, they replace the outputs of the CNN, which must be frozen.
      is_training: whether it is the training graph.
      phase: of training. In phase one, what is not trained does not change: a part without new layers acts as in
        evaluation, and batch normalisation is frozen everywhere.
      chunk_size: the most frames that pass the CNN at once, 0 for all.
    """
    stage, model = blueprint.stage, blueprint.config.model
    with_new_layers = {part.scope for part in stage.parts(blueprint) if part.new_layers}
    chunked = None

    def is_trained(scope: str) -> bool:
        return is_training and (phase == Phase.ALL or scope in with_new_layers)

    def cnn(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with _layer_scope(blueprint.config, phase):  # opened here, because a second pass is added later
            return build_cnn(blueprint, images, is_training=is_trained(model))

    cnn_outputs: Mapping[str, tf.Tensor] = batch.features or {}
    if chunk_size:
        chunked = Chunked(cnn, batch.images, chunk_size, stage.cnn_outputs)
        cnn_outputs = chunked.outputs
    elif batch.images is not None:
        cnn_outputs = cnn(batch.images)
    with _layer_scope(blueprint.config, phase):
        return stage.build(blueprint, batch, cnn_outputs, is_trained)._replace(chunked=chunked)


@contextlib.contextmanager
def _layer_scope(config: TrainConfig, phase: Phase) -> Iterator[None]:
    """Gives the layers built inside the run's batch normalisation and the start of new layers."""
    frozen = phase == Phase.NEW_LAYERS or config.batch_norm_mode == 'frozen'
    with (
        slim.arg_scope([batch_norm], frozen=frozen, decay=config.batch_norm_decay),
        initialiser_scope(config.initialiser),
    ):
        yield


def phase_chunk_size(blueprint: Blueprint, phase: Phase, frames: int) -> int:
    """Returns the most frames that pass the CNN at once when a phase trains it, or 0 for all.

    Args:
      blueprint: of the run.
      phase: of training.
      frames: the most frames that a batch has.
    """
    config = blueprint.config
    if not keeps_maps(blueprint, phase):
        return 0
    arguments = cnn_arguments(blueprint)
    return choose_chunk_size(config.frames_per_chunk, frames, config.model, config.image_size, **arguments)


def keeps_maps(blueprint: Blueprint, phase: Phase) -> bool:
    """Returns whether a phase keeps the maps of the CNN for its gradients.

    A phase that trains only dense layers of the CNN, or nothing of it, keeps no maps and needs no chunks.
    """
    return blueprint.stage.contents.images and (phase == Phase.ALL or _has_new_blocks(blueprint))


def _has_new_blocks(blueprint: Blueprint) -> bool:
    """Returns whether phase one trains layers between maps of the CNN, the SE blocks of VGG-Face."""
    return blueprint.config.se_vgg and f'{blueprint.config.model}/se' in new_layers(blueprint)


def new_layers(blueprint: Blueprint) -> list[str]:
    """Returns the scopes of the layers that phase one trains."""
    return [scope for part in blueprint.stage.parts(blueprint) for scope in part.new_layers]


def trained_variables(blueprint: Blueprint, phase: Phase) -> list[tf.Variable]:
    """Returns the variables that a phase trains."""
    variables = tf.trainable_variables()
    if phase == Phase.ALL:
        return variables
    scopes = tuple(f'{scope}/' for scope in new_layers(blueprint))
    return [variable for variable in variables if variable.op.name.startswith(scopes)]
