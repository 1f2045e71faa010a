"""The stages of training (dissertation ch. 4), each a declaration; the loop, evaluation and reports know no stage.

A stage says what it reads of a manifest, what its network is made of, and how logits of frames come from a batch. The
parts of a network are named by the scope of their variables, and each says where it is restored from and what of it is
new: phase one of two trains what is new, alone, and leaves all else as it is in evaluation.
"""

from collections.abc import Callable, Mapping
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
from fer.nets.layers import batch_norm
from fer.nets.rnn import sequence_classifier
from fer.runs.config import TrainConfig
from fer.tf1 import slim, tf
from fer.training.chunks import Chunked, frames_of_chunk, run_in_chunks
from fer.training.losses import LossSettings

TEMPORAL, AUDIO_GRU, FFN, EARLY_FUSION = 'temporal', 'audio_gru', 'ffn', 'early_fusion'  # scopes


class Blueprint(NamedTuple):
    """All that a run's graph is built from, besides its data."""

    config: TrainConfig
    convention: Convention | None  # of the CNN; None without one
    scaling: Scaling | None  # of the sound; None without it
    audio: TrainConfig | None = None  # of the run whose audio GRU is part of the network (early fusion, 2 to 4)
    visual: TrainConfig | None = None  # of the run whose visual GRU is (option 4); None where that GRU is new


class Frames(NamedTuple):
    """What a network says of the N real frames of a batch; a whole video's sound, or a still, is one frame."""

    logits: tf.Tensor  # float32 [N, 7]
    embeddings: tf.Tensor | None  # float32 [N, D], what the classifier stands on; None where nothing asks for it
    chunked: Chunked | None = None  # the CNN, where it runs in chunks, which gradients are to be taken through


class Part(NamedTuple):
    """A part of a stage's network."""

    scope: str  # of its variables
    origin: str  # the flag that names what it is restored from
    new: tuple[str, ...]  # scopes that phase one trains; none where all of it is old


class Stage(NamedTuple):
    models: tuple[str, ...]  # that --model may name
    contents: Contents
    batch_size: int  # where --batch_size is not given
    parts: Callable[[Blueprint], list[Part]]
    # What is taken of the CNN: its classes, 0 for no classifier, and which of `see`'s outputs training needs.
    num_classes: int
    outputs: tuple[str, ...]
    # build(blueprint, batch, seen, trains): adds to the default graph what stands on the CNN, given what `see` returned
    # of it. trains(scope) says whether a part acts as in training (dropout, batch statistics) or as in evaluation.
    build: Callable[[Blueprint, Batch, Mapping[str, tf.Tensor], Callable[[str], bool]], Frames]


def see(blueprint: Blueprint, images: tf.Tensor, is_training: bool) -> dict[str, tf.Tensor]:
    """Adds the run's CNN to the default graph.

    Args:
      blueprint: of a run of a stage with images.
      images: float32 [N, H, W, 3], RGB in [-1, 1].
      is_training: whether dropout acts and batch normalisation takes the batch's statistics.

    Returns:
      `features` float32 [N, D]; where the stage has a classifier on the CNN, `logits` [N, 7] and what that stands on,
      `embeddings` [N, E], which is fc7 in VGG-Face, else the features.
    """
    config = blueprint.config
    num_classes = stage_of(config).num_classes
    features, end_points = get_network(config.model).build(
        images,
        num_classes=num_classes,
        is_training=is_training,
        dropout=config.dropout,
        **cnn_arguments(blueprint),
    )
    if not num_classes:
        return {'features': features}
    return {'features': features, 'logits': end_points['logits'], 'embeddings': end_points.get('fc7', features)}


def cnn_arguments(blueprint: Blueprint) -> dict:
    """The arguments of a network's builder that its features depend on."""
    config = blueprint.config
    return {
        'width': config.width,
        'global_pool': config.global_pool,
        'convention': blueprint.convention,
        **({'se': True} if config.se_vgg else {}),
    }


def _rnn(config: TrainConfig) -> dict:
    """The arguments of a recurrent network."""
    return {
        'cell': config.rnn_cell,
        'layers': config.rnn_layers,
        'units': config.rnn_units,
        'bidirectional': config.bidirectional,
        'attention': config.attention,
    }


def _build_cnn(blueprint: Blueprint, batch: Batch, seen: Mapping, trains: Callable[[str], bool]) -> Frames:
    """Each frame classified by the CNN alone (6.1, 6.2)."""
    return Frames(seen['logits'], seen.get('embeddings'))


