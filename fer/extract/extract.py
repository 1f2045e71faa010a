# SPDX-License-Identifier: Apache-2.0
"""Extraction of features and logits of every image of a manifest, from any weights."""

import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer.data.bad_frames import Skip, leave_out_bad_frames, write_bad_frames
from fer.data.file_checks import BadFrame, check_images
from fer.data.pipeline import Pipeline, Reading, build_pipeline
from fer.data.split import Contents, Split
from fer.data.windows import split_windows
from fer.errors import InputError
from fer.extract.request import ExtractionRequest
from fer.files import atomic_files, atomic_write
from fer.manifest import Manifest, read_manifest
from fer.nets import get_network
from fer.nets.weights.identify import OpenedWeights, open_weights
from fer.nets.weights.starter import describe_starters
from fer.nets.weights.values import num_classes
from fer.progress import progress
from fer.runs.config import read_flagfile
from fer.runs.names import FLAGS_FILE
from fer.tf1 import tf
from fer.training.features import FeatureCache, FrozenCnn, build_frozen_cnn
from fer.training.memory_errors import advise_evaluation, explain_full_memory
from fer.training.predict import run_named
from fer.training.restore import AFTER_FEATURES, Origin, check_network, describe_pixels, initialise, source_convention
from fer.training.session import SessionSettings, check_session, open_first_session, open_session
from fer.training.stages import option_arguments

DEFAULT_IMAGE_SIZE = 112  # for checkpoints without an image size of their own


class CnnPlan(NamedTuple):
    """The CNN that images pass."""

    model: str
    image_size: int  # in pixels
    num_classes: int  # of the weights' classifier, 0 without one
    arguments: dict[str, Any]  # of the network's builder: width, global_pool, convention, se, stem_stride
    weights: OpenedWeights


def extract(request: ExtractionRequest) -> None:
    """Writes an .npz with a row for each line of the manifest, in its order, except lines left out as bad.

    Arrays: `video_id` and `path` str [N], `features` float32 [N, D], `logits` float32 [N, C]. Paths below the data root
    are relative to it. C is 0 if the weights' classifier is missing or does not fit.

    Raises:
      InputError: a bad request, bad weights or a bad manifest.
    """
    request.check()
    if Path(request.output).is_dir():
        raise InputError(f'--output={request.output}: a folder; expected a file')
    settings = SessionSettings(gpu=request.gpu, gpu_memory_gb=request.gpu_memory_gb)
    check_session(settings)
    plan = plan_cnn(request)
    device = open_first_session(settings)
    manifest, bad = read_images(request)
    windows = split_windows(manifest.videos, 1)
    split = Split([manifest], [[]], manifest.videos, 1, windows, [], [], 0, contents=Contents(request.item, True, 0))
    with explain_full_memory(lambda: _advise(request), request.gpu_memory_gb):
        values = compute_values(request, plan, split, settings, device)
    write_values(request, describe_rows(split, request) | values, bad)


def _advise(request: ExtractionRequest) -> str:
    """Returns what to do if the memory is full. Features are computed in batches of a fixed size."""
    advice = advise_evaluation(request.batch_size)
    return f'{advice}, without --feature_cache' if request.feature_cache else advice


def plan_cnn(request: ExtractionRequest) -> CnnPlan:
    """Returns the CNN for a request's weights. Settings that are not given are the run's or the publisher's.

    Raises:
      InputError: weights that cannot be read, or settings that do not fit their network.
    """
    weights = open_weights(request.init_from)
    if request.model:
        check_network(weights, request.model)
    model = weights.source.network
    network = get_network(model)
    flags_file = Path(weights.path).parent / FLAGS_FILE
    run = read_flagfile(flags_file) if weights.source.own and flags_file.exists() else None
    image_size = request.image_size or (run.image_size if run else weights.source.image_size) or DEFAULT_IMAGE_SIZE
    if image_size < network.min_image_size:
        raise InputError(f'--image_size={image_size}: expected at least {network.min_image_size} for {model}')
    global_pool = request.global_pool
    if global_pool is None:
        global_pool = run.global_pool if run else model != 'vgg_face'
    if global_pool not in network.global_pool:
        raise InputError(f'--global_pool={global_pool}: {model} always averages its last map')
    arguments = {
        'width': request.width or (run.width if run else 1.0),
        'global_pool': global_pool,
        'convention': source_convention(network, weights, request.input_convention),
        **(option_arguments(run) if run else {}),
    }
    return CnnPlan(model, image_size, num_classes(weights), arguments, weights)


