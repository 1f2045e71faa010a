# SPDX-License-Identifier: Apache-2.0
"""Trains a run: checks its inputs, starts or resumes it, runs the loop, and finishes its folder."""

import contextlib
from pathlib import Path

from fer.data.bad_frames import write_bad_frames
from fer.data.sampling import make_sampler
from fer.data.split import common_videos, describe, warnings_of
from fer.errors import InputError
from fer.nets.weights.starter import describe_starters, read_card
from fer.nets.weights.tensors import STARTER
from fer.prepare_flags import compare_clip_contexts, compare_cuts, read_run_prepare_flags
from fer.results.videos import prior_logits
from fer.runs.checkpoints import best_or_last_checkpoint, latest_checkpoint
from fer.runs.config import TrainConfig
from fer.runs.lock import locked
from fer.runs.names import BAD_FRAMES_FILE, PREPARE_FLAGS_FILE, RESTORED_FILE
from fer.sample_rates import compare_rates
from fer.stop import StopSignal
from fer.tf1 import tf
from fer.training import checkpoints, run_folder
from fer.training.checks import check_config
from fer.training.disk_errors import explain_full_disk
from fer.training.graph import TrainGraph, build_graph
from fer.training.log import RunLog, draw_log
from fer.training.loop import Loop
from fer.training.memory_errors import explain_full_memory
from fer.training.restore import (
    PartReport,
    describe_pixels,
    describe_stem,
    describe_weights,
    initialise,
    write_restore_report,
)
from fer.training.run_inputs import RunInputs, read_inputs
from fer.training.schedule import Phase
from fer.training.session import check_session, open_first_session, open_session, session_settings
from fer.training.stages import Blueprint, new_layers, trained_variables
from fer.training.tower import check_gradients


def train(config: TrainConfig, *, resume: bool, overwrite: bool) -> None:
    """Trains the run that `config` describes, in the folder `config.run_dir`.

    SIGTERM and SIGUSR1 stop it after the current step, with a checkpoint of that step. The same call with `resume`
    continues from there and ends as an uninterrupted run does.

    The lock of the run folder is held throughout. Everything is checked before another file is written: settings,
    manifests, that every image exists (with --on_bad_frame=skip, that it can be decoded), every audio value, and the
    checkpoints to start from. Then --frame_cache is filled and the run starts.

    Args:
      config: of the run.
      resume: whether to continue from the last checkpoint of the folder, if it has one.
      overwrite: whether to replace the run in the folder, if it has one.

    Raises:
      InputError: settings or data are wrong, or another job uses the folder. It names the flag, or the file and line.
      Stopped: by a signal.
    """
    stop = StopSignal()
    with stop.caught():
        check_config(config)
        check_gradients(config)
        check_session(session_settings(config))
        fits = explain_full_memory(lambda: 'use a device with more memory', config.gpu_memory_gb)
        with locked(Path(config.run_dir)), fits:
            _train(config, resume=resume, overwrite=overwrite, stop=stop)


def _train(config: TrainConfig, *, resume: bool, overwrite: bool, stop: StopSignal) -> None:
    folder, epochs = Path(config.run_dir), config.train_epochs
    checkpoint = run_folder.open_run(config, resume=resume, overwrite=overwrite)
    device = open_first_session(session_settings(config))
    inputs = read_inputs(config, resumed=checkpoint is not None)
    with tf.Graph().as_default():
        graph = build_graph(inputs.blueprint, inputs.train_split, inputs.val_split, epochs)
        with open_session(session_settings(config)) as session, graph.cache or contextlib.nullcontext():
            reports = _set_variables(session, inputs, checkpoint)
            step = int(session.run(tf.train.get_global_step()))
            if graph.cache and step <= epochs[0] * graph.training[Phase.NEW_LAYERS].pipeline.num_batches:
                graph.cache.load(session)  # before any file is written, because it decodes every frame
            with explain_full_disk(folder):
                with stop.held():
                    _start_folder(inputs, step, reports)
                print('\n'.join(device))
                if checkpoint:
                    print(f'weights: resumed from {checkpoint}')
                else:
                    print('\n'.join(_report_new_run(inputs, list(graph.steps), reports)))
                    if resume:
                        print(f'{folder}: no checkpoint to resume from; starting at step 1')
                print('\n'.join([*_describe_chunks(graph), *_describe_data(inputs)]))
                step, reason = _run_loop(session, graph, inputs, step, stop)
    with explain_full_disk(folder):
        draw_log(folder, f'{config.model} {config.stage} {folder.name}')
        run_folder.finish_run(folder, step, reason)
    print(_describe_answering(config, folder))
    print(f'run: {folder}')


