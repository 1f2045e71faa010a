"""Where a run starts: what its network is built from, what each part is restored from, and its data."""

from collections.abc import Sequence
from pathlib import Path

from fer.data.audio import Scaling, check_names, fit_scaling, read_scaling, scale_features
from fer.data.bad_frames import Skip
from fer.data.file_checks import BadFrame
from fer.data.frame_cache import open_frame_cache
from fer.data.split import Split, load_split
from fer.errors import InputError
from fer.nets import get_network
from fer.nets.early_fusion import OPTIONS
from fer.nets.weights import Weights, open_part
from fer.nets.weights.files import open_tensors
from fer.runs.config import TrainConfig, read_flagfile
from fer.runs.names import FLAGS_FILE, SCALING_FILE
from fer.training.restore import Origin, open_for, source_convention
from fer.training.run_folder import check_class_order, read_blueprint
from fer.training.stages import AUDIO_GRU, TEMPORAL, Blueprint, Part, stage_of, window_length


def open_origins(config: TrainConfig) -> tuple[Blueprint, list[Origin]]:
    """Opens what a new run is restored from.

    Returns:
      What its graph is built from; the scaling of its sound only where a run brings it.
      The origin of each part of the network.

    Raises:
      InputError: weights or runs that are not there, are of another network, or have their classes in another order.
    """
    stage = stage_of(config)
    weights = convention = scaling = audio = visual = None
    if config.init_from:
        weights = _open_init(config, stage.contents.images)
    if stage.contents.images:
        convention = source_convention(get_network(config.model), weights, config.input_convention)
    if config.audio_run_dir:
        audio = _read_audio_run(config.audio_run_dir)
    if stage.contents.audio:
        scaling = _restored_scaling(config, weights)
    wants_visual = config.stage == 'early_fusion' and OPTIONS[config.fusion_option].visual_rnn
    if wants_visual and weights and weights.source.own and open_part(weights.tensors, TEMPORAL):
        run = read_blueprint(Path(weights.path).parent)
        visual = run.visual or run.config  # a run of early fusion has it from another run, or new
    blueprint = Blueprint(config, convention, scaling, audio, visual)
    return blueprint, [_origin(part, config, weights) for part in stage.parts(blueprint)]


def _open_init(config: TrainConfig, images: bool) -> Weights:
    """The weights of --init_from: of a CNN anybody's, of an audio network a run's."""
    if images:
        weights = open_for(config.model, config.init_from)
    else:
        part = open_part(open_tensors(config.init_from), config.model)
        if part is None:
            raise InputError(f'--init_from={config.init_from}: no weights of {config.model}; expected a run of it')
        weights = part
    if weights.source.own:
        check_class_order(Path(weights.path).parent)
    return weights


def _restored_scaling(config: TrainConfig, weights: Weights | None) -> Scaling | None:
    """The scaling that restored weights know sound by: of the audio run, else of a run in --init_from that has one."""
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
    """The settings of the run whose GRU hears."""
    audio = read_flagfile(Path(run_dir) / FLAGS_FILE)
    if audio.model != AUDIO_GRU:
        raise InputError(
            f'--audio_run_dir={run_dir}: a run of --model={audio.model}; expected one of --model={AUDIO_GRU}'
        )
    check_class_order(run_dir)
    return audio


def _origin(part: Part, config: TrainConfig, weights: Weights | None) -> Origin:
    path = getattr(config, part.origin)
    why = f'{path} has no {part.scope}' if path else f'no --{part.origin}'
    if part.origin == 'audio_run_dir':
        found = open_part(open_tensors(path), part.scope)
        if found is None:
            raise InputError(f'--audio_run_dir={path}: no weights below {part.scope}/ in its checkpoint')
        return Origin(part.scope, found, '')
    if weights is None or part.scope == config.model:
        return Origin(part.scope, weights, why)
    return Origin(part.scope, open_part(weights.tensors, part.scope) if weights.source.own else None, why)


def load_data(
    config: TrainConfig,
    manifests: Sequence[str],
    data_root: str,
    labelled: bool,
    known_bad: Sequence[BadFrame] | None = None,
) -> Split:
    """Reads manifests as the run's stage uses them; see `load_split`.

    Args:
      config: of the run.
      manifests: their paths.
      data_root: folder that their relative paths start from.
      labelled: whether labels are required.
      known_bad: with --on_bad_frame=skip, the frames that a run which is resumed has left out.
    """
    return load_split(
        manifests,
        data_root,
        window_length(config),
        config.min_frames,
        labelled,
        stage_of(config).contents,
        config.nonfinite_audio,
        Skip(config.max_bad_fraction, known_bad) if config.on_bad_frame == 'skip' else None,
    )


def cache_frames(config: TrainConfig, split: Split) -> Split:
    """The split with its decoded frames where there is a --frame_cache; see `open_frame_cache`."""
    if not config.frame_cache:
        return split
    return split._replace(
        decoded=open_frame_cache(split.manifests, config.image_size, config.frame_cache, config.frame_cache_gb)
    )


def fit(blueprint: Blueprint, split: Split) -> Blueprint:
    """Takes the statistics of the training split's sound, unless there is none or they come with a run."""
    if blueprint.scaling or not split.audio:
        return blueprint
    return blueprint._replace(scaling=fit_scaling(split.audio_names, split.audio, blueprint.config.audio_scaling))


def scale(blueprint: Blueprint, split: Split) -> Split:
    """The split with its sound as the network takes it.

    Raises:
      InputError: its features are not those that the scaling is of.
    """
    if blueprint.scaling is None or not split.audio:
        return split
    check_names(split.audio_names, blueprint.scaling, split.manifests[0].path)
    return split._replace(audio=[scale_features(values, blueprint.scaling) for values in split.audio])