def read_images(request: ExtractionRequest) -> tuple[Manifest, list[BadFrame]]:
    """Reads the manifest and checks all of its images.

    Returns:
      The manifest without bad images, and the bad images, an empty list without --on_bad_frame=skip.

    Raises:
      InputError: a bad manifest, or images that cannot be read.
    """
    path = request.manifest
    manifest = read_manifest(path, request.data_root or None, request.item, min_frames=1)
    for video in manifest.videos[:1]:  # the lines of a manifest are all of one form
        if not video.frames:
            raise InputError(f'{path}:{video.lines[0]}: no image in the line; expected [audio.csv,]face.jpg[,label]')
    if request.on_bad_frame == 'error':
        check_images(manifest)
        return manifest, []
    skip = Skip(request.max_bad_fraction)
    (left,), _, bad = leave_out_bad_frames([manifest], [[]], images=True, audio_size=0, skip=skip)
    if not left.videos:
        raise InputError(f'{path}: all of its images are bad, the first {bad[0]}; expected some that are not')
    return left, bad


def compute_values(
    request: ExtractionRequest, plan: CnnPlan, split: Split, settings: SessionSettings, device: list[str]
) -> dict[str, np.ndarray]:
    """Passes the images of a split through the CNN, or reads what --feature_cache has of them.

    Args:
      request: as `extract` takes it.
      plan: the CNN.
      split: the images.
      settings: of the session.
      device: lines for the screen, of `open_first_session`.

    Returns:
      `features` float32 [N, D] and `logits` float32 [N, C], a row for each window of the split.
    """
    with tf.Graph().as_default():
        cnn = _build_cached_cnn(request, plan, split)
        if cnn:
            outputs = cnn.outputs
        else:
            reading = Reading(plan.image_size, 0)
            pipeline = build_pipeline(split, request.batch_size, reading, shuffle_seed=None)
            network = get_network(plan.model)
            features, end_points = network.build(pipeline.batch.images, num_classes=plan.num_classes, **plan.arguments)
            outputs = {'features': features} | ({'logits': end_points['logits']} if plan.num_classes else {})
        with open_session(settings) as session:
            has_logits = _restore(session, request, plan)
            print('\n'.join(device))
            names = ('features', 'logits') if has_logits else ('features',)
            sizes = {'features': int(outputs['features'].shape[1]), 'logits': plan.num_classes if has_logits else 0}
            values = {name: np.empty((len(split.windows), size), np.float32) for name, size in sizes.items()}
            if cnn:
                with FeatureCache(cnn, names, request.feature_cache, request.feature_cache_gb) as cache:
                    _read_cached(session, cache, split, values)
            else:
                _run_batches(session, pipeline, {name: outputs[name] for name in names}, split, values)
    return values


def _build_cached_cnn(request: ExtractionRequest, plan: CnnPlan, split: Split) -> FrozenCnn | None:
    """Adds a CNN whose outputs --feature_cache keeps. Returns None without that flag or if the cache is too small."""
    if not request.feature_cache:
        return None
    cnn = build_frozen_cnn(plan.model, plan.image_size, plan.num_classes, plan.arguments)
    cache = FeatureCache(cnn, tuple(cnn.outputs), request.feature_cache, request.feature_cache_gb)
    return cnn if cache.fits([split]) else None


