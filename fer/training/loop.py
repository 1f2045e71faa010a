"""The training loop of every stage: phases, epochs, steps, validation, checkpoints."""

import contextlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.data.bad_frames import BAD_FRAMES_FILE, read_bad_frames, write_bad_frames
from fer.data.readable import BadFrame
from fer.data.split import Split, common_videos, dataset_names, describe
from fer.emotions import NUM_CLASSES
from fer.errors import InputError
from fer.evaluation.metrics import score_results, summary
from fer.evaluation.videos import class_counts, prior_logits
from fer.lock import locked
from fer.nets.weights.files import BEST_PREFIX, LAST_PREFIX, latest_checkpoint
from fer.progress import progress
from fer.report.logs import ONE_DATASET
from fer.stop import StopSignal
from fer.tf1 import tf
from fer.training import checkpoints, run_folder
from fer.training.checks import check_config, check_stage
from fer.training.chunks import chunked_gradients
from fer.training.config import TrainConfig
from fer.training.disk import goes_on
from fer.training.features import FeatureCache, build_cache
from fer.training.log import RunLog, draw_log
from fer.training.losses import class_weights
from fer.training.predict import predict, run_named
from fer.training.restore import Origin, describe_pixels, initialise, write_restore_report
from fer.training.schedule import learning_rate, parse_epochs, phase_of_epoch
from fer.training.session import check_session, open_session, session_settings, settle_process
from fer.training.stages import Blueprint, stage_of, trained_variables
from fer.training.start import cache_frames, fit, load_data, open_origins, scale
from fer.training.tower import Side, Tower, build_side, check_gradients

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
        check_stage(config)
        check_gradients(config)
        check_session(session_settings(config))
        with locked(Path(config.run_dir)):
            _train(config, resume, overwrite, stop)


