"""How every session of this project is configured."""

from typing import NamedTuple

from fer.errors import InputError
from fer.tf1 import tf
from fer.training.config import TrainConfig


class SessionSettings(NamedTuple):
    """What a session can be told for the sake of speed; as it is by default, a CPU run repeats to the bit."""

    xla: bool = False  # whether what can be is compiled just in time
    mixed_precision: bool = False  # whether GPUs compute in float16 where TensorFlow's lists call it safe
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
    if settings.mixed_precision and not tf.config.list_physical_devices('GPU'):
        raise InputError('--mixed_precision: has no effect on a CPU, and no GPU is found here; expected False')


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
        rewriting.auto_mixed_precision = rewriting.ON
    return config


def open_session(settings: SessionSettings = SessionSettings()) -> tf.Session:  # noqa: B008 (immutable)
    """A session of the default graph."""
    return tf.Session(config=session_config(settings))