def _classify_sequence(config: TrainConfig, batch: Batch, inputs: tf.Tensor, is_training: bool, scope: str) -> Frames:
    """A recurrent network over the frames of windows, as the run's own flags describe it, and a classifier of each."""
    outputs, end_points = sequence_classifier(
        inputs,
        batch.lengths,
        batch.pad_index,
        NUM_CLASSES,
        is_training,
        dropout=config.rnn_dropout,
        scope=scope,
        **_rnn(config),
    )
    return Frames(end_points['logits'], outputs)


def _build_temporal(blueprint: Blueprint, batch: Batch, seen: Mapping, trains: Callable[[str], bool]) -> Frames:
    """CNN features into a recurrent network (5.2, 6.3)."""
    return _classify_sequence(blueprint.config, batch, seen['features'], trains(TEMPORAL), TEMPORAL)


def _build_ffn(blueprint: Blueprint, batch: Batch, seen: Mapping, trains: Callable[[str], bool]) -> Frames:
    """A whole video's functionals (6.4, table 1)."""
    config = blueprint.config
    hidden, end_points = ffn(
        batch.audio, NUM_CLASSES, trains(FFN), config.hidden_units, config.dropout, config.batch_norm
    )
    return Frames(end_points['logits'], hidden)


def _build_audio_gru(blueprint: Blueprint, batch: Batch, seen: Mapping, trains: Callable[[str], bool]) -> Frames:
    """The descriptors of each clip of sound (6.4, table 2)."""
    return _classify_sequence(blueprint.config, batch, batch.audio, trains(AUDIO_GRU), AUDIO_GRU)


def _build_early_fusion(blueprint: Blueprint, batch: Batch, seen: Mapping, trains: Callable[[str], bool]) -> Frames:
    """One of the four options of figure 6.13 (4.4, 6.5)."""
    config = blueprint.config
    option = OPTIONS[config.fusion_option]
    visual, audio = seen['features'], batch.audio
    sequence = (batch.lengths, batch.pad_index)
    if option.visual_rnn:
        rnn = _rnn(blueprint.visual or config)
        visual, _ = sequence_classifier(visual, *sequence, 0, trains(TEMPORAL), scope=TEMPORAL, **rnn)
    if option.audio_rnn:
        assert blueprint.audio, 'check_config insists on --audio_run_dir'
        rnn = _rnn(blueprint.audio)
        audio, _ = sequence_classifier(audio, *sequence, 0, trains(AUDIO_GRU), scope=AUDIO_GRU, **rnn)
    outputs, end_points = early_fusion(
        visual,
        audio,
        *sequence,
        NUM_CLASSES,
        trains(EARLY_FUSION),
        option.recurrent,
        config.rnn_dropout,
        scope=EARLY_FUSION,
        **(_rnn(config) if option.recurrent else {}),
    )
    return Frames(end_points['logits'], outputs)


def _cnn_parts(blueprint: Blueprint) -> list[Part]:
    model = blueprint.config.model
    return [Part(model, 'init_from', get_network(model).phase_one)]


def _temporal_parts(blueprint: Blueprint) -> list[Part]:
    return [Part(blueprint.config.model, 'init_from', ()), Part(TEMPORAL, 'init_from', (TEMPORAL,))]


def _audio_parts(blueprint: Blueprint) -> list[Part]:
    model = blueprint.config.model
    return [Part(model, 'init_from', (model,))]


def _early_fusion_parts(blueprint: Blueprint) -> list[Part]:
    option = OPTIONS[blueprint.config.fusion_option]
    parts = [Part(blueprint.config.model, 'init_from', ())]
    if option.visual_rnn:
        parts.append(Part(TEMPORAL, 'init_from', () if blueprint.visual else (TEMPORAL,)))
    if option.audio_rnn:
        parts.append(Part(AUDIO_GRU, 'audio_run_dir', ()))
    return [*parts, Part(EARLY_FUSION, 'init_from', (EARLY_FUSION,))]


_CNNS = tuple(NETWORKS)
_CLASSIFIER, _BELOW, _NO_CNN = (NUM_CLASSES, ('logits', 'embeddings')), (0, ('features',)), (0, ())
_STAGES = {
    # batches of 64 stills (6.1), 16 sounds (6.4), 4 windows of faces (6.2)
    'pretrain': (Stage(_CNNS, Contents('still', True, 0), 64, _cnn_parts, *_CLASSIFIER, _build_cnn),),
    'finetune': (Stage(_CNNS, Contents('frame', True, 0), 4, _cnn_parts, *_CLASSIFIER, _build_cnn),),
    'temporal': (Stage(_CNNS, Contents('frame', True, 0), 4, _temporal_parts, *_BELOW, _build_temporal),),
    'audio': (
        Stage((FFN,), Contents('video', False, FUNCTIONALS), 16, _audio_parts, *_NO_CNN, _build_ffn),
        Stage((AUDIO_GRU,), Contents('frame', False, LLD), 16, _audio_parts, *_NO_CNN, _build_audio_gru),
    ),
    'early_fusion': (Stage(_CNNS, Contents('frame', True, LLD), 4, _early_fusion_parts, *_BELOW, _build_early_fusion),),
}