def _train(config: TrainConfig, resume: bool, overwrite: bool, stop: StopSignal) -> None:
    epochs = parse_epochs(config.train_epochs)
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
            f'--resume: {config.train_manifest} has {counts.sum()} videos, in classes {counts.tolist()}; the run began '
            f'with {counts_before.sum()}, {counts_before.tolist()}'
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
                folder = run_folder.start_run(blueprint, step, counts, reports[0].weights or 'fresh' if reports else '')
                checkpoints.remove_leftovers(folder)
                if config.on_bad_frame == 'skip':
                    bad = {'train': train_split.bad, 'val': val_split.bad if val_split else ()}
                    write_bad_frames(folder / BAD_FRAMES_FILE, bad)
            if reports:
                notes = [_describe_phase(blueprint, phase) for phase in graph.steps]
                print(write_restore_report(folder / 'restored.txt', reports, notes))
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
        raise InputError(f'{config.train_manifest}: no video has a frame; expected some to train on')
    if config.batch_size > len(train_split.windows):
        raise InputError(
            f'--batch_size={config.batch_size}: more than the {len(train_split.windows)} windows of '
            f'{config.train_manifest}; expected at most as many'
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


def build_graph(blueprint: Blueprint, train_split: Split, val_split: Split | None, epochs: list[int]) -> TrainGraph:
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


class Loop(NamedTuple):
    """A run under way."""

    session: tf.Session
    graph: TrainGraph
    config: TrainConfig
    epochs: list[int]  # of each phase
    folder: Path
    log: RunLog
    fallback: np.ndarray  # float [7], logits of videos without frames
    stop: StopSignal

    def run(self, step: int) -> tuple[int, str]:
        """From `step` to the end of the last epoch, to --max_steps, which may lie inside one, or to early stopping.

        Returns:
          The last step, and what ended the run there: epochs, max_steps or early_stopping.
        """
        steps_per_epoch = self._steps_per_epoch
        last_step, reason = sum(self.epochs) * steps_per_epoch, 'epochs'
        if 0 < self.config.max_steps < last_step:
            last_step, reason = self.config.max_steps, 'max_steps'
        ended = step % steps_per_epoch == 0 or step >= last_step  # else it was stopped inside an epoch
        if step and ended and self.graph.validation:
            if not self.log.has_validated(step):  # killed between its checkpoint and its score
                print(f'step {step}{self._validate(step)}', flush=True)
            self._keep_best(step)
        while step < last_step and not self._stops_early(step):
            epoch = step // steps_per_epoch
            phase = phase_of_epoch(epoch, self.epochs)
            until = min((epoch + 1) * steps_per_epoch, last_step)
            label = f'epoch {epoch + 1}/{sum(self.epochs)} phase {phase}'
            with self.stop.held():
                step, loss = self._train_epoch(epoch, phase, step, until, label)
                if not self.session.run(self.graph.finite):  # a moving average, say, which no loss of training shows
                    raise InputError(f'step {step}: a variable is not finite; last good checkpoint: {self._last()}')
                self.log.flush()  # before the checkpoint: a run that is killed in between resumes with every row
                checkpoints.save(self.graph.saver, self.session, self.folder, LAST_PREFIX, step)
                self.stop.check(f'step {step} of {last_step} is kept in {self.folder}; --resume goes on with it')
            scores = self._validate(step) if self.graph.validation else ''
            self._keep_best(step)
            print(f'{label} step {step}: loss {loss:.4f}{scores}', flush=True)
        return step, reason if step >= last_step else 'early_stopping'

    @property
    def _steps_per_epoch(self) -> int:
        return self.graph.training[2].pipeline.num_batches

    def _validate(self, step: int) -> str:
        """Scores every official validation video, dataset by dataset, logs it and says it."""
        epoch = (step - 1) // self._steps_per_epoch
        phase = phase_of_epoch(epoch, self.epochs)
        side = self.graph.validation[phase]
        paths = [manifest.path for manifest in side.split.manifests]
        texts = []
        answers = predict(self.session, side, self.fallback, 'validation')
        names = dataset_names(paths) if len(paths) > 1 else [ONE_DATASET]
        for name, path, results in zip(names, paths, answers, strict=True):
            metrics = score_results(results, path)
            assert metrics is not None, 'load_split insists on labels'
            self.log.validated(step, epoch + 1, phase, name, metrics)
            texts.append(f'{name} {summary(metrics)}' if len(paths) > 1 else summary(metrics))
        self.log.flush()
        return f'; validation {"; ".join(texts)}'

    def _keep_best(self, step: int) -> None:
        """Keeps the checkpoint of the best validation so far, where there is early stopping."""
        if self.config.early_stopping and self.log.best_step() == step:
            with self.stop.held():  # or a signal leaves half of its files
                checkpoints.save(self.graph.saver, self.session, self.folder, BEST_PREFIX, step)

    def _stops_early(self, step: int) -> bool:
        """Whether validation has not improved for --early_stopping epochs; phase one is always seen through."""
        phase_one = self.epochs[0] * self._steps_per_epoch if len(self.epochs) == 2 else 0
        best = self.log.best_step()
        if not self.config.early_stopping or best is None or step < phase_one:
            return False
        since = self.log.validations_after(max(best, phase_one))
        if since < self.config.early_stopping:
            return False
        print(f'early stopping: no better validation for {since} epochs; best at step {best}')
        return True

    def _train_epoch(self, epoch: int, phase: int, step: int, until: int, label: str) -> tuple[int, float]:
        """The steps of one epoch after `step`, up to and with `until` unless it is stopped.

        Returns:
          The last step taken, and the mean loss of the steps.
        """
        split, pipeline, towers = self.graph.training[phase]
        loss, optimiser = towers[phase].loss, self.graph.steps[phase]
        assert loss is not None
        done = step - epoch * pipeline.num_batches
        self.session.run(pipeline.initializer, {pipeline.epoch: epoch, pipeline.skip: done})
        fetches = [
            *(optimiser.train, loss.total, loss.per_item, optimiser.norm, towers[phase].accuracy, self.graph.rate),
            *(pipeline.batch.lengths, pipeline.batch.windows),
        ]
        losses = []
        bar = progress(range(step + 1, until + 1), label=label, unit='step')
        for number in bar:
            began = time.perf_counter()
            _, total, per_item, norm, accuracy, rate, lengths, windows = run_named(self.session, fetches, split)
            speed = int(lengths.sum()) / (time.perf_counter() - began)
            if not (math.isfinite(total) and math.isfinite(norm)):
                raise InputError(self._not_finite(number, total, norm, windows[~np.isfinite(per_item)], windows))
            losses.append(float(total))
            self.log.trained(number, epoch + 1, phase, total, accuracy, rate, speed, norm)
            bar.set_postfix(loss=f'{total:.3f}', fps=f'{speed:.0f}', refresh=False)
            if self.stop.received:
                break
        bar.close()
        return number, sum(losses) / len(losses)

    def _not_finite(self, step: int, loss: float, norm: float, bad: Sequence[int], windows: Sequence[int]) -> str:
        """Which files a loss or gradient that is not finite came from, and what is left of the run."""
        split = self.graph.training[2].split
        names = []
        for index in bad if len(bad) else windows:  # the gradient alone, or a weight: it may be any of the batch
            window = split.windows[index]
            video = split.videos[window.video]
            first, last = video.lines[window.start], video.lines[window.start + window.length - 1]
            path = next(m.path for m in split.manifests if any(v is video for v in m.videos))
            names.append(f'{path}:{first}-{last} ({video.video_id})')
        what = f'the loss is {loss}' if not math.isfinite(loss) else f'the gradients have norm {norm}'
        return f'step {step}: {what} on {", ".join(sorted(names))}; last good checkpoint: {self._last()}'

    def _last(self) -> str:
        return latest_checkpoint(self.folder) or 'none yet'
