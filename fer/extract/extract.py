"""Features and logits of every image of a manifest, from any weights."""

import math
import os
import zipfile
from pathlib import Path

import numpy as np

from fer.data.bad_frames import ON_BAD_FRAME, Skip, leave_out_bad_frames, write_bad_frames
from fer.data.file_checks import BadFrame, check_images
from fer.data.pipeline import Reading, build_pipeline
from fer.data.split import Split
from fer.data.windows import split_windows
from fer.errors import InputError
from fer.files import atomic_files, atomic_write
from fer.manifest import Manifest, read_manifest
from fer.nets import get_network
from fer.nets.weights import num_classes, open_weights
from fer.progress import progress
from fer.runs.config import read_flagfile
from fer.runs.names import FLAGS_FILE
from fer.tf1 import tf
from fer.training.features import FeatureCache, build_frozen_cnn, check_cache_limit
from fer.training.predict import run_named
from fer.training.restore import AFTER_FEATURES, Origin, check_network, describe_pixels, initialise, source_convention
from fer.training.session import open_session

DEFAULT_IMAGE_SIZE = 112  # of a checkpoint that says nothing of its own


def extract(
    model: str,
    init_from: str,
    manifest: str,
    output: str,
    data_root: str,
    item: str,
    batch_size: int,
    image_size: int,
    width: float,
    global_pool: bool | None,
    input_convention: str,
    allow_missing: bool,
    feature_cache: str = '',
    feature_cache_gb: float = 20.0,
    on_bad_frame: str = 'error',
    max_bad_fraction: float = 0.01,
) -> None:
    """Writes an .npz with a row per line of the manifest that is not left out as bad, in its order.

    Arrays: `video_id` and `path` str [N] (relative to the data root where below it), `features` float32 [N, D],
    `logits` float32 [N, C]. C is 0 when the weights' classifier is not there or does not fit.

    Args:
      model: the network expected; '' for any.
      init_from: a run folder or weights.
      manifest: of images.
      output: the file.
      data_root: folder that the manifest's relative paths start from; '' is its own.
      item: `frame` or `still`, as in `read_manifest`.
      batch_size: images at a time; it changes no result beyond rounding.
      image_size: in pixels; 0 for the run's or the source's.
      width: channel multiplier; 0 for the run's, or 1.
      global_pool: None for the run's, or as the source was trained.
      input_convention: `source` (of a run: its own) or `dissertation`.
      allow_missing: whether features may come from variables that the weights lack.
      feature_cache: folder that keeps features (fer/training/features.py); frames that have some there are not computed
        again, nor are those of one content. '' for none.
      feature_cache_gb: gigabytes that it may have.
      on_bad_frame: what an image is that cannot be read: an `error`, or a line that has no row (`skip`), which
        `bad_frames_path` names then.
      max_bad_fraction: the largest share of the lines that may be left out by `skip`.

    Raises:
      InputError: bad settings, weights or manifest.
    """
    if batch_size < 1:
        raise InputError(f'--batch_size={batch_size}: expected at least 1 image')
    if not 0 <= width <= 16:
        raise InputError(f'--width={width}: expected a factor above 0, at most 16; or 0, as trained')
    if Path(output).is_dir():
        raise InputError(f'--output={output}: a folder; expected a file')
    weights = open_weights(init_from)
    if model:
        check_network(weights, model)
    model = weights.source.network
    network = get_network(model)
    folder = Path(weights.path).parent
    run = read_flagfile(folder / FLAGS_FILE) if weights.source.own and (folder / FLAGS_FILE).exists() else None
    image_size = image_size or (run.image_size if run else weights.source.image_size) or DEFAULT_IMAGE_SIZE
    if image_size < network.min_image_size:
        raise InputError(f'--image_size={image_size}: expected at least {network.min_image_size} for {model}')
    if global_pool is None:
        global_pool = run.global_pool if run else model != 'vgg_face'
    if global_pool not in network.global_pool:
        raise InputError(f'--global_pool={global_pool}: {model} always averages its last map')
    check_cache_limit(feature_cache_gb)
    if on_bad_frame not in ON_BAD_FRAME:
        raise InputError(f'--on_bad_frame={on_bad_frame}: expected one of {", ".join(ON_BAD_FRAME)}')
    if not 0 <= max_bad_fraction <= 1:
        raise InputError(f'--max_bad_fraction={max_bad_fraction}: expected a share in [0, 1]')
    convention = source_convention(network, weights, input_convention)
    skip = Skip(max_bad_fraction) if on_bad_frame == 'skip' else None
    data, bad = _read_images(manifest, data_root, item, skip)
    windows = split_windows(data.videos, seq_len=1)

    with tf.Graph().as_default():
        split = Split([data], [[]], data.videos, windows, [], [], 0)
        classes = num_classes(weights)
        arguments = {
            'width': width or (run.width if run else 1.0),
            'global_pool': global_pool,
            'convention': convention,
            **({'se': True} if run and run.se_vgg else {}),
        }
        cnn = build_frozen_cnn(model, image_size, classes, arguments) if feature_cache else None
        if cnn and not FeatureCache(cnn, tuple(cnn.outputs), feature_cache, feature_cache_gb).fits([split]):
            cnn = None
        if cnn:
            outputs = cnn.outputs
        else:
            pipeline = build_pipeline(split, 1, batch_size, Reading(image_size, 0), shuffle_seed=None)
            features, end_points = network.build(pipeline.batch.images, num_classes=classes, **arguments)
            outputs = {'features': features} | ({'logits': end_points['logits']} if classes else {})
        with open_session() as session:
            (report,) = initialise(session, [Origin(model, weights, '')], allow_missing)
            other = [row for row in report.variables if row.state != 'restored']
            needed = [row for row in other if row.name.split('/')[1] not in AFTER_FEATURES]
            if needed and not allow_missing:
                raise InputError(
                    f'{weights.path}: features need {needed[0].name} {list(needed[0].shape)}, which is not restored '
                    f'at --image_size={image_size}: {needed[0].why}'
                )
            if other and not allow_missing:
                classes = 0
            print(f'{model}, {len(report.variables) - len(other)} of {len(report.variables)} variables restored from')
            print(f'{report.weights}; {image_size}x{image_size} pixels, {describe_pixels(convention)}')
            found = {
                'features': np.empty((len(windows), int(outputs['features'].shape[1])), np.float32),
                'logits': np.empty((len(windows), classes), np.float32),
            }
            names = ('features', 'logits') if classes else ('features',)
            if cnn:
                with FeatureCache(cnn, names, feature_cache, feature_cache_gb) as cache:
                    kept = cache.attach(split).features
                    assert kept
                    cache.load(session)
                    for index, window in enumerate(windows):
                        (row,) = kept.read(window.video, slice(window.start, window.start + 1))
                        first = 0
                        for name, size in kept.widths:
                            found[name][index] = row[first : first + size]
                            first += size
            else:
                session.run(pipeline.initializer, {pipeline.epoch: 0, pipeline.skip: 0})
                fetches = [pipeline.batch.windows, *(outputs[name] for name in names)]
                for _ in progress(range(math.ceil(len(windows) / batch_size)), label='features', unit='batch'):
                    index, *values = run_named(session, fetches, split)
                    for name, value in zip(names, values, strict=True):
                        found[name][index] = value
    root = Path(os.path.abspath(data_root or os.path.dirname(manifest)))
    paths = [Path(data.videos[window.video].frames[window.start]) for window in windows]
    about: dict[str, np.ndarray] = {
        'video_id': np.array([data.videos[window.video].video_id for window in windows], np.str_),
        'path': np.array([str(p.relative_to(root) if p.is_relative_to(root) else p) for p in paths], np.str_),
    }
    with atomic_files(Path(output).parent) as files:
        write_arrays(files / Path(output).name, about | found)
        if skip:
            write_bad_frames(files / bad_frames_path(output).name, {'': bad})
    if skip:
        print(f'{bad_frames_path(output)}: {len(bad)} bad frames left out')
    else:
        bad_frames_path(output).unlink(missing_ok=True)  # of other features that stood here
    sizes = ', '.join(f'{name} {list(array.shape)}' for name, array in found.items())
    print(f'{output}: {sizes}{"" if classes else " (no classifier that fits)"}')


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an .npz as `np.savez` does, which on a full disk would end with a traceback of its archive as well."""
    with atomic_write(path, 'wb') as file, zipfile.ZipFile(file, 'w') as archive:
        for name, array in arrays.items():
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def bad_frames_path(output: str) -> Path:
    """The table beside the features of the lines that were left out."""
    return Path(f'{output.removesuffix(".npz")}.bad_frames.csv')


def _read_images(path: str, data_root: str, item: str, skip: Skip | None) -> tuple[Manifest, list[BadFrame]]:
    """The manifest, once all of its images have been looked at, without those that are bad; and these."""
    manifest = read_manifest(path, data_root or None, item, min_frames=1)
    for video in manifest.videos[:1]:  # the lines of a manifest are all of one form
        if not video.frames:
            raise InputError(f'{path}:{video.lines[0]}: no image in the line; expected [audio.csv,]face.jpg[,label]')
    if skip is None:
        check_images(manifest)
        return manifest, []
    (left,), _, bad = leave_out_bad_frames([manifest], [[]], images=True, audio=0, skip=skip)
    if not left.videos:
        raise InputError(f'{path}: all of its images are bad, the first {bad[0]}; expected some that are not')
    return left, bad
