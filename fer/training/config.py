"""The settings of a run, and the flagfile that replays it."""

import dataclasses
import math
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
    train_manifest: str
    val_manifest: str
    data_root: str
    min_frames: int
    seq_len: int
    image_size: int
    width: float
    global_pool: bool
    se_vgg: bool
    dropout: float
    classify: str
    aggregate: str
    batch_size: int
    train_epochs: str
    max_steps: int
    learning_rate: float
    lr_schedule: str
    decay_rate: float
    decay_steps: int
    init_from: str
    input_convention: str
    allow_missing: bool
    seed: int
    run_dir: str


def check_config(config: TrainConfig) -> None:
    """Raises InputError for a setting out of its range, before anything else is read or written."""
    limits = [
        ('seq_len', 1 <= config.seq_len <= 100_000, '1 to 100000 frames'),
        ('batch_size', config.batch_size >= 1, 'at least 1 window'),
        ('width', 0 < config.width <= 16, 'a factor above 0, at most 16'),
        ('dropout', 0 <= config.dropout < 1, 'a rate in [0, 1)'),
        ('min_frames', config.min_frames >= 1, 'at least 1 frame'),
        ('seed', 0 <= config.seed < 2**31, 'a whole number from 0 to 2147483647'),
        ('max_steps', config.max_steps >= 0, '0 (no limit) or more steps'),
        ('learning_rate', 0 < config.learning_rate < math.inf, 'a number above 0'),
        ('decay_rate', 0 < config.decay_rate <= 1, 'a factor in (0, 1]'),
        ('decay_steps', config.decay_steps >= 1, 'at least 1 step'),
        ('train_manifest', bool(config.train_manifest), 'the path of a manifest'),
    ]
    for name, holds, expected in limits:
        if not holds:
            raise InputError(f'--{name}={getattr(config, name)}: expected {expected}')


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
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'not UTF-8 text'
        raise InputError(f'{path}: {reason}; expected the flags of a run') from None
    values = dict(line.removeprefix('--').partition('=')[::2] for line in lines if line.startswith('--'))
    types = typing.get_type_hints(TrainConfig)
    settings = {}
    for field in dataclasses.fields(TrainConfig):
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
