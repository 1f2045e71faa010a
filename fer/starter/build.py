# SPDX-License-Identifier: Apache-2.0
"""Builds a network of the starter set from finished runs: its float16 weights, the files beside them, and its card."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.files import atomic_files, atomic_write
from fer.nets.weights.convention_file import write_convention
from fer.nets.weights.files import open_tensors
from fer.nets.weights.identify import OpenedWeights, identify, open_part
from fer.nets.weights.starter import CARD_FILE, FORMAT_VERSION, NAMES, WEIGHTS_FILE
from fer.nets.weights.values import read_value
from fer.prepare_flags import PrepareFlags, read_run_prepare_flags, write_run_prepare_flags
from fer.results.results_file import read_results
from fer.results.videos import read_class_counts
from fer.runs.config import TrainConfig, write_flagfile
from fer.runs.names import (
    CLASS_COUNTS_FILE,
    FINISHED_FILE,
    FLAGS_FILE,
    PREPARE_FLAGS_FILE,
    SAMPLE_RATES_FILE,
    SCALING_FILE,
    STARTER_PREFIX,
)
from fer.runs.provenance import digest
from fer.settings import format_values
from fer.starter.card import (
    Scored,
    calibrate,
    count_classes,
    pick_folds,
    read_answers,
    read_scored,
    score_folds,
    spread,
)
from fer.starter.network import answer_probe, unpack
from fer.starter.recipe import describe_recipe, prepared_with, shorten_paths, shorten_prepare_flags
from fer.starter.terms import DATASETS, INTENDED_FOR, NOT_FOR, NOTICE, STORAGE, WEIGHTS_LICENCE
from fer.training.evaluate import evaluate
from fer.training.requests import EvaluationRequest
from fer.training.run_folder import read_blueprint
from fer.training.stages import Blueprint, network_flags

LARGEST = {'face': 6_000_000, 'voice': 2_000_000}  # bytes of a network's weights.safetensors
TOLERANCE = 0.002  # largest difference of an accuracy that float16 may make, or one item if that is more
_STAGES = ('pretrain', 'finetune', 'audio')  # whose network is one part


class BuildRequest(NamedTuple):
    """The arguments of `python -m fer.starter build`."""

    name: str  # face or voice
    run: Path  # folder of the run whose network is built
    scored_runs: tuple[Path, ...]  # folders of the runs that the card's scores come from: seeds and folds of one recipe
    val_split: str  # name of the results that temperatures are fitted on, '' for the tests of other folds
    test_split: str  # name of the results that are scored
    dataset: str  # of the training data, '' to take it from their preparation
    output: Path  # folder of the set


def build(request: BuildRequest) -> Path:
    """Writes the folder of a network, all of its files or none.

    The float16 network is unpacked and evaluated on every split that the run has results for.

    Returns:
      The folder.

    Raises:
      InputError: the run is not finished or of a stage that cannot be built, results are missing or changed, the
        weights are too large, or float16 changes an accuracy.
    """
    blueprint = _read_run(request)
    datasets = _find_datasets(request, read_run_prepare_flags(request.run / PREPARE_FLAGS_FILE))
    weights = _open_weights(request.run, blueprint)
    scored = read_scored(request.scored_runs, blueprint.config, request.val_split, request.test_split)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / request.name
        folder.mkdir()
        _write_small_files(folder, request.run, blueprint, is_grey=all(DATASETS[name].grey for name in datasets))
        card = _start_card(request, blueprint, datasets)
        rounding = _write_weights(folder / WEIGHTS_FILE, weights, card)
        _seal(folder, card)
        card['float16'] = rounding | {'splits': _check_float16(folder, request.run, blueprint.config)}
        card['probe'] = [[round(float(value), 5) for value in row] for row in answer_probe(folder)]
        card |= describe_scores(request, scored)
        _write_card(folder, card)
        target = request.output / request.name
        with atomic_files(target) as files:
            for path in sorted(folder.iterdir(), key=lambda path: path.name == CARD_FILE):
                shutil.copyfile(path, files / path.name)
    return target


def _read_run(request: BuildRequest) -> Blueprint:
    """Returns what the run's graph is built from. Raises InputError for a run that cannot be built."""
    if request.name not in NAMES:
        raise InputError(f'--name={request.name}: expected one of {", ".join(NAMES)}')
    blueprint = read_blueprint(request.run)
    config = blueprint.config
    if config.stage not in _STAGES:
        raise InputError(f'--run={request.run}: a run of --stage={config.stage}; expected {", ".join(_STAGES)}')
    if (request.name == 'face') != blueprint.stage.contents.images:
        raise InputError(f'--run={request.run}: a run of --stage={config.stage}; expected another for {request.name}')
    if not (request.run / FINISHED_FILE).exists():
        raise InputError(f'--run={request.run}: no {FINISHED_FILE}; finish the run with train.py --resume')
    return blueprint


