# SPDX-License-Identifier: Apache-2.0
"""The configuration of every TensorFlow session."""

import os
from typing import NamedTuple

from fer.cpus import BFLOAT16, CPU_INFO, multiplies_bfloat16
from fer.errors import InputError
from fer.runs.config import TrainConfig
from fer.tf1 import tf
from fer.training.device import describe_session, list_gpus


class SessionSettings(NamedTuple):
    """Settings of a session that change its speed. With the defaults, a CPU run repeats to the bit."""

    xla: bool = False  # whether XLA compiles the operations that it can
    # Whether operations that TensorFlow lists as safe use 16 bits: float16 on a GPU, bfloat16 on a CPU without one.
    mixed_precision: bool = False
    intra_op_threads: int = 0  # threads of one operation, 0 for one per core
    inter_op_threads: int = 0  # operations at a time, 0 for one per core
    gpu: int = -1  # index of the GPU to use, -1 for the first
    gpu_memory_gb: float = 0.0  # most memory to take on the GPU, 0 for no limit


def session_settings(config: TrainConfig) -> SessionSettings:
    """Returns the session's settings, a subset of a run's settings."""
    return SessionSettings(**{name: getattr(config, name) for name in SessionSettings._fields})


def check_session(settings: SessionSettings) -> None:
    """Raises InputError for settings that this machine does not support, or that would have no effect on it."""
    if settings.mixed_precision and not has_gpu() and not (has_onednn() and multiplies_bfloat16()):
        raise InputError(
            f'--mixed_precision: found no GPU, and the CPU has none of {", ".join(BFLOAT16)} in {CPU_INFO}, or '
            'oneDNN is off; use --nomixed_precision'
        )
    if settings.gpu >= 0 or settings.gpu_memory_gb:
        _check_gpu(settings)


def _check_gpu(settings: SessionSettings) -> None:
    """Raises InputError for a GPU that TensorFlow does not find."""
    gpus = list_gpus()
    if not gpus:
        flag = f'--gpu={settings.gpu}' if settings.gpu >= 0 else f'--gpu_memory_gb={settings.gpu_memory_gb:g}'
        raise InputError(f'{flag}: TensorFlow finds no GPU; remove the flag. python -m fer.doctor may name the reason')
    if settings.gpu >= len(gpus):
        names = ', '.join(f'{index} ({gpu.name})' for index, gpu in enumerate(gpus))
        raise InputError(f'--gpu={settings.gpu}: no such GPU; expected one of {names}')


def session_config(settings: SessionSettings) -> tf.ConfigProto:
    """Returns TensorFlow's configuration of a session, which takes GPU memory as it needs it, not all at once.

    The session has at most one GPU, because a network runs on one. The others stay free for other jobs.
    """
    config = tf.ConfigProto(
        gpu_options=tf.GPUOptions(allow_growth=True),
        intra_op_parallelism_threads=settings.intra_op_threads,
        inter_op_parallelism_threads=settings.inter_op_threads,
    )
    if has_gpu():
        config.gpu_options.visible_device_list = str(_gpu_index(settings))
        if settings.gpu_memory_gb:
            limit = max(1, int(settings.gpu_memory_gb * 10**9 / 2**20))
            config.gpu_options.experimental.virtual_devices.add(memory_limit_mb=[limit])
    if settings.xla:
        options = config.graph_options.optimizer_options
        options.global_jit_level = tf.OptimizerOptions.ON_1
        options.cpu_global_jit = True  # the level alone acts on GPUs only
    if settings.mixed_precision:
        rewriting = config.graph_options.rewrite_options
        if has_gpu():
            rewriting.auto_mixed_precision = rewriting.ON  # float16
        else:
            rewriting.auto_mixed_precision_onednn_bfloat16 = rewriting.ON
    return config


def _gpu_index(settings: SessionSettings) -> int:
    """Returns the index of the GPU that a session uses, if there is one."""
    return max(0, settings.gpu)


def has_gpu() -> bool:
    """Returns whether TensorFlow finds a GPU."""
    return bool(tf.config.list_physical_devices('GPU'))


def has_onednn() -> bool:
    """Returns whether TensorFlow uses oneDNN on a CPU."""
    return os.environ['TF_ENABLE_ONEDNN_OPTS'].lower() not in ('0', 'false')  # fer/tf1.py sets it


def open_session(settings: SessionSettings = SessionSettings()) -> tf.Session:  # noqa: B008 (immutable)
    """Opens a session of the default graph."""
    return tf.Session(config=session_config(settings))


def open_first_session(settings: SessionSettings) -> list[str]:
    """Opens and closes a session with the run's settings, before any other session of the process.

    TensorFlow fixes threads and GPU memory with the first session. Otherwise that would be one with default settings,
    which decodes images before the run (--on_bad_frame=skip, --frame_cache).

    Returns:
      Lines for the screen, about the device and the precision.

    Raises:
      InputError: the GPU cannot be used, usually because other jobs have taken its memory.
    """
    try:
        with tf.Graph().as_default(), open_session(settings) as session:
            gpu, threads = _gpu_index(settings), settings.intra_op_threads
            return describe_session(session, gpu, threads, is_mixed=settings.mixed_precision)
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0]
        raise InputError(
            f'--gpu={_gpu_index(settings)}: {reason}; another job may have taken its memory, so choose another GPU'
        ) from None
