# SPDX-License-Identifier: Apache-2.0
"""The inputs of a run: what its network is built and restored from, and its data. Nothing here writes to its folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.data.audio import Scaling, check_names, fit_scaling, read_scaling, scale_features
from fer.data.bad_frames import Skip, read_bad_frames
from fer.data.file_checks import BadFrame
from fer.data.frame_cache import open_frame_cache
from fer.data.split import Split, load_split
from fer.errors import InputError
from fer.nets import get_network
from fer.nets.early_fusion import OPTIONS
from fer.nets.weights.files import open_tensors
from fer.nets.weights.identify import OpenedWeights, open_part
from fer.nets.weights.starter import find_starter, read_card
from fer.results.videos import class_counts, read_class_counts
from fer.runs.config import TrainConfig, read_flagfile
from fer.runs.names import BAD_FRAMES_FILE, FLAGS_FILE, SCALING_FILE
from fer.settings import format_values
from fer.training.restore import Origin, open_init_weights, source_convention
from fer.training.run_folder import check_class_order, read_blueprint
from fer.training.stages import (
    AUDIO_GRU,
    TEMPORAL,
    Blueprint,
    NetworkPart,
    get_stage,
    network_flags,
    stages_of,
    window_length,
)


class RunInputs(NamedTuple):
    """Everything that a run is made from."""

    blueprint: Blueprint
    origins: list[Origin]  # of each part of the network, none for a resumed run
    train_split: Split  # with scaled audio, and with decoded frames if there is a --frame_cache
    val_split: Split | None  # the same, None without --val_manifest
    class_counts: np.ndarray  # int [7], training videos of each class

    @property
    def splits(self) -> list[Split]:
        return [self.train_split, self.val_split] if self.val_split else [self.train_split]


def read_inputs(config: TrainConfig, *, resumed: bool) -> RunInputs:
    """Reads and checks the inputs of a run, and fills --frame_cache.

    Args:
      config: of the run.
      resumed: whether the run resumes from a checkpoint in its folder.

    Raises:
      InputError: weights, parent runs or data are missing, damaged or do not fit the settings.
    """
    origins: list[Origin] = []
    counts_before = None
    if resumed:
        blueprint = read_blueprint(config.run_dir)._replace(config=config)
        counts_before = read_class_counts(config.run_dir)
    else:
        blueprint, origins = open_origins(config)
    skip_again = resumed and config.on_bad_frame == 'skip'
    train_split = _load_flag(blueprint, 'train', skip_again=skip_again)
    val_split = _load_flag(blueprint, 'val', skip_again=skip_again) if config.val_manifest else None
    _check_windows(config, train_split)
    counts = class_counts(train_split.ledger)
    if counts_before is not None:
        _check_counts(blueprint, counts, counts_before)
    blueprint = fit_audio_scaling(blueprint, train_split)
    train_split = cache_frames(config, apply_audio_scaling(blueprint, train_split))
    if val_split:
        val_split = cache_frames(config, apply_audio_scaling(blueprint, val_split))
    return RunInputs(blueprint, origins, train_split, val_split, counts)


def open_origins(config: TrainConfig) -> tuple[Blueprint, list[Origin]]:
    """Opens the weights that a new run starts from.

    Returns:
      What the graph is built from. It has a scaling of the audio only if a parent run has one.
      The origin of each part of the network.

    Raises:
      InputError: weights or runs are missing, belong to another network, or have their classes in another order.
    """
    stage = get_stage(config.stage, config.model)
    weights = convention = scaling = audio_run = visual_run = None
    if config.init_from:
        weights = _open_init(config, stage.contents.images)
    if stage.contents.images:
        convention = source_convention(get_network(config.model), weights, config.input_convention, config.vgg_pooling)
    if config.audio_run_dir:
        audio_run = _read_audio_run(config.audio_run_dir)
    if stage.contents.audio_size:
        scaling = _restored_scaling(config, weights)
    has_visual_rnn = config.stage == 'early_fusion' and OPTIONS[config.fusion_option].visual_rnn
    if has_visual_rnn and weights and weights.source.own and open_part(weights.tensors, TEMPORAL):
        run = read_blueprint(Path(weights.path).parent)
        visual_run = run.visual_run or run.config  # in a run of early fusion, the GRU is new or from another run
    blueprint = Blueprint(config, stage, convention, scaling, audio_run, visual_run)
    return blueprint, [_part_origin(part, config, weights) for part in stage.parts(blueprint)]


def _open_init(config: TrainConfig, images: bool) -> OpenedWeights:
    """Opens the weights of --init_from: any weights of a CNN, but only a run of an audio network."""
    if starter := find_starter(config.init_from):
        _check_starter(config, starter)
    if images:
        weights = open_init_weights(config.model, config.init_from)
    else:
        part = open_part(open_tensors(config.init_from), config.model)
        if part is None:
            raise InputError(f'--init_from={config.init_from}: no weights of {config.model}; expected a run of it')
        weights = part
    if weights.source.own:
        check_class_order(Path(weights.path).parent)
    return weights


def _check_starter(config: TrainConfig, starter: Path) -> None:
    """Raises InputError if a network of the starter set is damaged, or if the run's network is another one."""
    read_card(starter)
    theirs = read_blueprint(starter).config
    names = ('model', *network_flags(theirs.model))
    ours, fitting, defaults = (format_values(one) for one in (config, theirs, TrainConfig()))
    differing = [name for name in names if ours[name] != fitting[name]]
    if not differing:
        return
    if 'model' in differing:
        differing = ['model']  # the other flags may belong to neither network
    named = [name for name in names if name in ('model', *differing) or fitting[name] != defaults[name]]
    found, expected = (
        ' '.join(f'--{name}={texts[name]}' for name in some) for texts, some in ((ours, differing), (fitting, named))
    )
    raise InputError(
        f'--init_from={config.init_from}: its network does not fit {found}; expected {expected} and '
        f'--stage={" or ".join(stages_of(theirs.model))}'
    )