def _describe_answering(config: TrainConfig, folder: Path) -> str:
    """Returns a line that names the checkpoint that answers from now on, and why."""
    path = best_or_last_checkpoint(folder)
    name = Path(path).name if path else 'none'
    if not (flag := config.best_is_kept_by):
        return f'checkpoint: {name} (the last)'
    return f'checkpoint: {name} (the best in validation, kept by {flag}; its score is optimistic on those videos)'


def _set_variables(session: tf.Session, inputs: RunInputs, checkpoint: str | None) -> list[PartReport]:
    """Restores the checkpoint, or gives the variables of a new run their first values.

    Returns:
      For a new run, how the variables of each part start. Nothing for a resumed run.
    """
    if checkpoint:
        checkpoints.restore_model(session, checkpoint, tf.global_variables())
        return []
    config = inputs.blueprint.config
    reinit = _dense_layers(inputs.blueprint) if config.reinit_fc else ()
    return initialise(session, inputs.origins, allow_missing=config.allow_missing, reinit=reinit)


def _dense_layers(blueprint: Blueprint) -> tuple[str, ...]:
    """Returns the scopes of the CNN's new dense layers. Squeeze-and-excitation blocks are new too, but not dense."""
    return tuple(scope for scope in new_layers(blueprint) if not scope.endswith('/se'))


def _start_folder(inputs: RunInputs, step: int, reports: list[PartReport]) -> None:
    """Writes the files that are known before the first step, and removes unfinished ones of a killed session."""
    config, train_split = inputs.blueprint.config, inputs.train_split
    origin = reports[0].weights or 'fresh' if reports else ''
    flags = {path: of for split in inputs.splits for path, of in split.prepare_flags.items()}
    folder = run_folder.start_run(inputs.blueprint, step, inputs.class_counts, train_split.sample_rates, flags, origin)
    checkpoints.remove_leftovers(folder)
    if config.on_bad_frame == 'skip':
        bad = {'train': train_split.bad, 'val': inputs.val_split.bad if inputs.val_split else ()}
        write_bad_frames(folder / BAD_FRAMES_FILE, bad)


def _report_new_run(inputs: RunInputs, phases: list[Phase], reports: list[PartReport]) -> list[str]:
    """Writes restored.txt. Returns lines about the network and its first values."""
    blueprint = inputs.blueprint
    starters = describe_starters(origin.weights.tensors for origin in inputs.origins[:1] if origin.weights)
    notes = [_describe_phase(blueprint, phase) for phase in phases]
    path = Path(blueprint.config.run_dir) / RESTORED_FILE
    summary = write_restore_report(path, reports, [*starters, *notes])
    lines = [describe_weights(reports), *starters, *_compare_faces(inputs), summary, *notes]
    if blueprint.convention:
        lines.append(f'input: {describe_pixels(blueprint.convention)}')
        if differing := describe_stem(blueprint.config.stem_stride, inputs.origins[0].weights):
            lines.append(differing)
    if blueprint.scaling:
        clips = ''.join(f', clips {context}' for context in sorted(inputs.train_split.clip_contexts))
        lines.append(f'audio: {len(blueprint.scaling.names)} features, {blueprint.scaling.kind}{clips}')
    return lines


