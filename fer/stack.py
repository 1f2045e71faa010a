# SPDX-License-Identifier: Apache-2.0
"""The two sets of versions that this project is tested with, and an error for any other. Standard library only.

`setup.py` installs one of them by the version of Python, and `fer/tf1.py` refuses any other.
"""

import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from fer.errors import InputError

UNTESTED = 'FER_UNTESTED_VERSIONS'  # if it is 1, other versions are tried


class Stack(NamedTuple):
    """One set of versions."""

    pythons: str  # in words
    tensorflow: str  # the release that the tests ran with, others of its minor version are allowed
    numpy: int  # its major version
    has_addons: bool  # tensorflow-addons cannot be imported beside TensorFlow 2.16 and later


STACKS = (
    Stack('CPython 3.10 and 3.11', '2.15.1', 1, True),
    Stack('CPython 3.12 and 3.13', '2.21.0', 2, False),
)
# Wheels that contain the module `tensorflow`.
_TENSORFLOW = ('tensorflow', 'tensorflow-cpu', 'tensorflow-gpu', 'tensorflow-macos', 'tensorflow-intel', 'tf-nightly')


def find_stack() -> Stack:
    """Returns the stack whose versions are installed, without importing TensorFlow or NumPy.

    With FER_UNTESTED_VERSIONS=1, versions that belong to no stack count as the nearest one.

    Raises:
      InputError: TensorFlow, tf-keras or NumPy is missing, or has a version that belongs to no stack.
    """
    tensorflow = next((found for name in _TENSORFLOW if (found := version(name))), None)
    if tensorflow is None:
        raise InputError('TensorFlow is not installed here; run make venv, or pip install -e . in the checkout')
    minor = _minor(tensorflow)
    nearest = STACKS[minor > _minor(STACKS[0].tensorflow)]
    if os.environ.get(UNTESTED) == '1':
        return nearest
    if minor != _minor(nearest.tensorflow):
        tested = ', '.join(f'{stack.tensorflow} ({stack.pythons})' for stack in STACKS)
        raise InputError(
            f'TensorFlow {tensorflow} is installed; tested are {tested}; run make venv, or set {UNTESTED}=1 to try it'
        )
    numpy, keras = version('numpy') or 'none', version('tf-keras') or 'none'
    if not numpy.startswith(f'{nearest.numpy}.'):
        raise InputError(
            f'NumPy {numpy} is installed beside TensorFlow {tensorflow}, which is tested with NumPy {nearest.numpy}; '
            f"run make venv, or pip install 'numpy=={nearest.numpy}.*'"
        )
    if keras == 'none' or _minor(keras) != minor:
        raise InputError(
            f'tf-keras {keras} is installed beside TensorFlow {tensorflow}; run make venv, or pip install '
            f"'tf-keras=={minor[0]}.{minor[1]}.*'"
        )
    return nearest


@contextmanager
def quiet_import() -> Iterator[None]:
    """Keeps the log of TensorFlow's C++ code off the screen during its import, unless TF_CPP_MIN_LOG_LEVEL is below 3.

    TensorFlow 2.21 writes this log before it reads TF_CPP_MIN_LOG_LEVEL. The log is shown if the import raises.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # 2 is not enough: 2.15 reports missing CUDA libraries as errors
    if os.environ['TF_CPP_MIN_LOG_LEVEL'] != '3':
        yield
        return
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(screen, log.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)


def version(package: str) -> str | None:
    """Returns the version of an installed package, None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _minor(text: str) -> tuple[int, int]:
    """Returns (2, 15) for 2.15.1."""
    major, minor = text.split('.')[:2]
    return int(major), int(minor)
