# SPDX-License-Identifier: Apache-2.0
"""Errors of a full disk during training: one line that names the file and where the run resumes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer.errors import InputError
from fer.files import REMEDIES, describe, error_in
from fer.runs.checkpoints import latest_checkpoint
from fer.tf1 import tf


@contextmanager
def tensorflow_writes(path: Path) -> Iterator[None]:
    """Turns TensorFlow's error for a failed write into the OSError that Python would raise, with the file's name.

    TensorFlow raises one exception for a full disk and another for a file that grows too large. Neither has an error
    number, but the message of each has the system's words for it.
    """
    try:
        yield
    except tf.errors.OpError as error:
        found = error_in(error.message, path)
        if found is None:
            raise
        raise found from None


@contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Adds to the error of a full disk what to do, and from which step the run in `folder` then resumes.

    Raises:
      InputError: a full disk, with that line.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        checkpoint = latest_checkpoint(folder)
        where = f'resumes from step {checkpoint.rpartition("-")[2]}' if checkpoint else 'starts the run again'
        raise InputError(f'{describe(error)}; {REMEDIES[error.errno]}, then --resume {where}') from None