def get_stage(stage: str, model: str) -> Stage:
    """Raises InputError for a stage or a model that there is not."""
    if stage not in _STAGES:
        raise InputError(f'--stage={stage}: expected one of {", ".join(_STAGES)}')
    rows = _STAGES[stage]
    for row in rows:
        if model in row.models:
            return row
    known = [name for row in rows for name in row.models]
    raise InputError(f'--model={model}: expected one of {", ".join(known)} for --stage={stage}')


def stage_of(config: TrainConfig) -> Stage:
    return get_stage(config.stage, config.model)


def window_length(config: TrainConfig) -> int:
    """Frames of a window: --seq_len, but a still and a whole video's sound are one."""
    return config.seq_len if stage_of(config).contents.item == 'frame' else 1


def reading(config: TrainConfig) -> Reading:
    """What the pipeline makes of a window."""
    contents = stage_of(config).contents
    return Reading(
        config.image_size if contents.images else 0,
        contents.audio,
        config.augment,
        config.audio_noise,
        config.audio_time_mask,
        config.bucket_by_length,
    )


def loss_settings(config: TrainConfig) -> LossSettings:
    """The settings of the loss among all."""
    return LossSettings(**{name: getattr(config, name) for name in LossSettings._fields})


def build_frames(blueprint: Blueprint, batch: Batch, is_training: bool, phase: int, chunk: int = 0) -> Frames:
    """Adds a stage's network to the default graph; towers of a graph share its variables.

    Args:
      blueprint: of the run.
      batch: of its pipeline. Where it has features, they are taken for what the CNN says, which has to be frozen.
      is_training: whether it is the training graph.
      phase: of training. In phase one a part without anything new acts as in evaluation, and batch normalisation is
        frozen everywhere: what is not trained does not move.
      chunk: the most frames that pass the CNN at once; 0 for all.
    """
    stage = stage_of(blueprint.config)
    new = {part.scope for part in stage.parts(blueprint) if part.new}
    frozen = phase == 1 or blueprint.config.batch_norm_mode == 'frozen'
    model, chunked = blueprint.config.model, None

    def trains(scope: str) -> bool:
        return is_training and (phase == 2 or scope in new)

    def cnn(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with slim.arg_scope([batch_norm], frozen=frozen):  # its second pass is added when this scope has been left
            return see(blueprint, images, trains(model))

    seen: Mapping[str, tf.Tensor] = batch.features or {}
    if chunk:
        chunked = run_in_chunks(cnn, batch.images, chunk, stage.outputs)
        seen = chunked.outputs
    elif batch.images is not None:
        seen = cnn(batch.images)
    with slim.arg_scope([batch_norm], frozen=frozen):
        return stage.build(blueprint, batch, seen, trains)._replace(chunked=chunked)


def chunk_of(blueprint: Blueprint, phase: int, frames: int) -> int:
    """The most frames that a phase's training passes through the CNN at once; 0 for all.

    Where nothing but dense layers of the CNN is trained, or none of it, no map is kept, and there is nothing to chunk.

    Args:
      blueprint: of the run.
      phase: of training.
      frames: the most that a batch has.
    """
    config = blueprint.config
    if not stage_of(config).contents.images or (phase == 1 and not _trains_maps(blueprint)):
        return 0
    arguments = cnn_arguments(blueprint)
    return frames_of_chunk(config.frames_per_chunk, frames, config.model, config.image_size, **arguments)


def _trains_maps(blueprint: Blueprint) -> bool:
    """Whether phase one trains layers between maps of the CNN: SE blocks of VGG-Face."""
    config = blueprint.config
    scopes = {scope for part in stage_of(config).parts(blueprint) for scope in part.new}
    return config.se_vgg and f'{config.model}/se' in scopes


def trained_variables(blueprint: Blueprint, phase: int) -> list[tf.Variable]:
    """The variables that a phase trains."""
    variables = tf.trainable_variables()
    if phase == 2:
        return variables
    scopes = tuple(f'{scope}/' for part in stage_of(blueprint.config).parts(blueprint) for scope in part.new)
    return [variable for variable in variables if variable.op.name.startswith(scopes)]
