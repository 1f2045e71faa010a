# SPDX-License-Identifier: Apache-2.0
"""Checks of a run's settings, before anything else is read or written."""

from fer.errors import InputError
from fer.nets import NETWORKS, get_network
from fer.nets.early_fusion import OPTIONS
from fer.runs.config import TrainConfig
from fer.settings import check_values, settings_of
from fer.training.schedule import Phase, phases_of
from fer.training.stages import AUDIO_GRU, Stage, get_stage, has_recurrence


def check_config(config: TrainConfig) -> None:
    """Raises InputError for the first setting that is out of its range or does not fit the stage or another setting."""
    check_values(config)
    if config.early_stopping and not config.val_manifest:
        raise InputError(f'--early_stopping={config.early_stopping}: expected 0 without --val_manifest')
    if config.keep_best and not config.val_manifest:
        raise InputError('--keep_best: expected --val_manifest, whose scores choose the best epoch')
    stage = get_stage(config.stage, config.model)
    check_video_answer(config, stage)
    if stage.contents.images:
        _check_network(config)
    else:
        _check_no_images(config)
    _check_audio(config, stage)
    _check_sampling(config)
    _check_optimizer(config)
    _check_schedule(config)
    _check_batch_norm(config)
    _check_vgg(config)
    _check_initialiser(config)
    _check_recurrence(config)
    if config.reinit_fc and (config.stage not in ('pretrain', 'finetune') or not config.init_from):
        raise InputError('--reinit_fc: expected --stage=pretrain or finetune with --init_from')
    _check_audio_run(config)


def check_video_answer(config: TrainConfig, stage: Stage) -> None:
    """Raises InputError if --video_answer is given for a stage whose items have one window of one frame."""
    if config.video_answer != TrainConfig.video_answer and stage.contents.item != 'frame':
        what = 'stills have' if stage.contents.item == 'still' else f'--model={config.model} has'
        raise InputError(f'--video_answer={config.video_answer}: {what} no windows of frames; leave the flag out')


def _check_network(config: TrainConfig) -> None:
    network = get_network(config.model)
    if config.image_size < network.min_image_size:
        raise InputError(
            f'--image_size={config.image_size}: expected at least {network.min_image_size} for --model={config.model}'
        )
    if config.stem_stride != TrainConfig.stem_stride and not network.has_stem:
        raise InputError(
            f'--stem_stride={config.stem_stride}: --model={config.model} has no such layers; leave the flag out'
        )
    if config.global_pool not in network.global_pool:
        raise InputError(
            f'--global_pool={config.global_pool}: --model={config.model} always averages its last map (6.1)'
        )


def _check_initialiser(config: TrainConfig) -> None:
    residual = config.model in NETWORKS and NETWORKS[config.model].residual
    if config.initialiser == 'zero_gamma' and not residual:
        names = ', '.join(name for name, network in NETWORKS.items() if network.residual)
        raise InputError(
            f'--initialiser=zero_gamma: --model={config.model} has no residual branches; expected fan_out or fan_in, '
            f'or one of {names}'
        )


def _check_vgg(config: TrainConfig) -> None:
    if config.model != 'vgg_face':
        if config.se_vgg:
            raise InputError(f'--se_vgg: expected --model=vgg_face, found --model={config.model}')
        if config.vgg_pooling != 'source':
            raise InputError(
                f'--vgg_pooling={config.vgg_pooling}: expected --model=vgg_face, found --model={config.model}'
            )
    if config.fc6_dropout and (config.model != 'vgg_face' or config.stage not in ('temporal', 'early_fusion')):
        raise InputError(
            f'--fc6_dropout={config.fc6_dropout:g}: expected --model=vgg_face and --stage=temporal or early_fusion; '
            '--dropout is the rate of the other stages'
        )


def _check_recurrence(config: TrainConfig) -> None:
    """Raises InputError for a kind that the run does not use."""
    has_attention = config.attention and has_recurrence(config)
    needs = {
        'bidirectional_kind': ('--bidirectional', config.bidirectional and has_recurrence(config)),
        'attention_kind': ('--attention', has_attention),
        'attention_length': (
            '--attention and --attention_kind=wrapper',
            has_attention and config.attention_kind == 'wrapper',
        ),
    }
    for name, (flags, is_used) in needs.items():
        default, found = settings_of(TrainConfig)[name].default, getattr(config, name)
        if found != default and not is_used:
            raise InputError(f'--{name}={found}: expected {default}, except in a recurrent network with {flags}')


