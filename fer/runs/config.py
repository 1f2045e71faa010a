"""The settings of a run, and the flagfile that replays it."""

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path

from fer.errors import InputError
from fer.files import atomic_write


@dataclass(frozen=True)
class TrainConfig:
    """Every flag of train.py but --resume and --overwrite, under the same name; train.py says what each means."""

    model: str
    stage: str
    # data
    train_manifest: str  # several, separated by commas, are trained on together
    val_manifest: str  # several are each scored
    data_root: str
    min_frames: int
    seq_len: int
    image_size: int
    audio_scaling: str
    nonfinite_audio: str
    # network
    width: float
    global_pool: bool
    se_vgg: bool
    dropout: float
    batch_norm_mode: str
    rnn_cell: str
    rnn_layers: int
    rnn_units: int
    bidirectional: bool
    attention: bool
    rnn_dropout: float
    hidden_units: str
    batch_norm: bool
    fusion_option: int
    # objective
    classify: str
    aggregate: str
    loss: str
    focal_gamma: float
    class_weights: str
    island_weight: float
    island_pair_weight: float
    locality_weight: float
    locality_neighbours: int
    l2: float
    # augmentation
    augment: str
    audio_noise: float
    audio_time_mask: float
    # optimisation
    batch_size: int
    train_epochs: str
    max_steps: int
    learning_rate: float
    lr_schedule: str
    decay_rate: float
    decay_steps: int
    clip_norm: float
    early_stopping: int
    # start
    init_from: str
    audio_run_dir: str
    reinit_fc: bool
    input_convention: str
    allow_missing: bool
    seed: int
    run_dir: str
    # Bad frames, input and speed. Runs older than these settings did as their defaults say, and can still be read.
    on_bad_frame: str = 'error'
    max_bad_fraction: float = 0.01
    bucket_by_length: bool = False
    frame_cache: str = ''
    frame_cache_gb: float = 50.0
    xla: bool = False
    mixed_precision: bool = False
    feature_cache: str = ''
    feature_cache_gb: float = 20.0
    frames_per_chunk: int = 0
    intra_op_threads: int = 0
    inter_op_threads: int = 0


def write_flagfile(path: str | Path, config: TrainConfig) -> None:
    """Writes every setting, defaults included: `python train.py --flagfile=PATH --run_dir=NEW` replays the run."""
    with atomic_write(path) as file:
        for field in dataclasses.fields(config):
            file.write(f'--{field.name}={getattr(config, field.name)}\n')


_PARSERS = {bool: {'True': True, 'False': False}.__getitem__}  # every other type reads itself


def read_flagfile(path: str | Path) -> TrainConfig:
    """The settings that `write_flagfile` wrote.

    Raises:
      InputError: the file is missing, or lacks a setting, or has one that is not of its type.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').split('\n')
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'not UTF-8 text'
        raise InputError(f'{path}: {reason}; expected the flags of a run') from None
    values = dict(line.removeprefix('--').partition('=')[::2] for line in lines if line.startswith('--'))
    types = typing.get_type_hints(TrainConfig)
    settings = {}
    for field in dataclasses.fields(TrainConfig):
        if field.name not in values and field.default is not dataclasses.MISSING:
            continue
        if field.name not in values:
            raise InputError(f'{path}: no --{field.name}; expected every flag of the run')
        try:
            settings[field.name] = _PARSERS.get(types[field.name], types[field.name])(values[field.name])
        except (ValueError, KeyError):
            expected = types[field.name].__name__
            raise InputError(f'{path}: --{field.name}={values[field.name]}: expected {expected}') from None
    return TrainConfig(**settings)


def differing(ours: TrainConfig, theirs: TrainConfig, ignore: tuple[str, ...]) -> list[str]:
    """`--name=ours (theirs)` for each setting, other than those ignored, that the two do not share."""
    return [
        f'--{field.name}={getattr(ours, field.name)} ({getattr(theirs, field.name)})'
        for field in dataclasses.fields(TrainConfig)
        if field.name not in ignore and getattr(ours, field.name) != getattr(theirs, field.name)
    ]
