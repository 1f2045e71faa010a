# SPDX-License-Identifier: Apache-2.0
"""NVIDIA cards and their driver, found without TensorFlow, and the reason why TensorFlow cannot use them."""

import ctypes
import glob
import shutil
import site
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fer.stack import STACKS, Stack

# Libraries that TensorFlow opens on a GPU. Both stacks were built for CUDA 12, each with another cuDNN.
_CUDA = ('cudart.so.12', 'cublas.so.12', 'cufft.so.11', 'cusolver.so.11', 'cusparse.so.12')
_CUDNN = {STACKS[0]: 'cudnn.so.8', STACKS[1]: 'cudnn.so.9'}
_DRIVER = Path('/proc/driver/nvidia')
_DEVICES = '/dev/nvidia[0-9]*'
_LISTING = "from fer.tf1 import tf; tf.config.list_physical_devices('GPU')"
VISIBLE = 'CUDA_VISIBLE_DEVICES'


class Cards(NamedTuple):
    """The graphics cards of this machine."""

    names: str  # in words
    has_driver: bool


class Unused(NamedTuple):
    """The reason why TensorFlow uses no GPU of a machine that has a driver."""

    reason: str
    remedy: str


def find_cards() -> Cards:
    """Returns the NVIDIA cards of this machine, and whether there is a driver."""
    if shutil.which('nvidia-smi'):
        query = ['nvidia-smi', '--query-gpu=name,memory.total,compute_cap,driver_version', '--format=csv,noheader']
        done = subprocess.run(query, capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.strip():
            return Cards('; '.join(done.stdout.strip().splitlines()), True)
    models = [_read_model(path) for path in sorted(_DRIVER.glob('gpus/*/information'))]
    has_driver = bool(models) or (_DRIVER / 'version').exists() or can_open('libcuda.so.1')
    return Cards('; '.join(models) or 'a card without nvidia-smi', has_driver)


def _read_model(path: Path) -> str:
    """Returns the name of a card from the driver's file about it."""
    try:
        lines = path.read_text(errors='replace').splitlines()
    except OSError:
        lines = []
    return next((line.partition(':')[2].strip() for line in lines if line.startswith('Model:')), 'a card')


def explain_unused(stack: Stack, *, is_cuda_build: bool, environment: Mapping[str, str]) -> Unused:
    """Returns why TensorFlow uses no GPU although there is a driver, and what to do.

    Args:
      stack: the versions that are installed.
      is_cuda_build: whether TensorFlow was built for GPUs.
      environment: the variables of the environment.
    """
    visible = environment.get(VISIBLE)
    # CUDA ignores the first entry that is not a card, and all entries after it. Slurm writes NoDevFiles if a job has no
    # card.
    if visible is not None and (not visible.strip() or visible.lstrip().startswith(('-', 'NoDevFiles'))):
        return Unused(f'{VISIBLE}={visible} hides every GPU', f'unset {VISIBLE}, or ask the scheduler for a GPU')
    if not is_cuda_build:
        return Unused('TensorFlow was built for CPUs only', 'install the package tensorflow, not tensorflow-cpu')
    if missing := [f'lib{name}' for name in (*_CUDA, _CUDNN[stack]) if not can_open(f'lib{name}')]:
        return Unused(
            f'{", ".join(missing)} cannot be opened', "pip install -e '.[gpu]', or load the CUDA module of the cluster"
        )
    if not glob.glob(_DEVICES):
        return Unused('there is no /dev/nvidia0', 'ask the scheduler for a GPU, or give the container one (--gpus=all)')
    return Unused('the reason is unknown', f'TF_CPP_MIN_LOG_LEVEL=0 python -c "{_LISTING}" shows why')


def can_open(library: str) -> bool:
    """Returns whether a shared library can be opened, from the system or from the nvidia-* wheels."""
    inside = [path for folder in site.getsitepackages() for path in glob.glob(f'{folder}/nvidia/*/lib/{library}')]
    for path in (library, *inside):
        try:
            ctypes.CDLL(path)
            return True
        except OSError:
            continue
    return False