def _restored_scaling(config: TrainConfig, weights: OpenedWeights | None) -> Scaling | None:
    """Returns the audio scaling of --audio_run_dir, else of the run in --init_from if it has one."""
    flag, folder = 'audio_run_dir', Path(config.audio_run_dir)
    if not config.audio_run_dir:
        if not (weights and weights.source.own and (Path(weights.path).parent / SCALING_FILE).exists()):
            return None
        flag, folder = 'init_from', Path(weights.path).parent
    scaling = read_scaling(folder / SCALING_FILE)
    if scaling.kind != config.audio_scaling:
        raise InputError(f'--audio_scaling={config.audio_scaling}: expected {scaling.kind}, as in the run of --{flag}')
    return scaling


def _read_audio_run(run_dir: str) -> TrainConfig:
    """Returns the settings of the run that the audio GRU is restored from."""
    audio_run = read_flagfile(Path(run_dir) / FLAGS_FILE)
    if audio_run.model != AUDIO_GRU:
        raise InputError(
            f'--audio_run_dir={run_dir}: a run of --model={audio_run.model}; expected one of --model={AUDIO_GRU}'
        )
    check_class_order(run_dir)
    return audio_run


def _part_origin(part: NetworkPart, config: TrainConfig, weights: OpenedWeights | None) -> Origin:
    """Returns the origin of a part, given the weights of --init_from."""
    path = getattr(config, part.flag)
    reason_fresh = f'{path} has no {part.scope}' if path else f'no --{part.flag}'
    if part.flag == 'audio_run_dir':
        found = open_part(open_tensors(path), part.scope)
        if found is None:
            raise InputError(f'--audio_run_dir={path}: its checkpoint has no weights below {part.scope}/')
        return Origin(part.scope, found, '')
    if weights is None or part.scope == config.model:
        return Origin(part.scope, weights, reason_fresh)
    return Origin(part.scope, open_part(weights.tensors, part.scope) if weights.source.own else None, reason_fresh)


