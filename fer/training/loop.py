# SPDX-License-Identifier: Apache-2.0
"""The training loop of every stage: phases, epochs, steps, validation, checkpoints."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.data.split import dataset_names
from fer.errors import InputError
from fer.progress import progress
from fer.results.metrics import score_results, summary
from fer.runs.checkpoints import latest_checkpoint
from fer.runs.config import TrainConfig
from fer.runs.logs import ONE_DATASET
from fer.runs.names import BEST_PREFIX, LAST_PREFIX
from fer.stop import StopSignal
from fer.tf1 import tf
from fer.training import checkpoints
from fer.training.graph import TrainGraph
from fer.training.log import RunLog, StepRecord
from fer.training.memory_errors import advise_training, advise_validation, explain_full_memory
from fer.training.predict import predict, run_named
from fer.training.schedule import Phase, phase_of_epoch, phases_of
from fer.training.tower import Tower


class _Epoch(NamedTuple):
    """An epoch, or the rest of one."""

    number: int  # from 0
    phase: Phase
    first_step: int  # the last step taken before
    last_step: int  # where the epoch, or the run, ends
    label: str  # for the progress bar and the line of the epoch


class Loop(NamedTuple):
    """A run in progress."""

    session: tf.Session
    graph: TrainGraph
    config: TrainConfig
    folder: Path
    log: RunLog
    fallback: np.ndarray  # float [7], logits of videos without frames
    stop: StopSignal

    def run(self, step: int) -> tuple[int, str]:
        """Trains from `step` to the end of the last epoch, to --max_steps, or to early stopping.

        --max_steps may lie inside an epoch.

        Returns:
          The last step, and the reason that the run ended: epochs, max_steps or early_stopping.
        """
        last_step, reason = self._end()
        self._finish_validation(step, last_step)
        while step < last_step and not self._stops_early(step):
            epoch = self._next_epoch(step, last_step)
            with self.stop.held():
                step, loss = self._train_epoch(epoch)
                self._save(step)
                self.stop.check(f'step {step} of {last_step} is kept in {self.folder}; resume it with --resume')
            scores = self._validate(step) if self.graph.validation else ''
            self._keep_best(step)
            print(f'{epoch.label} step {step}: loss {loss:.4f}{scores}', flush=True)
        return step, reason if step >= last_step else 'early_stopping'

    @property
    def _steps_per_epoch(self) -> int:
        return self.graph.training[self._first_phase].pipeline.num_batches

    @property
    def _first_phase(self) -> Phase:
        return phase_of_epoch(0, self.config.train_epochs)

    def _end(self) -> tuple[int, str]:
        """Returns the last step without early stopping, and what ends the run there."""
        last_step = sum(self.config.train_epochs) * self._steps_per_epoch
        if 0 < self.config.max_steps < last_step:
            return self.config.max_steps, 'max_steps'
        return last_step, 'epochs'

    def _next_epoch(self, step: int, last_step: int) -> _Epoch:
        """Returns the epoch of the step after `step`."""
        number = step // self._steps_per_epoch
        phase = phase_of_epoch(number, self.config.train_epochs)
        until = min((number + 1) * self._steps_per_epoch, last_step)
        return _Epoch(number, phase, step, until, f'epoch {number + 1}/{sum(self.config.train_epochs)} phase {phase}')

    def _finish_validation(self, step: int, last_step: int) -> None:
        """Scores the step that a run is resumed from, if the earlier session was killed before it could."""
        inside_epoch = step % self._steps_per_epoch != 0 and step < last_step
        if not step or inside_epoch or not self.graph.validation:
            return
        if not self.log.has_validated(step):
            print(f'step {step}{self._validate(step)}', flush=True)
        self._keep_best(step)

    def _save(self, step: int) -> None:
        """Writes the logs and a checkpoint.

        Raises:
          InputError: a variable is not finite. The loss does not show that of a moving average.
        """
        if not self.session.run(self.graph.finite):
            raise InputError(f'step {step}: a variable is not finite; last good checkpoint: {self._last_checkpoint()}')
        self.log.flush()  # before the checkpoint, so that a run that is killed in between resumes with every row
        checkpoints.save(self.graph.saver, self.session, self.folder, LAST_PREFIX, step)

    def _validate(self, step: int) -> str:
        """Scores every official validation video and logs the scores of each dataset. Returns them as text."""
        epoch = (step - 1) // self._steps_per_epoch
        phase = phase_of_epoch(epoch, self.config.train_epochs)
        side = self.graph.validation[phase]
        paths = [manifest.path for manifest in side.split.manifests]
        texts = []
        answered = f'with {side.split.contents.words.contents}'
        with self._explain_full_memory(f'validation of step {step}: ', self._advise_validation):
            answers = predict(self.session, side, self.fallback, self.config, 'validation')
        names = dataset_names(paths) if len(paths) > 1 else [ONE_DATASET]
        for name, path, results in zip(names, paths, answers, strict=True):
            metrics = score_results(results, path)
            assert metrics is not None, 'load_split requires labels'
            self.log.log_validation(step, epoch + 1, phase, name, metrics)
            texts.append(f'{name} ' * (len(paths) > 1) + summary(metrics, answered))
        self.log.flush()
        return f'; validation {"; ".join(texts)}'

    def _keep_best(self, step: int) -> None:
        """Saves the checkpoint of `step` if it has the best validation so far and the run keeps the best."""
        if self.config.best_is_kept_by and self.log.best_step() == step:
            with self.stop.held():  # a signal could leave half of its files
                checkpoints.save(self.graph.saver, self.session, self.folder, BEST_PREFIX, step)

    def _stops_early(self, step: int) -> bool:
        """Returns whether validation has not improved for --early_stopping epochs.

        A phase one that phase two follows is always completed.
        """
        epochs = self.config.train_epochs
        phase_one = epochs[0] * self._steps_per_epoch if len(phases_of(epochs)) == 2 else 0
        best = self.log.best_step()
        if not self.config.early_stopping or best is None or step < phase_one:
            return False
        since = self.log.validations_after(max(best, phase_one))
        if since < self.config.early_stopping:
            return False
        print(f'early stopping: no better validation for {since} epochs; best at step {best}')
        return True

    def _train_epoch(self, epoch: _Epoch) -> tuple[int, float]:
        """Takes the steps of an epoch, until a signal stops it.

        Returns:
          The last step taken, and the mean loss of the steps.
        """
        split, pipeline, towers = self.graph.training[epoch.phase]
        tower, step = towers[epoch.phase], self.graph.steps[epoch.phase]
        assert tower.loss is not None
        done = epoch.first_step - epoch.number * pipeline.num_batches
        self.session.run(pipeline.initializer, {pipeline.epoch: epoch.number, pipeline.skip: done})
        fetches = [
            *(step.train, tower.loss.total, tower.loss.per_item, step.norm, tower.accuracy, self.graph.rate),
            *(pipeline.batch.lengths, pipeline.batch.windows),
        ]
        losses = []
        bar = progress(range(epoch.first_step + 1, epoch.last_step + 1), label=epoch.label, unit='step')
        for number in bar:
            began = time.perf_counter()
            with self._explain_full_memory(f'step {number}: ', lambda: self._advise_training(tower)):
                _, loss, per_item, norm, accuracy, rate, lengths, windows = run_named(self.session, fetches, split)
            speed = int(lengths.sum()) / (time.perf_counter() - began)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                bad = windows[~np.isfinite(per_item)]
                raise InputError(self._describe_not_finite(number, loss, norm, bad, windows))
            losses.append(float(loss))
            self.log.log_step(StepRecord(number, epoch.number + 1, epoch.phase, loss, accuracy, rate, speed, norm))
            bar.set_postfix(loss=f'{loss:.3f}', fps=f'{speed:.0f}', refresh=False)
            if self.stop.received:
                break
        bar.close()
        return number, sum(losses) / len(losses)

    def _describe_not_finite(
        self, step: int, loss: float, norm: float, bad: Sequence[int], windows: Sequence[int]
    ) -> str:
        """Names the files that a loss or gradient that is not finite came from, and the last good checkpoint."""
        split = self.graph.training[self._first_phase].split
        names = set()  # a batch may have a window twice (--sampling)
        for index in bad if len(bad) else windows:  # a gradient or a weight may come from any window of the batch
            window = split.windows[index]
            video = split.videos[window.video]
            first, last = video.lines[window.start], video.lines[window.start + window.length - 1]
            path = next(m.path for m in split.manifests if any(v is video for v in m.videos))
            names.add(f'{path}:{first}-{last} ({video.video_id})')
        what = f'the loss is {loss}' if not math.isfinite(loss) else f'the gradients have norm {norm}'
        files = ', '.join(sorted(names))
        return f'step {step}: {what} on {files}; last good checkpoint: {self._last_checkpoint()}'

    def _explain_full_memory(self, where: str, advise: Callable[[], str]) -> AbstractContextManager[None]:
        return explain_full_memory(advise, self.config.gpu_memory_gb, where)

    def _advise_training(self, tower: Tower) -> str:
        assert self.config.batch_size
        return advise_training(self.config.batch_size, tower.frames_at_once, latest_checkpoint(self.folder))

    def _advise_validation(self) -> str:
        assert self.config.batch_size
        return advise_validation(self.config.batch_size, stops_early=bool(self.config.early_stopping))

    def _last_checkpoint(self) -> str:
        return latest_checkpoint(self.folder) or 'none yet'
