# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a trained run on a split: results, metrics and confusion matrix, in the run's own folder."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np

from fer.data.bad_frames import write_bad_frames
from fer.data.split import Split, describe, warnings_of
from fer.errors import InputError
from fer.files import atomic_files
from fer.prepare_flags import compare_clip_contexts
from fer.results.metrics import score_results, summary, write_metrics
from fer.results.plots import draw_confusion
from fer.results.results_file import Results, read_results, write_results
from fer.results.videos import answer_from, prior_logits
from fer.runs.checkpoints import best_or_last_checkpoint, latest_checkpoint
from fer.runs.config import TrainConfig
from fer.runs.names import BEST_PREFIX, BEST_STATE, LAST_STATE
from fer.runs.provenance import stamp
from fer.sample_rates import compare_rates
from fer.settings import settings_of
from fer.tf1 import tf
from fer.training import checkpoints, run_folder
from fer.training.checks import check_video_answer
from fer.training.features import FeatureCache, build_cache
from fer.training.memory_errors import advise_evaluation, explain_full_memory
from fer.training.predict import predict
from fer.training.requests import EvaluationRequest
from fer.training.run_inputs import apply_audio_scaling, load_data
from fer.training.session import check_session, open_first_session, open_session, session_settings
from fer.training.stages import Blueprint
from fer.training.tower import build_side


def evaluate(request: EvaluationRequest) -> None:
    """Answers for every official video of a manifest with a checkpoint of a run, and writes and prints the scores.

    It takes no lock. A run may be evaluated while it trains, and two jobs may evaluate one split at once: each file is
    written whole and names what it is made of.

    Raises:
      InputError: a bad request, no run there, a damaged checkpoint, or a bad manifest.
    """
    request.check()
    audio = read_results(request.audio_results) if request.audio_results else None
    blueprint = adapt_blueprint(request)
    checkpoint = find_checkpoint(request.run_dir, request.checkpoint)
    prior = prior_logits(run_folder.read_class_counts(request.run_dir))
    device = open_first_session(session_settings(blueprint.config))
    data = load_data(blueprint, [request.manifest], request.data_root, labelled=False)
    data = apply_audio_scaling(blueprint, data)
    with explain_full_memory(lambda: _advise(request, blueprint.config), request.gpu_memory_gb):
        results = answer_videos(request, blueprint, checkpoint, data, prior, device)
    if audio:
        results, number = answer_from(results, audio, request.audio_results)
        print(f'{request.split}: {number} {data.contents.words.items} answered by {request.audio_results}')
    metrics = score_results(results, request.manifest)
    write_answers(request, blueprint.config, checkpoint, data, results, metrics)
    answered = f'with {data.contents.words.contents}'
    print(f'{request.split}: {summary(metrics, answered) if metrics else "no labels, no metrics"}')


def _advise(request: EvaluationRequest, config: TrainConfig) -> str:
    """Returns what to do if the memory is full. Features are computed in batches of a fixed size."""
    advice = advise_evaluation(config.batch_size)
    return f'{advice}, without --feature_cache' if request.feature_cache else advice


def adapt_blueprint(request: EvaluationRequest) -> Blueprint:
    """Returns what the run's graph is built from, with the settings of the request.

    Raises:
      InputError: no run there, a damaged one, or a request that its stage or this machine cannot answer.
    """
    folder = Path(request.output or request.run_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f'--output={folder}: a file; expected a folder')
    blueprint = run_folder.read_blueprint(request.run_dir)
    blueprint = blueprint._replace(config=adapt_config(blueprint.config, request))
    check_session(session_settings(blueprint.config))
    check_video_answer(blueprint.config, blueprint.stage)
    _check_images(request, blueprint)
    return blueprint


def adapt_config(config: TrainConfig, request: EvaluationRequest) -> TrainConfig:
    """Returns the settings of a run for an evaluation.

    Settings that only made training fast are turned off, because this machine may not be able to follow them.
    """
    fraction = request.max_bad_fraction
    return dataclasses.replace(
        config,
        batch_size=request.batch_size or config.batch_size,
        nonfinite_audio=request.nonfinite_audio or config.nonfinite_audio,
        on_bad_frame=request.on_bad_frame or config.on_bad_frame,
        max_bad_fraction=config.max_bad_fraction if fraction is None else fraction,
        video_answer=request.video_answer or config.video_answer,
        frame_cache='',
        mixed_precision=False,
        xla=request.xla,
        intra_op_threads=request.intra_op_threads,
        inter_op_threads=request.inter_op_threads,
        gpu=request.gpu,
        gpu_memory_gb=request.gpu_memory_gb,
    )


def _check_images(request: EvaluationRequest, blueprint: Blueprint) -> None:
    """Raises InputError for a request about images if the run uses no images."""
    if blueprint.stage.contents.images:
        return
    stage = blueprint.config.stage
    if request.tta_views > 1:
        raise InputError(f'--tta_views={request.tta_views}: expected 1 for --stage={stage}, which has no images')
    if request.feature_cache:
        raise InputError(
            f'--feature_cache={request.feature_cache}: expected none for --stage={stage}, which has no images'
        )


def find_checkpoint(run_dir: str, choice: str = '') -> str:
    """Returns the path of the checkpoint that answers for a run.

    Args:
      run_dir: folder of the run.
      choice: `best`, `last`, or '' for the best in validation if the run kept it, else the last.

    Raises:
      InputError: the checkpoint does not exist.
    """
    if choice:
        path = latest_checkpoint(run_dir, {'last': LAST_STATE, 'best': BEST_STATE}[choice])
    else:
        path = best_or_last_checkpoint(run_dir)
    if path is None:
        raise InputError(f'{run_dir}: no {choice or "last"} checkpoint; expected one that train.py wrote')
    return path