def _find_datasets(request: BuildRequest, prepare_flags: PrepareFlags) -> list[str]:
    """Returns the names of the run's datasets. Raises InputError if their terms are unknown."""
    found = sorted({flags['dataset'] for flags in prepare_flags.values() if 'dataset' in flags})
    if request.dataset and found and found != [request.dataset]:
        raise InputError(f'--dataset={request.dataset}: the run has {", ".join(found)}; leave the flag out')
    names = found or [request.dataset]
    if unknown := [name for name in names if name not in DATASETS]:
        raise InputError(f'--dataset={",".join(unknown)}: expected one of {", ".join(DATASETS)}, whose terms are known')
    return names


def _open_weights(run: Path, blueprint: Blueprint) -> OpenedWeights:
    """Returns the weights of the checkpoint that answers in evaluation, as --init_from takes them."""
    tensors = open_tensors(str(run))
    weights = identify(tensors) if blueprint.convention else open_part(tensors, blueprint.config.model)
    if weights is None:
        raise InputError(f'{tensors.path}: no weights of {blueprint.config.model}; expected a checkpoint of the run')
    return weights


def _write_small_files(folder: Path, run: Path, blueprint: Blueprint, *, is_grey: bool) -> None:
    """Writes what the graph is built from besides the weights. Paths of the machine are shortened to their ends."""
    write_flagfile(folder / FLAGS_FILE, shorten_paths(blueprint.config))
    if blueprint.convention:
        origin = Path(blueprint.config.init_from).name or 'fresh'
        convention = blueprint.convention._replace(grey=is_grey or blueprint.convention.grey)
        write_convention(folder, blueprint.config.model, convention, origin)
    for name in (CLASS_COUNTS_FILE, SCALING_FILE, SAMPLE_RATES_FILE):
        if (run / name).exists():
            shutil.copyfile(run / name, folder / name)
    flags = read_run_prepare_flags(run / PREPARE_FLAGS_FILE)
    write_run_prepare_flags(folder / PREPARE_FLAGS_FILE, shorten_prepare_flags(flags))


def _start_card(request: BuildRequest, blueprint: Blueprint, datasets: Sequence[str]) -> dict[str, Any]:
    """Returns the parts of the card that are known before its files are written."""
    config, run = shorten_paths(blueprint.config), request.run
    facts = [DATASETS[name] for name in datasets]
    texts = format_values(config)
    network = {'model': config.model, 'stage': config.stage}
    return {
        'format_version': FORMAT_VERSION,
        'name': request.name,
        'licence': WEIGHTS_LICENCE,
        'notice': NOTICE,
        'data': [
            {'dataset': name, **DATASETS[name]._asdict(), 'prepared_with': prepared_with(run, name)}
            for name in datasets
        ],
        'intended_for': list(INTENDED_FOR),
        'not_for': list(NOT_FOR),
        'storage': STORAGE,
        'classes': list(EMOTIONS),
        'network': network | {name: texts[name] for name in network_flags(config.model)},
        'input': _describe_input(blueprint, is_grey=all(one.grey for one in facts)),
        'recipe': describe_recipe(run, config),
    }


def _describe_input(blueprint: Blueprint, *, is_grey: bool) -> dict[str, Any]:
    """Returns what the network takes."""
    config, convention = blueprint.config, blueprint.convention
    if convention:
        pixels = {
            'image_size': config.image_size,
            'colours': 'grey' if is_grey else 'colour',
            'order': convention.order,
        }
        return pixels | {'mean': convention.mean, 'std': convention.std}
    assert blueprint.scaling, 'a run with audio has a scaling'
    return {'audio_features': len(blueprint.scaling.names), 'audio_scaling': blueprint.scaling.kind}


def _write_weights(path: Path, weights: OpenedWeights, card: dict[str, Any]) -> dict[str, Any]:
    """Writes the weights in float16.

    Args:
      path: of the file.
      weights: of the run.
      card: gives the facts that the file's own metadata repeats.

    Returns:
      `parameters`: number of values. `largest_relative_rounding`: of values whose size float16 has without loss of
      digits.

    Raises:
      InputError: a value is too large for float16.
    """
    scope = weights.source.network
    tensors: dict[str, np.ndarray] = {}
    rounding = 0.0
    for name, take in sorted(weights.source.table.items()):
        value = read_value(weights, take)
        with np.errstate(over='ignore'):
            small = value.astype(np.float16)
        if not np.isfinite(small).all():
            raise InputError(f'{weights.path}: {scope}/{name} has values above the largest of float16, 65504')
        normal = np.abs(value) >= np.finfo(np.float16).tiny
        if normal.any():
            rounding = max(rounding, float(np.abs(small[normal] / value[normal] - 1).max()))
        tensors[f'{scope}/{name}'] = small
    about = {
        name: card[name] for name in ('name', 'format_version', 'licence', 'notice', 'classes', 'network', 'input')
    }
    about['commit'] = card['recipe']['commit']
    path.write_bytes(save(tensors, {'fer_starter': json.dumps(about)}))  # one entry, because their order is not fixed
    return {
        'parameters': int(sum(value.size for value in tensors.values())),
        'largest_relative_rounding': rounding,
    }


