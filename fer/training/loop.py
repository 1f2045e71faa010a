"""The training loop of every stage: phases, epochs, steps, validation, checkpoints."""

import math
import time
from collections.abc import Sequence
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
from fer.training.log import RunLog
from fer.training.predict import predict, run_named
from fer.training.schedule import phase_of_epoch


class Loop(NamedTuple):
    """A run under way."""

    session: tf.Session
    graph: TrainGraph
    config: TrainConfig
    epochs: tuple[int, ...]  # of each phase
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