def answer_videos(
    request: EvaluationRequest,
    blueprint: Blueprint,
    checkpoint: str,
    data: Split,
    prior: np.ndarray,
    device: list[str],
) -> Results:
    """Runs the network over every window of a split and returns an answer for each official video.

    Args:
      request: as `evaluate` takes it.
      blueprint: of the run, as `adapt_blueprint` returns it.
      checkpoint: path of the checkpoint to restore.
      data: the split, its audio scaled.
      prior: float [7], logits of the videos that have no frames.
      device: lines for the screen, of `open_first_session`.
    """
    with tf.Graph().as_default():
        cache = _build_cache(request, blueprint, data)
        side = build_side(blueprint, cache.attach(data) if cache else data, views=request.tta_views > 1)
        with open_session(session_settings(blueprint.config)) as session, cache or contextlib.nullcontext():
            checkpoints.restore_model(session, checkpoint, tf.global_variables())
            if cache:
                cache.load(session)
            print('\n'.join(device))
            _print_inputs(request, blueprint.config, checkpoint, data)
            (results,) = predict(session, side, prior, blueprint.config, request.split, request.tta_views)
    return results


def _build_cache(request: EvaluationRequest, blueprint: Blueprint, data: Split) -> FeatureCache | None:
    if not request.feature_cache:
        return None
    if request.tta_views > 1:
        print(f'features: not kept, as they would be of {request.tta_views} views')
        return None
    return build_cache(blueprint, [data], request.feature_cache, request.feature_cache_gb)


def _print_inputs(request: EvaluationRequest, config: TrainConfig, checkpoint: str, data: Split) -> None:
    rates = run_folder.read_run_rates(request.run_dir)
    print(f'{request.split}: {describe(data)}')
    for warning in warnings_of(data):
        print(warning)
    if differing := compare_rates({'training': rates, request.split: data.sample_rates}):
        print(differing)
    if data.clip_contexts:
        parts = {'the run': run_folder.read_clip_contexts(request.run_dir), request.split: data.clip_contexts}
        if differing := compare_clip_contexts(parts):
            print(differing)
    print('\n'.join(_explain_checkpoint(request, config, checkpoint)))
    if request.tta_views > 1:
        print(f'images: mean of {request.tta_views} views')
    if config.video_answer != TrainConfig.video_answer:
        meaning = settings_of(TrainConfig)['video_answer'].choices[config.video_answer]
        print(f"a video's answer: {meaning} (--video_answer={config.video_answer})")


def _explain_checkpoint(request: EvaluationRequest, config: TrainConfig, checkpoint: str) -> list[str]:
    """Returns lines that name the checkpoint and why it answers, and whether its score is optimistic."""
    is_best = Path(checkpoint).name.startswith(BEST_PREFIX)
    flag = config.best_is_kept_by
    if request.checkpoint:
        reason = f'--checkpoint={request.checkpoint}'
    elif is_best:
        reason = f'the best in validation, kept by {flag}; --checkpoint=last takes the last'
    else:
        reason = 'the last' + (f', as {flag} has kept none yet' if flag else '')
    lines = [f'checkpoint: {checkpoint} ({reason})']
    if is_best and Path(request.manifest).resolve() in {Path(path).resolve() for path in config.val_manifest}:
        lines.append('this score is optimistic: the same videos chose the checkpoint')
    return lines


def write_answers(
    request: EvaluationRequest,
    config: TrainConfig,
    checkpoint: str,
    data: Split,
    results: Results,
    metrics: dict | None,
) -> None:
    """Writes the files of an evaluation, all or none of them, and prints what they hold.

    Args:
      request: as `evaluate` takes it.
      config: the run's settings with those of the request.
      checkpoint: path of the checkpoint that answered.
      data: the split.
      results: the answers.
      metrics: of the answers, None without labels.
    """
    folder, split = Path(request.output or request.run_dir), request.split
    skips = config.on_bad_frame == 'skip'
    bad_frames = folder / f'bad_frames_{split}.csv'  # by split, because bad_frames.csv is training's
    with atomic_files(folder) as files:
        write_results(files / f'results_{split}.txt', results)
        if skips:
            write_bad_frames(files / bad_frames.name, {split: data.bad})
        if metrics is not None:
            about = {
                'split': split,
                'checkpoint': Path(checkpoint).name,
                'fallback': request.fallback,
                'manifest': request.manifest,
                'tta_views': request.tta_views,
                'video_answer': config.video_answer,
                'bad_frames': len(data.bad),
            }
            write_metrics(files / f'metrics_{split}.json', metrics | about | stamp(files / f'results_{split}.txt'))
            picture = files / f'confusion_{split}.png'
            draw_confusion(picture, metrics['confusion'], f'{config.model} {split}', data.contents.words.items)
    if skips:
        print(f'{bad_frames}: {len(data.bad)} bad frames left out')
    else:
        bad_frames.unlink(missing_ok=True)  # of earlier results
    number = sum(reason != '-' for reason in results.fallback)
    answers = f'{len(results.video_ids)} {data.contents.words.items}, {number} by {request.fallback}'
    print(f'{folder / f"results_{split}.txt"}: {answers}')
