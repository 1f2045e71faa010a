"""Training a run: what is checked before it, how it begins or is gone on with, and how it ends."""

import contextlib
from pathlib import Path

from fer.data.bad_frames import read_bad_frames, write_bad_frames
from fer.data.file_checks import BadFrame
from fer.data.split import Split, common_videos, describe, warnings_of
from fer.errors import InputError
from fer.results.videos import class_counts, prior_logits
from fer.runs.checkpoints import latest_checkpoint
from fer.runs.config import TrainConfig
from fer.runs.lock import locked
from fer.runs.names import BAD_FRAMES_FILE, RESTORED_FILE
from fer.sample_rates import compare_rates
from fer.stop import StopSignal
from fer.tf1 import tf
from fer.training import checkpoints, run_folder
from fer.training.checks import check_config
from fer.training.disk_errors import goes_on
from fer.training.graph import build_graph
from fer.training.log import RunLog, draw_log
from fer.training.loop import Loop
from fer.training.restore import Origin, describe_pixels, initialise, write_restore_report
from fer.training.run_inputs import cache_frames, fit, load_data, open_origins, scale
from fer.training.session import check_session, open_session, session_settings, settle_process
from fer.training.stages import Blueprint, stage_of, trained_variables
from fer.training.tower import check_gradients


def train(config: TrainConfig, resume: bool, overwrite: bool) -> None:
    """Trains the run that `config` describes and leaves it in `config.run_dir`.

    SIGTERM and SIGUSR1 stop it after the step under way, with a checkpoint of that step: the same call with `resume`
    goes on from there, and ends where an uninterrupted run ends.

    The run folder's lock is held throughout. Nothing else is written before all that can be checked has been: settings,
    manifests, every image's existence (with --on_bad_frame=skip, whether it decodes) and every value of the sound, and
    the checkpoints to start from. Then --frame_cache is filled, and the run begins.

    Args:
      config: the run.
      resume: go on from the folder's last checkpoint, if it has one.
      overwrite: replace the run that the folder holds, if it holds one.

    Raises:
      InputError: bad settings or data, and the message names the flag or the file and line; or another job is at it.
      Stopped: by a signal.
    """
    stop = StopSignal()
    with stop.caught():
        check_config(config)
        check_gradients(config)
        check_session(session_settings(config))
        with locked(Path(config.run_dir)):
            _train(config, resume, overwrite, stop)


