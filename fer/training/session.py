"""How every session of this project is configured."""

import os
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.runs.config import TrainConfig
from fer.tf1 import tf

_CPU_INFO = Path('/proc/cpuinfo')
_BFLOAT16 = ('amx_bf16', 'avx512_bf16')  # what CPUs that multiply bfloat16 call it there


class SessionSettings(NamedTuple):
    """What a session can be told for the sake of speed; as it is by default, a CPU run repeats to the bit."""

    xla: bool = False  # whether what can be is compiled just in time
    # Whether what TensorFlow's lists call safe is computed in 16 bits: float16 on GPUs, bfloat16 on CPUs without one.
    mixed_precision: bool = False
    intra_op_threads: int = 0  # of one operation; 0 is one per core
    inter_op_threads: int = 0  # operations at a time; 0 is one per core


def session_settings(config: TrainConfig) -> SessionSettings:
    """Those of a run."""
    return SessionSettings(**{name: getattr(config, name) for name in SessionSettings._fields})


def check_session(settings: SessionSettings) -> None:
    """Raises InputError for settings that this machine cannot follow, or would follow to no effect."""
    for name in ('intra_op_threads', 'inter_op_threads'):
        if not 0 <= getattr(settings, name) <= 4096:
            raise InputError(f'--{name}={getattr(settings, name)}: expected 0 (one per core) to 4096 threads')
    if settings.mixed_precision and not has_gpu() and not (has_onednn() and _multiplies_bfloat16()):
        raise InputError(
            f'--mixed_precision: no GPU is found here, and none of {", ".join(_BFLOAT16)} in {_CPU_INFO}, or oneDNN is '
            'turned off; expected False'
        )


def session_config(settings: SessionSettings) -> tf.ConfigProto:
    """Takes GPU memory as it needs it rather than all at once."""
    config = tf.ConfigProto(
        gpu_options=tf.GPUOptions(allow_growth=True),
        intra_op_parallelism_threads=settings.intra_op_threads,
        inter_op_parallelism_threads=settings.inter_op_threads,
    )
    if settings.xla:
        options = config.graph_options.optimizer_options
        options.global_jit_level = tf.OptimizerOptions.ON_1
        options.cpu_global_jit = True  # the level alone is for GPUs
    if settings.mixed_precision:
        rewriting = config.graph_options.rewrite_options
        if has_gpu():
            rewriting.auto_mixed_precision = rewriting.ON  # float16
        else:
            rewriting.auto_mixed_precision_onednn_bfloat16 = rewriting.ON
    return config


def has_gpu() -> bool:
    """Whether TensorFlow finds a GPU."""
    return bool(tf.config.list_physical_devices('GPU'))


def has_onednn() -> bool:
    """Whether TensorFlow computes with oneDNN on a CPU."""
    return os.environ['TF_ENABLE_ONEDNN_OPTS'].lower() not in ('0', 'false')  # fer/tf1.py sets it


def _multiplies_bfloat16() -> bool:
    """Whether the CPU does so itself: emulated, it is slower than float32."""
    try:
        words = set(_CPU_INFO.read_text().split())
    except OSError:
        return False
    return not words.isdisjoint(_BFLOAT16)


def open_session(settings: SessionSettings = SessionSettings()) -> tf.Session:  # noqa: B008 (immutable)
    """A session of the default graph."""
    return tf.Session(config=session_config(settings))


def settle_process(settings: SessionSettings) -> None:
    """Makes the process's first session the run's: that one decides the threads and the GPU memory of all others.

    Else it would be one that decodes images before the run (--on_bad_frame=skip, --frame_cache), with the defaults.
    """
    with tf.Graph().as_default(), open_session(settings):
        pass