def _restore(session: tf.Session, request: ExtractionRequest, plan: CnnPlan) -> bool:
    """Restores the weights and prints how many variables they have.

    Returns:
      Whether logits are to be written: the classifier is restored, or --allow_missing lets it stay fresh.

    Raises:
      InputError: features depend on a variable that the weights do not have, without --allow_missing.
    """
    (report,) = initialise(session, [Origin(plan.model, plan.weights, '')], allow_missing=request.allow_missing)
    other = [row for row in report.variables if row.state != 'restored']
    needed = [row for row in other if row.name.split('/')[1] not in AFTER_FEATURES]
    if needed and not request.allow_missing:
        raise InputError(
            f'{plan.weights.path}: features need {needed[0].name} {list(needed[0].shape)}, which is not restored '
            f'at --image_size={plan.image_size}: {needed[0].reason}'
        )
    print(f'{plan.model}, {len(report.variables) - len(other)} of {len(report.variables)} variables restored from')
    pixels = f'{plan.image_size}x{plan.image_size} pixels, {describe_pixels(plan.arguments["convention"])}'
    print('\n'.join([f'{report.weights}; {pixels}', *describe_starters([plan.weights.tensors])]))
    return bool(plan.num_classes) and (request.allow_missing or not other)


def _read_cached(session: tf.Session, cache: FeatureCache, split: Split, values: dict[str, np.ndarray]) -> None:
    """Fills `values` from the cache, which computes what it does not have yet."""
    kept = cache.attach(split).features
    assert kept
    cache.load(session)
    for index, window in enumerate(split.windows):
        (row,) = kept.read(window.video, slice(window.start, window.start + 1))
        first = 0
        for name, size in kept.widths:
            values[name][index] = row[first : first + size]
            first += size


def _run_batches(
    session: tf.Session, pipeline: Pipeline, outputs: dict[str, tf.Tensor], split: Split, values: dict[str, np.ndarray]
) -> None:
    """Fills `values` with the outputs of the CNN, batch by batch."""
    session.run(pipeline.initializer, {pipeline.epoch: 0, pipeline.skip: 0})
    fetches = [pipeline.batch.windows, *outputs.values()]
    for _ in progress(range(pipeline.num_batches), label='features', unit='batch'):
        index, *found = run_named(session, fetches, split)
        for name, value in zip(outputs, found, strict=True):
            values[name][index] = value


def describe_rows(split: Split, request: ExtractionRequest) -> dict[str, np.ndarray]:
    """Returns `video_id` and `path`, str [N], of the windows of a split."""
    root = Path(os.path.abspath(request.data_root or os.path.dirname(request.manifest)))
    videos = [split.videos[window.video] for window in split.windows]
    paths = [Path(video.frames[window.start]) for video, window in zip(videos, split.windows, strict=True)]
    return {
        'video_id': np.array([video.video_id for video in videos], np.str_),
        'path': np.array([str(p.relative_to(root) if p.is_relative_to(root) else p) for p in paths], np.str_),
    }


def write_values(request: ExtractionRequest, arrays: dict[str, np.ndarray], bad: list[BadFrame]) -> None:
    """Writes the arrays and, with --on_bad_frame=skip, the list of bad frames, and prints their sizes."""
    output, table = request.output, bad_frames_path(request.output)
    skips = request.on_bad_frame == 'skip'
    with atomic_files(Path(output).parent) as files:
        write_arrays(files / Path(output).name, arrays)
        if skips:
            write_bad_frames(files / table.name, {'': bad})
    if skips:
        print(f'{table}: {len(bad)} bad frames left out')
    else:
        table.unlink(missing_ok=True)  # of earlier features
    sizes = ', '.join(f'{name} {list(arrays[name].shape)}' for name in ('features', 'logits'))
    print(f'{output}: {sizes}{"" if arrays["logits"].shape[1] else " (no classifier that fits)"}')


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an .npz like `np.savez`, whose archive would add a traceback of its own on a full disk."""
    with atomic_write(path, 'wb') as file, zipfile.ZipFile(file, 'w') as archive:
        for name, array in arrays.items():
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def bad_frames_path(output: str) -> Path:
    """Returns the path of the table of left-out lines, beside the features."""
    return Path(f'{output.removesuffix(".npz")}.bad_frames.csv')
