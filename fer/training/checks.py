"""Whether the settings of a run make sense, before anything else is read or written."""

import math

from fer.data.audio import NONFINITE, SCALINGS
from fer.data.augmentation import parse_augment
from fer.data.bad_frames import ON_BAD_FRAME
from fer.errors import InputError
from fer.nets import get_network
from fer.nets.cells import CELLS
from fer.nets.early_fusion import OPTIONS
from fer.runs.config import TrainConfig
from fer.training.aggregation import AGGREGATE, CLASSIFY
from fer.training.losses import check_loss
from fer.training.schedule import LR_SCHEDULES
from fer.training.stages import loss_settings, parse_units, stage_of

CHOICES = {
    'batch_norm_mode': ('train', 'frozen'),
    'audio_scaling': SCALINGS,
    'nonfinite_audio': NONFINITE,
    'on_bad_frame': ON_BAD_FRAME,
    'rnn_cell': tuple(CELLS),
    'fusion_option': tuple(OPTIONS),
    'classify': CLASSIFY,
    'aggregate': AGGREGATE,
    'lr_schedule': LR_SCHEDULES,
}


def check_config(config: TrainConfig) -> None:
    """Raises InputError for a setting out of its range, before anything else is read or written."""
    limits = [
        ('seq_len', 1 <= config.seq_len <= 100_000, '1 to 100000 frames'),
        ('batch_size', config.batch_size >= 1, 'at least 1 window'),
        ('width', 0 < config.width <= 16, 'a factor above 0, at most 16'),
        ('dropout', 0 <= config.dropout < 1, 'a rate in [0, 1)'),
        ('max_bad_fraction', 0 <= config.max_bad_fraction <= 1, 'a share in [0, 1]'),
        ('min_frames', config.min_frames >= 1, 'at least 1 frame'),
        ('seed', 0 <= config.seed < 2**31, 'a whole number from 0 to 2147483647'),
        ('max_steps', config.max_steps >= 0, '0 (no limit) or more steps'),
        ('learning_rate', 0 < config.learning_rate < math.inf, 'a number above 0'),
        ('decay_rate', 0 < config.decay_rate <= 1, 'a factor in (0, 1]'),
        ('decay_steps', config.decay_steps >= 1, 'at least 1 step'),
        ('rnn_layers', 1 <= config.rnn_layers <= 64, '1 to 64 layers'),
        ('rnn_units', 1 <= config.rnn_units <= 65536, '1 to 65536 units'),
        ('rnn_dropout', 0 <= config.rnn_dropout < 1, 'a rate in [0, 1)'),
        ('audio_noise', 0 <= config.audio_noise < math.inf, 'a standard deviation, 0 or above'),
        ('audio_time_mask', 0 <= config.audio_time_mask < 1, 'a share in [0, 1)'),
        ('clip_norm', 0 <= config.clip_norm < math.inf, '0 (no clipping) or a norm above 0'),
        ('early_stopping', config.early_stopping >= 0, '0 (never) or more epochs'),
        ('early_stopping', bool(config.val_manifest) or not config.early_stopping, '0 without --val_manifest'),
        ('frame_cache_gb', 0 < config.frame_cache_gb < math.inf, 'a number of GB above 0'),
        ('feature_cache_gb', 0 < config.feature_cache_gb < math.inf, 'gigabytes, above 0'),
        ('frames_per_chunk', config.frames_per_chunk >= -1, '0 (automatic), -1 (all) or a number of frames'),
        ('train_manifest', bool(config.train_manifest), 'the path of a manifest'),
    ]
    for name, holds, expected in limits:
        if not holds:
            raise InputError(f'--{name}={getattr(config, name)}: expected {expected}')
    for name, known in CHOICES.items():
        if getattr(config, name) not in known:
            raise InputError(f'--{name}={getattr(config, name)}: expected one of {", ".join(map(str, known))}')
    parse_units(config.hidden_units)
    parse_augment(config.augment)
    check_loss(loss_settings(config))


def check_stage(config: TrainConfig) -> None:
    """Raises InputError for settings that do not go together."""
    stage = stage_of(config)
    two_phases = ',' in config.train_epochs
    if stage.contents.images:
        network = get_network(config.model)
        if config.image_size < network.min_image_size:
            raise InputError(
                f'--image_size={config.image_size}: expected at least {network.min_image_size} for '
                f'--model={config.model}'
            )
        if config.global_pool not in network.global_pool:
            raise InputError(
                f'--global_pool={config.global_pool}: --model={config.model} always averages its last map (6.1)'
            )
    elif config.augment:
        raise InputError(f'--augment={config.augment}: expected none for --stage={config.stage}, which has no images')
    elif config.feature_cache:
        raise InputError(
            f'--feature_cache={config.feature_cache}: expected none for --stage={config.stage}, which has no images'
        )
    elif two_phases:
        raise InputError(
            f'--train_epochs={config.train_epochs}: expected one phase for --stage={config.stage}, where all is new'
        )
    if not stage.contents.audio and (config.audio_noise or config.audio_time_mask):
        raise InputError(f'--audio_noise, --audio_time_mask: expected 0 for --stage={config.stage}, which has no sound')
    elif (config.audio_noise or config.audio_time_mask) and config.audio_scaling != 'zscore':
        raise InputError('--audio_noise, --audio_time_mask: expected --audio_scaling=zscore, whose mean is 0')
    elif config.audio_time_mask and stage.contents.item == 'video':
        raise InputError(
            f'--audio_time_mask={config.audio_time_mask}: expected 0 for --model={config.model}, which has no time'
        )
    if config.frame_cache and not stage.contents.images:
        raise InputError(
            f'--frame_cache={config.frame_cache}: expected none for --stage={config.stage}, which has no images'
        )
    if config.se_vgg and config.model != 'vgg_face':
        raise InputError(f'--se_vgg: expected --model=vgg_face, found --model={config.model}')
    if config.reinit_fc and (config.stage not in ('pretrain', 'finetune') or not config.init_from):
        raise InputError('--reinit_fc: expected --stage=pretrain or finetune with --init_from')
    needs_audio = config.stage == 'early_fusion' and OPTIONS[config.fusion_option].audio_rnn
    if needs_audio and not config.audio_run_dir:
        raise InputError(f'--fusion_option={config.fusion_option}: expected --audio_run_dir, a run of audio_gru')
    if config.audio_run_dir and not needs_audio:
        raise InputError(f'--audio_run_dir={config.audio_run_dir}: expected --stage=early_fusion with option 2, 3 or 4')
