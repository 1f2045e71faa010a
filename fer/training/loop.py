"""The training loop: phases, epochs, steps, validation, checkpoints."""

import math
import shutil
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.data.split import Split, describe, load_split
from fer.errors import InputError
from fer.evaluation.metrics import score_results, summary
from fer.evaluation.videos import class_counts, prior_logits
from fer.nets import Network, get_network
from fer.nets.conventions import Convention
from fer.nets.weights.files import latest_checkpoint
from fer.nets.weights.run import write_convention
from fer.progress import progress
from fer.tf1 import tf
from fer.training import checkpoints, run_folder
from fer.training.config import TrainConfig, check_config
from fer.training.log import RunLog, draw_log
from fer.training.predict import predict, run_named
from fer.training.restore import describe_pixels, initialise, open_for, source_convention, write_restore_report
from fer.training.schedule import LR_SCHEDULES, learning_rate, parse_epochs, phase_of_epoch
from fer.training.session import open_session
from fer.training.tower import Side, build_side, check_gradients, check_stage, phase_one_variables


class TrainGraph(NamedTuple):
    """What the loop runs; both sides share the network's variables."""

    training: Side
    validation: Side | None
    train_ops: dict[int, tf.Operation]  # by phase: one step of its optimiser
    rate: tf.Tensor  # float32, the learning rate of the current step
    saver: tf.train.Saver


def train(config: TrainConfig, resume: bool, overwrite: bool) -> None:
    """Trains the run that `config` describes and leaves it in `config.run_dir`.

    Nothing is written before all that can be checked has been: settings, manifests, every image's existence, and
    the checkpoint to start from.

    Args:
      config: the run.
      resume: go on from the folder's last checkpoint, if it has one.
      overwrite: replace the run that the folder holds, if it holds one.

    Raises:
      InputError: bad settings or data; the message names the flag or the file and line.
    """
    network = get_network(config.model)
    check_config(config)
    check_stage(config, network)
    check_gradients(config, network)
    if config.lr_schedule not in LR_SCHEDULES:
        raise InputError(f'--lr_schedule={config.lr_schedule}: expected one of {", ".join(LR_SCHEDULES)}')
    epochs = parse_epochs(config.train_epochs)
    checkpoint = run_folder.open_run(config, resume, overwrite)
    weights = None
    if checkpoint:
        convention = run_folder.read_run_convention(config.run_dir, config.model)
    else:
        weights = open_for(config.model, config.init_from) if config.init_from else None
        convention = source_convention(network, weights, config.input_convention)
    load = partial(
        load_split, data_root=config.data_root, seq_len=config.seq_len, min_frames=config.min_frames, labelled=True
    )
    train_split = load(config.train_manifest)
    val_split = load(config.val_manifest) if config.val_manifest else None
    if not train_split.windows:
        raise InputError(f'{config.train_manifest}: no video has a frame; expected some to train on')

    with tf.Graph().as_default():
        graph = build_graph(config, network, convention, train_split, val_split, epochs)
        with open_session() as session:
            report = None
            if checkpoint:
                checkpoints.restore_model(session, checkpoint, tf.global_variables())
            else:
                report = initialise(session, weights, config.model, config.allow_missing)
            step = int(session.run(tf.train.get_global_step()))
            counts = class_counts(train_split.ledger)
            folder = run_folder.start_run(config, step, counts)
            if report:
                origin = f'{weights.source.name}, {weights.path}' if weights else 'fresh'
                write_convention(folder, config.model, convention, origin)
                print(write_restore_report(folder / 'restored.txt', report))
                print(f'input: {describe_pixels(convention)}')
            else:
                print(f'resumed from {checkpoint}')
            print(f'training: {describe(train_split)}')
            if val_split:
                print(f'validation: {describe(val_split)}')
            try:
                with RunLog(folder, step) as log:
                    _run_epochs(session, graph, config, epochs, step, folder, log, prior_logits(counts))
            except InputError:
                if latest_checkpoint(folder) is None:  # an image damaged inside: leave no run that never was
                    shutil.rmtree(folder)
                raise
    draw_log(folder, f'{config.model} {config.stage} {folder.name}')
    print(f'run: {folder}')


