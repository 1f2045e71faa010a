# SPDX-License-Identifier: Apache-2.0
"""TensorBoard's event files."""

import os
import socket
import time
from pathlib import Path

from fer.tf1 import tf
from fer.training.disk_errors import tensorflow_writes

_VERSION = 'brain.Event:2'  # of the first record of a file


class EventFile:
    """A new event file in a folder.

    TensorFlow's FileWriter writes in its own thread, where a full disk prints a traceback. This class raises an OSError
    in the caller instead. TensorBoard stops reading a file at a record that is cut short. A session that resumes the
    run starts another file.
    """

    def __init__(self, folder: Path):
        now = time.time()
        # TensorBoard reads files in the order of their names. Host and process tell apart sessions that start together.
        self._path = folder / f'events.out.tfevents.{now:.6f}.{socket.gethostname()}.{os.getpid()}'
        with tensorflow_writes(self._path):
            self._records = tf.io.TFRecordWriter(str(self._path))
        self._write(tf.Event(wall_time=now, file_version=_VERSION))

    def add_summary(self, summary: tf.Summary, step: int = 0) -> None:
        self._write(tf.Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: tf.Event) -> None:
        with tensorflow_writes(self._path):
            self._records.write(event.SerializeToString())

    def flush(self) -> None:
        with tensorflow_writes(self._path):
            self._records.flush()

    def close(self) -> None:
        with tensorflow_writes(self._path):
            self._records.close()