def load_data(
    blueprint: Blueprint,
    manifests: Sequence[str],
    data_root: str,
    *,
    labelled: bool,
    known_bad: Sequence[BadFrame] | None = None,
) -> Split:
    """Reads manifests as the run's stage uses them, with `load_split`.

    Args:
      blueprint: of the run.
      manifests: their paths.
      data_root: folder that their relative paths start from.
      labelled: whether labels are required.
      known_bad: with --on_bad_frame=skip, the frames that a resumed run has skipped.
    """
    config = blueprint.config
    return load_split(
        manifests,
        data_root,
        window_length(blueprint),
        config.min_frames,
        labelled=labelled,
        contents=blueprint.stage.contents,
        nonfinite=config.nonfinite_audio,
        skip=Skip(config.max_bad_fraction, known_bad) if config.on_bad_frame == 'skip' else None,
    )


def _load_flag(blueprint: Blueprint, split: str, *, skip_again: bool) -> Split:
    """Reads --train_manifest or --val_manifest.

    Args:
      blueprint: of the run.
      split: train or val.
      skip_again: whether to skip the frames in the run's bad_frames.csv, even if they were repaired since, so that
        windows stay the same.
    """
    config = blueprint.config
    known_bad = read_bad_frames(Path(config.run_dir) / BAD_FRAMES_FILE, split) if skip_again else None
    manifests = getattr(config, f'{split}_manifest')
    return load_data(blueprint, manifests, config.data_root, labelled=True, known_bad=known_bad)


def _check_windows(config: TrainConfig, train_split: Split) -> None:
    manifests = ','.join(config.train_manifest)
    if not train_split.windows:
        words = train_split.contents.words
        raise InputError(f'{manifests}: no {words.item} has {words.contents}; expected some to train on')
    if config.batch_size > len(train_split.windows):
        raise InputError(
            f'--batch_size={config.batch_size}: more than the {len(train_split.windows)} windows of {manifests}; '
            'expected at most as many'
        )


def _check_counts(blueprint: Blueprint, counts: np.ndarray, counts_before: np.ndarray) -> None:
    """Raises InputError if the training videos of each class are not those that the run started with."""
    if (counts != counts_before).any():
        manifests, items = ','.join(blueprint.config.train_manifest), blueprint.stage.contents.words.items
        raise InputError(
            f'--resume: {manifests} has {counts.sum()} {items}, in classes {counts.tolist()}; '
            f'the run started with {counts_before.sum()}, {counts_before.tolist()}'
        )


def cache_frames(config: TrainConfig, split: Split) -> Split:
    """Adds decoded frames to the split if there is a --frame_cache, with `open_frame_cache`."""
    if not config.frame_cache:
        return split
    return split._replace(
        decoded=open_frame_cache(split.manifests, config.image_size, config.frame_cache, config.frame_cache_gb)
    )


def fit_audio_scaling(blueprint: Blueprint, split: Split) -> Blueprint:
    """Computes the scaling of the audio from the training split, if there is audio and no parent run has a scaling."""
    if blueprint.scaling or not split.audio:
        return blueprint
    return blueprint._replace(scaling=fit_scaling(split.audio_names, split.audio, blueprint.config.audio_scaling))


def apply_audio_scaling(blueprint: Blueprint, split: Split) -> Split:
    """Returns the split with scaled audio.

    Raises:
      InputError: the split has other audio features than the scaling.
    """
    if blueprint.scaling is None or not split.audio:
        return split
    check_names(split.audio_names, blueprint.scaling, split.manifests[0].path)
    return split._replace(audio=[scale_features(values, blueprint.scaling) for values in split.audio])