def build_graph(
    config: TrainConfig,
    network: Network,
    convention: Convention,
    train_split: Split,
    val_split: Split | None,
    epochs: list[int],
) -> TrainGraph:
    """Adds all that a run needs to the default graph, seeded."""
    tf.set_random_seed(config.seed)
    global_step = tf.train.get_or_create_global_step()
    training = build_side(config, network, convention, train_split, is_training=True)
    validation = build_side(config, network, convention, val_split, is_training=False) if val_split else None
    rate = learning_rate(config.learning_rate, config.lr_schedule, config.decay_rate, config.decay_steps, global_step)
    loss, updates = training.tower.loss, tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    train_ops = {}
    if len(epochs) == 2:
        # What phase one does not train it does not move: no network has batch norm among its new layers, and the
        # moving averages of the others stay as they were restored.
        train_ops[1] = build_train_op(loss, rate, phase_one_variables(network), [], 'phase_1')
    train_ops[2] = build_train_op(loss, rate, tf.trainable_variables(), updates, 'phase_2')
    return TrainGraph(training, validation, train_ops, rate, checkpoints.make_saver(config.run_dir))


def build_train_op(
    loss: tf.Tensor, rate: tf.Tensor, variables: list[tf.Variable], updates: list[tf.Operation], scope: str
) -> tf.Operation:
    """One Adam step on `variables`, after the `updates` of batch norm's moving averages.

    Each phase has an Adam of its own. Sharing one would start phase two's new variables with moments of zero but a
    bias correction that has run out, which makes their first steps three times too long.
    """
    with tf.variable_scope(scope):
        optimizer = tf.train.AdamOptimizer(rate)
        gradients = optimizer.compute_gradients(loss, variables)
        with tf.control_dependencies(updates):
            return optimizer.apply_gradients(gradients, tf.train.get_global_step())


def _run_epochs(
    session: tf.Session,
    graph: TrainGraph,
    config: TrainConfig,
    epochs: list[int],
    step: int,
    folder: Path,
    log: RunLog,
    fallback: np.ndarray,
) -> None:
    """From `step` to the end of the last epoch, or to --max_steps, which may lie inside an epoch."""
    steps_per_epoch = graph.training.pipeline.num_batches
    last_step = sum(epochs) * steps_per_epoch
    if config.max_steps:
        last_step = min(last_step, config.max_steps)

    def validate() -> str:
        """Scores every official validation video, logs it and says it."""
        assert graph.validation is not None
        metrics = score_results(predict(session, graph.validation, fallback, 'validation'), config.val_manifest)
        assert metrics is not None, 'load_split insists on labels'
        epoch = (step - 1) // steps_per_epoch
        log.validated(step, epoch + 1, phase_of_epoch(epoch, epochs), metrics)
        log.flush()
        return f'; validation {summary(metrics)}'

    if step and graph.validation and not log.has_validated(step):  # killed between its checkpoint and its score
        print(f'step {step}{validate()}', flush=True)
    while step < last_step:
        epoch = step // steps_per_epoch
        phase = phase_of_epoch(epoch, epochs)
        until = min((epoch + 1) * steps_per_epoch, last_step)
        label = f'epoch {epoch + 1}/{sum(epochs)} phase {phase}'
        loss = _train_epoch(session, graph, epoch, phase, step, until, label, folder, log)
        step = until
        log.flush()  # before the checkpoint: a run that is killed in between resumes with every row
        checkpoints.save(graph.saver, session, folder, step)
        scores = validate() if graph.validation else ''
        print(f'{label} step {step}: loss {loss:.4f}{scores}', flush=True)


def _train_epoch(
    session: tf.Session,
    graph: TrainGraph,
    epoch: int,
    phase: int,
    step: int,
    until: int,
    label: str,
    folder: Path,
    log: RunLog,
) -> float:
    """The steps of one epoch after `step`, up to and with `until`; returns their mean loss."""
    split, pipeline, tower = graph.training
    done = step - epoch * pipeline.num_batches
    session.run(pipeline.initializer, {pipeline.epoch: epoch, pipeline.skip: done})
    fetches = [tower.loss, tower.accuracy, graph.rate, pipeline.batch.lengths, pipeline.batch.windows]
    losses = []
    bar = progress(range(step + 1, until + 1), label=label, unit='step')
    for number in bar:
        began = time.perf_counter()
        _, loss, accuracy, rate, lengths, windows = run_named(
            session, [graph.train_ops[phase], *fetches], split.manifest
        )
        speed = int(lengths.sum()) / (time.perf_counter() - began)
        if not math.isfinite(loss):
            videos = sorted({split.manifest.videos[split.windows[index].video].video_id for index in windows})
            kept = latest_checkpoint(folder) or 'none yet'
            raise InputError(
                f'step {number}: the loss is {loss} on videos {", ".join(videos)}; last checkpoint: {kept}'
            )
        losses.append(float(loss))
        log.trained(number, epoch + 1, phase, loss, accuracy, rate, speed)
        bar.set_postfix(loss=f'{loss:.3f}', fps=f'{speed:.0f}', refresh=False)
    return sum(losses) / len(losses)