def _train(config: TrainConfig, resume: bool, overwrite: bool, stop: StopSignal) -> None:
    epochs = config.train_epochs
    checkpoint = run_folder.open_run(config, resume, overwrite)
    settle_process(session_settings(config))
    origins: list[Origin] = []
    counts_before = None
    if checkpoint:
        blueprint = run_folder.read_blueprint(config.run_dir)._replace(config=config)
        counts_before = run_folder.read_class_counts(config.run_dir)
    else:
        blueprint, origins = open_origins(config)
    known_bad: dict[str, list[BadFrame] | None] = {'train': None, 'val': None}
    if checkpoint and config.on_bad_frame == 'skip':  # windows stay as they were, whatever was mended since
        known_bad = {name: read_bad_frames(Path(config.run_dir) / BAD_FRAMES_FILE, name) for name in known_bad}
    train_split = load_data(config, config.train_manifest, config.data_root, True, known_bad['train'])
    val_split = None
    if config.val_manifest:
        val_split = load_data(config, config.val_manifest, config.data_root, True, known_bad['val'])
    _check_split(config, train_split)
    counts = class_counts(train_split.ledger)
    if counts_before is not None and (counts != counts_before).any():
        raise InputError(
            f'--resume: {",".join(config.train_manifest)} has {counts.sum()} videos, in classes {counts.tolist()}; '
            f'the run began with {counts_before.sum()}, {counts_before.tolist()}'
        )
    blueprint = fit(blueprint, train_split)
    train_split = cache_frames(config, scale(blueprint, train_split))
    val_split = cache_frames(config, scale(blueprint, val_split)) if val_split else None

    with tf.Graph().as_default():
        graph = build_graph(blueprint, train_split, val_split, epochs)
        with (
            open_session(session_settings(config)) as session,
            graph.cache or contextlib.nullcontext(),
            contextlib.ExitStack() as begun,
        ):
            reports = []
            if checkpoint:
                checkpoints.restore_model(session, checkpoint, tf.global_variables())
            else:
                reinit = _dense_layers(blueprint) if config.reinit_fc else ()
                reports = initialise(session, origins, config.allow_missing, reinit)
            step = int(session.run(tf.train.get_global_step()))
            if graph.cache and step <= epochs[0] * graph.training[1].pipeline.num_batches:
                graph.cache.load(session)  # before anything is written: it decodes every frame
            begun.enter_context(goes_on(Path(config.run_dir)))
            with stop.held():
                origin = reports[0].weights or 'fresh' if reports else ''
                folder = run_folder.start_run(blueprint, step, counts, train_split.sample_rates, origin)
                checkpoints.remove_leftovers(folder)
                if config.on_bad_frame == 'skip':
                    bad = {'train': train_split.bad, 'val': val_split.bad if val_split else ()}
                    write_bad_frames(folder / BAD_FRAMES_FILE, bad)
            if reports:
                notes = [_describe_phase(blueprint, phase) for phase in graph.steps]
                print(write_restore_report(folder / RESTORED_FILE, reports, notes))
                print('\n'.join(notes))
                if blueprint.convention:
                    print(f'input: {describe_pixels(blueprint.convention)}')
                if blueprint.scaling:
                    print(f'sound: {len(blueprint.scaling.names)} features, {blueprint.scaling.kind}')
                if resume:
                    print(f'{folder}: no checkpoint to resume from; begun at step 1')
            else:
                print(f'resumed from {checkpoint}')
            for phase, side in graph.training.items():
                if chunked := side.towers[phase].chunked:
                    print(f'phase {phase} trains the CNN on at most {chunked.size} frames at a time')
            print(f'training: {describe(train_split)}')
            if val_split:
                print(f'validation: {describe(val_split)}')
                if common := common_videos(train_split, val_split):
                    print(f'{len(common)} of the validation videos are trained on; their scores say nothing of others')
            for warning in (*warnings_of(train_split), *(warnings_of(val_split) if val_split else ())):
                print(warning)
            if differing := compare_rates(
                {'training': train_split.sample_rates, 'validation': val_split.sample_rates if val_split else {}}
            ):
                print(differing)
            if config.on_bad_frame == 'skip':
                number = len(train_split.bad) + (len(val_split.bad) if val_split else 0)
                print(f'{folder / BAD_FRAMES_FILE}: {number} bad frames left out')
            try:
                with RunLog(folder, step, config) as log:
                    loop = Loop(session, graph, config, epochs, folder, log, prior_logits(counts), stop)
                    step, reason = loop.run(step)
            except InputError:
                if latest_checkpoint(folder) is None:  # an image damaged inside: leave no run that never was
                    run_folder.empty(folder)
                raise
    with goes_on(folder):
        draw_log(folder, f'{config.model} {config.stage} {folder.name}')
        run_folder.finish_run(folder, step, reason)
    print(f'run: {folder}')


def _check_split(config: TrainConfig, train_split: Split) -> None:
    if not train_split.windows:
        raise InputError(f'{",".join(config.train_manifest)}: no video has a frame; expected some to train on')
    if config.batch_size > len(train_split.windows):
        raise InputError(
            f'--batch_size={config.batch_size}: more than the {len(train_split.windows)} windows of '
            f'{",".join(config.train_manifest)}; expected at most as many'
        )


def _dense_layers(blueprint: Blueprint) -> tuple[str, ...]:
    """Scopes of the CNN's dense layers; squeeze-and-excitation blocks are new beside them, but are not dense layers."""
    (cnn,) = stage_of(blueprint.config).parts(blueprint)
    return tuple(scope for scope in cnn.new if not scope.endswith('/se'))


def _describe_phase(blueprint: Blueprint, phase: int) -> str:
    """`phase 1 trains 16 of 46 variables, below temporal/`."""
    trained, every = trained_variables(blueprint, phase), tf.trainable_variables()
    scopes = [f'{scope}/' for part in stage_of(blueprint.config).parts(blueprint) for scope in part.new]
    scopes = [scope for scope in scopes if any(v.op.name.startswith(scope) for v in trained)]
    where = 'all' if phase == 2 else f'below {", ".join(scopes)}'
    return f'phase {phase} trains {len(trained)} of {len(every)} variables, {where}'
