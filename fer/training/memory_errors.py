# SPDX-License-Identifier: Apache-2.0
"""Errors of full memory, on a GPU or the CPU: one line that names what to lower."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fer.errors import InputError
from fer.files import REMEDIES, error_in
from fer.tf1 import tf

# The words of TensorFlow, cuBLAS, cuDNN and the driver for a GPU without memory. Some of these errors have other types.
_FULL = re.compile(r'OUT_OF_MEMORY|ALLOC_FAILED|out of memory|Dst tensor is not initialized|OOM when allocating', re.I)
_GPU = re.compile(r'device:GPU|GPU_\d+|CUDA|CUBLAS|CUDNN|Dst tensor', re.I)
_SHAPE = re.compile(r'shape(\[[\d,]+\])')


@contextmanager
def explain_full_memory(advise: Callable[[], str], gpu_memory_gb: float = 0.0, where: str = '') -> Iterator[None]:
    """Turns TensorFlow's error for full memory into one line.

    Args:
      advise: returns what to do, the end of the line. It is called only if memory is full.
      gpu_memory_gb: the limit that the user has set, 0 without one.
      where: beginning of the line, empty or such as `step 12: `.

    Raises:
      InputError: memory is full, with that line.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if not is_full_memory(error):
            raise
        limit = f' (--gpu_memory_gb={gpu_memory_gb:g})' if gpu_memory_gb else ''
        raise InputError(f'{where}{describe_full_memory(error)}{limit}; {advise()}') from None


def is_full_memory(error: tf.errors.OpError) -> bool:
    """Returns whether an error is about memory. TensorFlow raises one type for full memory and for a full disk."""
    found = error_in(error.message, '')
    if found is not None and found.errno in REMEDIES:
        return False
    return isinstance(error, tf.errors.ResourceExhaustedError) or bool(_FULL.search(error.message))


def describe_full_memory(error: tf.errors.OpError) -> str:
    """Returns text such as `no memory is left on the GPU for a tensor of shape [320,64,112,112]`."""
    shape = _SHAPE.search(error.message)
    device = 'on the GPU' if _GPU.search(error.message) else 'on this machine'
    return f'no memory is left {device}{f" for a tensor of shape {shape[1]}" if shape else ""}'


def advise_training(batch_size: int, frames: int, checkpoint: str | None) -> str:
    """Returns what to do if a training step does not fit.

    Args:
      batch_size: windows of a step.
      frames: most frames that pass the CNN at once, 0 if the step does not train the CNN.
      checkpoint: the last one of the run, None without one.
    """
    if frames > 1:
        resumes = f'resumes from step {checkpoint.rpartition("-")[2]}' if checkpoint else 'starts the run again'
        return f'--resume with --frames_per_chunk={frames // 2} (now {frames}) {resumes}'
    if batch_size == 1:
        return 'use a device with more memory, and --resume'
    return f'--resume on a device with more memory, or start another run with {_half(batch_size)}'


def advise_validation(batch_size: int, *, stops_early: bool) -> str:
    """Returns what to do if validation does not fit.

    Args:
      batch_size: windows of a step.
      stops_early: whether the run needs validation for --early_stopping.
    """
    if stops_early:
        return f'--resume on a device with more memory, or start another run with {_half(batch_size)}'
    continues = '--resume --val_manifest= continues without validation'
    return f'{continues}, and evaluate.py with {_half(batch_size)} scores the run'


def advise_evaluation(batch_size: int) -> str:
    """Returns which batch to try for an evaluation or extraction, which it changes by rounding only."""
    return f'try {_half(batch_size)}' if batch_size > 1 else 'use a device with more memory'


def _half(batch_size: int) -> str:
    return f'--batch_size={max(1, batch_size // 2)} (now {batch_size})'