def _compare_faces(inputs: RunInputs) -> list[str]:
    """Returns a line if faces are cut otherwise than those that a network of the starter set has learned from."""
    weights = inputs.origins[0].weights
    if not weights or weights.tensors.kind != STARTER or not inputs.blueprint.convention:
        return []
    folder = Path(weights.path).parent
    margins = {data['margin'] for data in read_card(folder)['data'] if data.get('margin') is not None}
    learned = read_run_prepare_flags(folder / PREPARE_FLAGS_FILE)
    differing = compare_cuts(inputs.train_split.prepare_flags, learned, margins)
    where = inputs.blueprint.config.init_from
    return [f'faces are cut otherwise than those of {where} (in brackets): {differing}'] * bool(differing)


def _describe_phase(blueprint: Blueprint, phase: Phase) -> str:
    """Returns a line such as `phase 1 trains 16 of 46 variables, below temporal/`."""
    trained, every = trained_variables(blueprint, phase), tf.trainable_variables()
    scopes = [f'{scope}/' for scope in new_layers(blueprint)]
    scopes = [scope for scope in scopes if any(v.op.name.startswith(scope) for v in trained)]
    where = 'all' if phase == Phase.ALL else f'below {", ".join(scopes)}'
    return f'phase {phase} trains {len(trained)} of {len(every)} variables, {where}'


def _describe_chunks(graph: TrainGraph) -> list[str]:
    """Returns a line for each phase that trains the CNN in chunks."""
    towers = {phase: side.towers[phase] for phase, side in graph.training.items()}
    return [
        f'phase {phase} trains the CNN on at most {tower.chunked.size} frames at a time'
        for phase, tower in towers.items()
        if tower.chunked
    ]


def _describe_data(inputs: RunInputs) -> list[str]:
    """Returns lines about the splits, with warnings."""
    config, train_split, val_split = inputs.blueprint.config, inputs.train_split, inputs.val_split
    words = train_split.contents.words
    lines = [f'training: {describe(train_split)}']
    lines += make_sampler(train_split, config.sampling, config.augment_windows).describe(words)
    if val_split:
        lines.append(f'validation: {describe(val_split)}')
        if common := common_videos(train_split, val_split):
            lines.append(
                f'{len(common)} of the validation {words.items} are also trained on, so their scores mean little for '
                'new ones'
            )
    else:
        lines.append('validation: none (no --val_manifest)')
    lines += [warning for split in inputs.splits for warning in warnings_of(split)]
    lines += _compare_audio(inputs)
    if config.on_bad_frame == 'skip':
        number = sum(len(split.bad) for split in inputs.splits)
        lines.append(f'{Path(config.run_dir) / BAD_FRAMES_FILE}: {number} bad frames left out')
    return lines


def _compare_audio(inputs: RunInputs) -> list[str]:
    """Returns a line for each property of the audio in which training, validation and the audio run differ."""
    audio_run = inputs.blueprint.config.audio_run_dir
    named = dict(zip(('training', 'validation'), inputs.splits, strict=False))
    contexts = {name: split.clip_contexts for name, split in named.items()}
    if audio_run and contexts['training']:
        contexts[audio_run] = run_folder.read_clip_contexts(audio_run)
    rates = {name: split.sample_rates for name, split in named.items()}
    return [line for line in (compare_rates(rates), compare_clip_contexts(contexts)) if line]


def _run_loop(
    session: tf.Session, graph: TrainGraph, inputs: RunInputs, step: int, stop: StopSignal
) -> tuple[int, str]:
    """Runs the loop from `step`. Removes the run if an error, such as a damaged image, precedes the first checkpoint.

    Returns:
      The last step, and the reason that the run ended.
    """
    config = inputs.blueprint.config
    folder = Path(config.run_dir)
    try:
        with RunLog(folder, step, config) as log:
            loop = Loop(session, graph, config, folder, log, prior_logits(inputs.class_counts), stop)
            return loop.run(step)
    except InputError:
        if latest_checkpoint(folder) is None:
            run_folder.remove_run(folder)
        raise