def _check_no_images(config: TrainConfig) -> None:
    images = {
        '--stem_stride': '' if config.stem_stride == TrainConfig.stem_stride else config.stem_stride,
        '--augment': ','.join(config.augment),
        '--feature_cache': config.feature_cache,
        '--frame_cache': config.frame_cache,
    }
    for flag, text in images.items():
        if text:
            raise InputError(f'{flag}={text}: expected none for --stage={config.stage}, which has no images')
    if len(config.train_epochs) == 2:
        raise InputError(
            f'--train_epochs={",".join(map(str, config.train_epochs))}: expected one phase for '
            f'--stage={config.stage}, where all layers are new'
        )


def _check_sampling(config: TrainConfig) -> None:
    if config.sampling == 'balanced' and config.class_weights != 'none':
        raise InputError(
            f'--class_weights={config.class_weights}: expected none with --sampling=balanced, which balances already'
        )
    where = f'--augment_windows={config.augment_windows}'
    if config.augment_windows == 'added' and config.sampling != 'balanced':
        raise InputError(f'{where}: expected --sampling=balanced, which adds windows')
    if config.augment_windows != 'all' and not (config.augment or config.audio_noise or config.audio_time_mask):
        raise InputError(f'{where}: expected --augment, --audio_noise or --audio_time_mask')


def _check_optimizer(config: TrainConfig) -> None:
    epochs = ','.join(map(str, config.train_epochs))
    if not config.train_epochs[0]:
        raise InputError(f'--train_epochs={epochs}: expected at least 1 first; write one number for a single phase')
    if config.momentum != TrainConfig.momentum and config.optimizer != 'momentum':
        raise InputError(f'--momentum={config.momentum}: expected --optimizer=momentum, found {config.optimizer}')
    if config.keep_optimizer and len(phases_of(config.train_epochs)) < 2:
        raise InputError(f'--keep_optimizer: expected two phases such as --train_epochs=5,25, found {epochs}')
    if config.keep_optimizer and config.optimizer == 'sgd':
        raise InputError('--keep_optimizer: expected an optimiser with moments, found --optimizer=sgd')


def _check_schedule(config: TrainConfig) -> None:
    if config.warmup_steps and config.lr_schedule != 'cosine':
        raise InputError(
            f'--warmup_steps={config.warmup_steps}: expected --lr_schedule=cosine, found {config.lr_schedule}'
        )
    if config.label_smoothing and config.loss != 'cross_entropy':
        raise InputError(
            f'--label_smoothing={config.label_smoothing:g}: expected --loss=cross_entropy, found {config.loss}'
        )


def _check_batch_norm(config: TrainConfig) -> None:
    if config.batch_norm_decay == TrainConfig.batch_norm_decay:
        return
    where = f'--batch_norm_decay={config.batch_norm_decay}'
    has_batch_norm = NETWORKS[config.model].batch_norm if config.model in NETWORKS else config.batch_norm
    if config.model == AUDIO_GRU or not has_batch_norm:
        raise InputError(f'{where}: --model={config.model} has no batch normalisation; leave the flag out')
    if config.batch_norm_mode == 'frozen' or Phase.ALL not in phases_of(config.train_epochs):
        raise InputError(
            f'{where}: no moving average changes with --batch_norm_mode=frozen or without a second phase; leave it out'
        )


def _check_audio(config: TrainConfig, stage: Stage) -> None:
    if not (config.audio_noise or config.audio_time_mask):
        return
    if not stage.contents.audio_size:
        raise InputError(f'--audio_noise, --audio_time_mask: expected 0 for --stage={config.stage}, which has no audio')
    if config.audio_scaling not in ('zscore', 'log'):
        raise InputError(
            '--audio_noise, --audio_time_mask: expected --audio_scaling=zscore or log, where 0 is the mean'
        )
    if config.audio_time_mask and stage.contents.item == 'video':
        raise InputError(
            f'--audio_time_mask={config.audio_time_mask}: expected 0 for --model={config.model}, which has no time'
        )


def _check_audio_run(config: TrainConfig) -> None:
    needs_run = config.stage == 'early_fusion' and OPTIONS[config.fusion_option].audio_rnn
    if needs_run and not config.audio_run_dir:
        raise InputError(f'--fusion_option={config.fusion_option}: expected --audio_run_dir, a run of audio_gru')
    if config.audio_run_dir and not needs_run:
        raise InputError(f'--audio_run_dir={config.audio_run_dir}: expected --stage=early_fusion with option 2, 3 or 4')