def _seal(folder: Path, card: dict[str, Any]) -> None:
    """Adds the checksums and sizes of all files to the card, and writes it.

    Raises:
      InputError: the weights are too large.
    """
    paths = sorted(path for path in folder.iterdir() if path.name != CARD_FILE)
    card['files'] = {path.name: {'bytes': path.stat().st_size, 'sha256': digest(path)} for path in paths}
    size = card['files'][WEIGHTS_FILE]['bytes']
    if size > LARGEST[card['name']]:
        raise InputError(
            f'{card["name"]}: {WEIGHTS_FILE} has {size:,} bytes; expected at most {LARGEST[card["name"]]:,}'
        )
    card['megabytes'] = round(size / 1e6, 2)
    titles, inputs = ' and '.join(row['title'] for row in card['data']), card['input']
    if 'image_size' in inputs:
        takes = f'{inputs["image_size"]}x{inputs["image_size"]} {inputs["colours"]} images'
    else:
        takes = f'{inputs["audio_features"]:,} audio features'
    card['summary'] = (
        f'{STARTER_PREFIX}{card["name"]}: {card["network"]["model"]} for {takes}, trained on {titles} at commit '
        f'{str(card["recipe"]["commit"])[:12]}, SHA-256 {card["files"][WEIGHTS_FILE]["sha256"][:16]}'
    )
    _write_card(folder, card)


def _write_card(folder: Path, card: dict[str, Any]) -> None:
    with atomic_write(folder / CARD_FILE) as file:
        json.dump(card, file, indent=1)
        file.write('\n')


def _check_float16(folder: Path, run: Path, config: TrainConfig) -> dict[str, Any]:
    """Evaluates the float16 network where the run was evaluated, and compares the answers.

    Args:
      folder: of the network.
      run: folder of the run.
      config: of the run.

    Returns:
      For each split: N, both accuracies, the share of equal answers, and the largest difference of a logit.

    Raises:
      InputError: the run has no results, or an accuracy differs by more than TOLERANCE.
    """
    splits = sorted(path.stem.removeprefix('results_') for path in run.glob('results_*.txt'))
    if not splits:
        raise InputError(f'--run={run}: no results; evaluate it on a labelled split with evaluate.py')
    compared: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        unpacked = Path(temporary) / 'run'
        unpack(folder, unpacked)
        for split in splits:
            theirs, metrics = read_answers(run, split)
            request = EvaluationRequest(
                run_dir=str(unpacked),
                manifest=str(metrics['manifest']),
                data_root=config.data_root,
                split=split,
                tta_views=int(metrics['tta_views']),
                video_answer=str(metrics['video_answer']),
            )
            evaluate(request)
            ours = read_results(unpacked / f'results_{split}.txt')
            if ours.video_ids != theirs.video_ids:
                raise InputError(f'{metrics["manifest"]}: other items than in {run}; evaluate the run again')
            total = len(ours.labels)
            accuracy, before = (float((one.predictions == theirs.labels).mean()) for one in (ours, theirs))
            compared[split] = {
                'total': total,
                'accuracy': accuracy,
                'accuracy_of_run': before,
                'equal_answers': float((ours.predictions == theirs.predictions).mean()),
                'largest_logit_difference': float(np.abs(ours.logits - theirs.logits).max()),
            }
            if abs(accuracy - before) > max(TOLERANCE, 1 / total) + 1e-9:
                raise InputError(
                    f'{run}: float16 changes the accuracy on {split} from {before:.4f} to {accuracy:.4f}; expected at '
                    f'most {TOLERANCE}'
                )
    return compared


def describe_scores(request: BuildRequest, scored: list[Scored]) -> dict[str, Any]:
    """Returns the parts of the card that runs' answers give."""
    folds = pick_folds(scored, request.run)
    if not request.val_split and len(folds) == 1:
        raise InputError('--val_split: empty; expected a split that the temperature can be fitted on, or several folds')
    validation = [run.validation.labels for run in folds if run.validation]
    chosen = next((run for run in scored if run.folder.resolve() == request.run.resolve()), None)
    counts = read_class_counts(request.run)
    if chosen and len(folds) == 1:
        of = f'scores are of this network on {request.test_split}'
    else:
        has_all = counts.sum() == sum(len(run.test.labels) for run in folds)
        own = 'is that of one fold' if chosen else 'has learned from all folds' if has_all else 'is another one'
        of = f'scores are of {len(folds)} networks of one recipe, each on a test set of its own. This network {own}'
    return {
        'splits': {
            'train': count_classes(np.repeat(np.arange(len(counts)), counts)),
            'validation': count_classes(np.concatenate(validation)) if validation else None,
            'test': count_classes(np.concatenate([run.test.labels for run in folds])),
        },
        'scores': {'of': of, 'tta_views': folds[0].views, **score_folds(folds)},
        'calibration': calibrate(folds),
        'spread': spread(scored, folds, request.run),
    }
