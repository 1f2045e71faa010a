# SPDX-License-Identifier: Apache-2.0
"""Training graphs and pipelines on synthetic videos, as train.py builds them, for benchmarks to run.

Importing this module gives a benchmark the flags of train.py: --width, --seq_len, --batch_size and so on.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np
from absl import flags

from fer.flags import define_flags, read_flags
from fer.runs.config import TrainConfig
from tests.benchmarks.faces_on_disk import afew_lengths, write_videos

define_flags(TrainConfig)


def synthetic_manifest(videos: int, size: int) -> Path:
    """Makes AFEW-like videos of JPEGs of `size` pixels below --folder. Returns their manifest."""
    folder = Path(flags.FLAGS.folder) / f'videos_{videos}_{size}px'
    return write_videos(folder, afew_lengths(videos), size, kilobytes={112: 6, 224: 32}.get(size, 6))


class Training:
    """One phase of training of --model, from fresh weights."""

    def __init__(self, manifest: Path, phase: int = 2, *, drop_last: bool = True, **changes):
        """Builds the graph.

        Args:
          manifest: of the training split.
          phase: 1 or 2, the phase of the steps.
          drop_last: whether epochs have whole batches only, PyTorch's name for it. The last batch of train.py may be
            smaller.
          changes: settings that differ from the flags.
        """
        from fer.nets import get_network
        from fer.tf1 import tf
        from fer.training.graph import build_graph
        from fer.training.run_inputs import cache_frames, load_data
        from fer.training.session import open_session, session_settings
        from fer.training.stages import Blueprint, get_stage

        config = dataclasses.replace(read_flags(TrainConfig), **changes)
        network, stage = get_network(config.model), get_stage(config.stage, config.model)
        config = dataclasses.replace(
            config,
            train_manifest=(str(manifest),),
            val_manifest=(),
            train_epochs=(1,),
            global_pool=network.global_pool[0] if config.global_pool is None else config.global_pool,
            batch_size=config.batch_size or stage.batch_size,
        )
        self.config = config
        blueprint = Blueprint(config, stage, network.convention)
        self.split = cache_frames(config, load_data(blueprint, config.train_manifest, '', labelled=True))
        with tf.Graph().as_default():
            epochs = (1, 1) if phase == 1 else (1,)
            graph = build_graph(blueprint, self.split, None, epochs)
            self.parameters = sum(v.shape.num_elements() for v in tf.trainable_variables())
            self.session = open_session(session_settings(config))
            self.session.run(tf.global_variables_initializer())
        side = graph.training[phase]
        self.cache, self.pipeline = graph.cache, side.pipeline
        self._step = graph.steps[phase].train, side.towers[phase].loss.total
        whole = len(self.split.windows) // config.batch_size
        self.steps_per_epoch = whole if drop_last else self.pipeline.num_batches
        self._epoch, self._left = -1, 0

    def step(self, fed: dict | None = None) -> tuple[int, float]:
        """Takes one step, on the next batch or on a batch that is fed.

        Returns:
          The real frames of the batch, and the seconds of the step.
        """
        batch = self.pipeline.batch
        if fed is None:
            self._start_epoch()
            self._left -= 1
        began = time.perf_counter()
        lengths, *_ = self.session.run([batch.lengths, *self._step], fed)
        return int(lengths.sum()), time.perf_counter() - began

    def read(self) -> dict:
        """Returns the next batch, to be fed."""
        batch = self.pipeline.batch
        self._start_epoch()
        self._left -= 1
        parts = [part for part in batch if part is not None]
        return dict(zip(parts, self.session.run(parts), strict=True))

    def _start_epoch(self) -> None:
        if not self._left:
            self._epoch += 1
            self._left = self.steps_per_epoch
            self.session.run(self.pipeline.initializer, {self.pipeline.epoch: self._epoch, self.pipeline.skip: 0})


class Reader:
    """A pipeline of a split, read epoch by epoch."""

    def __init__(self, split, size: int, batch: int):
        from fer.data.pipeline import Reading, build_pipeline
        from fer.tf1 import tf

        with tf.Graph().as_default():
            self._pipeline = build_pipeline(split, batch, Reading(size, 0), shuffle_seed=0)
            self._session = tf.Session()
        self._frames = sum(window.length for window in split.windows)
        self._epochs = 0

    def epoch(self) -> float:
        """Reads an epoch. Returns its images/s."""
        pipeline = self._pipeline
        began = time.perf_counter()
        self._session.run(pipeline.initializer, {pipeline.epoch: self._epochs, pipeline.skip: 0})
        for _ in range(pipeline.num_batches):
            self._session.run(pipeline.batch.images.op)
        self._epochs += 1
        return self._frames / (time.perf_counter() - began)


def windows_per_second(training: Training, steps: int) -> float:
    """Takes steps, with their input. Returns their windows/s."""
    seconds = [training.step()[1] for _ in range(steps)]
    return steps * training.config.batch_size / float(np.sum(seconds))
