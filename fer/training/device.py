# SPDX-License-Identifier: Apache-2.0
"""The first lines on the screen of every run: what it computes on, and how precisely."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from fer.cpus import count_cpus
from fer.gpus import explain_unused, find_cards
from fer.tf1 import STACK, tf

_TENSOR_FLOAT_32 = (8, 0)  # the first compute capability with TensorFloat-32


class Gpu(NamedTuple):
    """A GPU that TensorFlow finds."""

    name: str
    capability: tuple[int, int]  # compute capability, (0, 0) if unknown


def list_gpus() -> list[Gpu]:
    """Returns the GPUs that TensorFlow finds, in the order of --gpu."""
    found = []
    for device in tf.config.list_physical_devices('GPU'):
        details = tf.config.experimental.get_device_details(device)
        found.append(Gpu(details.get('device_name', 'unknown'), details.get('compute_capability', (0, 0))))
    return found


def describe_device(gpus: Sequence[Gpu], index: int, memory: int, threads: int, unused: str) -> str:
    """Returns the line about the device of a session.

    Args:
      gpus: that TensorFlow finds.
      index: of the GPU that the session uses.
      memory: bytes of the GPU that the session may use, 0 if it uses no GPU.
      threads: of one operation on the CPU.
      unused: why TensorFlow uses no GPU although there is a driver, empty otherwise.
    """
    if not memory:
        return f'device: CPU, {threads} {"thread" if threads == 1 else "threads"}{f". {unused}" if unused else ""}'
    others = f'; 1 of {len(gpus)} GPUs, the others stay free' if len(gpus) > 1 else ''
    return f'device: GPU {index}, {gpus[index].name}, {memory / 10**9:.1f} GB of memory{others}'


def describe_precision(gpu: Gpu | None, *, is_mixed: bool, has_tensor_float: bool) -> str:
    """Returns the line about the precision of a session.

    Args:
      gpu: that the session uses, None for the CPU.
      is_mixed: whether --mixed_precision is on.
      has_tensor_float: whether TensorFlow may use TensorFloat-32, which newer GPUs have.
    """
    if is_mixed:
        return f'precision: {"float16" if gpu else "bfloat16"} mixed with float32 (--mixed_precision)'
    rounded = gpu and has_tensor_float and gpu.capability >= _TENSOR_FLOAT_32
    return f'precision: float32{", products in TensorFloat-32" if rounded else ""}'


def describe_session(session: tf.Session, gpu: int, threads: int, *, is_mixed: bool) -> list[str]:
    """Returns the lines about the device and the precision of a session.

    Args:
      session: any of the process. Its devices are those of all others.
      gpu: index of the GPU that it may use.
      threads: of one operation, 0 for one per core.
      is_mixed: whether --mixed_precision is on.
    """
    memory = sum(device.memory_limit_bytes for device in session.list_devices() if device.device_type == 'GPU')
    gpus = list_gpus()
    unused = '' if memory else _explain_cpu()
    has_tensor_float = tf.config.experimental.tensor_float_32_execution_enabled()
    return [
        describe_device(gpus, gpu, memory, threads or count_cpus(), unused),
        describe_precision(gpus[gpu] if memory else None, is_mixed=is_mixed, has_tensor_float=has_tensor_float),
    ]


def _explain_cpu() -> str:
    """Returns why the CPU is used on a machine with a GPU driver, and what to do. Empty without a driver."""
    cards = find_cards()
    if not cards.has_driver:
        return ''
    is_cuda_build = bool(tf.sysconfig.get_build_info().get('is_cuda_build'))
    unused = explain_unused(STACK, is_cuda_build=is_cuda_build, environment=os.environ)
    return f'TensorFlow cannot use the GPU here ({cards.names}), because {unused.reason}: {unused.remedy}'
