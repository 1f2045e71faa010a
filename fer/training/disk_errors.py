"""What training does when the disk takes no more: one line that says which file, and where the run goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer.errors import InputError
from fer.files import REMEDIES, describe, error_in
from fer.runs.checkpoints import latest_checkpoint
from fer.tf1 import tf


@contextmanager
def tensorflow_writes(path: Path) -> Iterator[None]:
    """Makes what TensorFlow raises when it cannot write the OSError that Python would raise, with the file's name.

    TensorFlow has an exception for a full disk, another for a file that grows too large, and no number in either: the
    system's words for it are what they have in common.
    """
    try:
        yield
    except tf.errors.OpError as error:
        found = error_in(error.message, path)
        if found is None:
            raise
        raise found from None


@contextmanager
def goes_on(folder: Path) -> Iterator[None]:
    """Says, of a disk that takes no more, what is to be done and from where the run in `folder` then goes on.

    Raises:
      InputError: with that line.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        checkpoint = latest_checkpoint(folder)
        where = f'goes on from step {checkpoint.rpartition("-")[2]}' if checkpoint else 'begins the run anew'
        raise InputError(f'{describe(error)}; {REMEDIES[error.errno]}, then --resume {where}') from None
