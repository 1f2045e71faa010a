"""Evaluating a trained run on a split: results, metrics, confusion matrix, in the run's own folder."""

import contextlib
import dataclasses
from pathlib import Path

from fer.data.augmentation import VIEWS
from fer.data.bad_frames import ON_BAD_FRAME, write_bad_frames
from fer.data.split import describe, split_paths, warnings_of
from fer.errors import InputError
from fer.files import atomic_files
from fer.results.metrics import score_results, summary, write_metrics
from fer.results.plots import draw_confusion
from fer.results.results_file import read_results, write_results
from fer.results.videos import answer_from, prior_logits
from fer.runs.checkpoints import answering_checkpoint, latest_checkpoint
from fer.runs.names import BEST_STATE, LAST_STATE
from fer.runs.provenance import stamp
from fer.sample_rates import compare_rates
from fer.tf1 import tf
from fer.training import checkpoints, run_folder
from fer.training.features import build_cache, check_cache_limit
from fer.training.predict import predict
from fer.training.run_inputs import load_data, scale
from fer.training.session import check_session, open_session, session_settings, settle_process
from fer.training.stages import stage_of
from fer.training.tower import build_side

FALLBACKS = ('prior', 'audio')
CHECKPOINTS = ('last', 'best')


def evaluate(
    run_dir: str,
    manifest: str,
    split: str,
    data_root: str,
    batch_size: int,
    fallback: str,
    audio_results: str,
    checkpoint: str,
    tta_views: int,
    nonfinite_audio: str,
    output: str,
    xla: bool = False,
    intra_op_threads: int = 0,
    inter_op_threads: int = 0,
    feature_cache: str = '',
    feature_cache_gb: float = 20.0,
    on_bad_frame: str = '',
    max_bad_fraction: float | None = None,
) -> None:
    """Answers for every official video of a manifest with a checkpoint of a run.

    It takes no lock: a run may be evaluated while it trains, and one split by two jobs at once, since each file is
    written whole and names what it is made of.

    Args:
      run_dir: the run.
      manifest: the videos; without labels there are results but no metrics.
      split: names the files: results_<split>.txt, metrics_<split>.json, confusion_<split>.png.
      data_root: folder that the manifest's relative paths start from; '' is the manifest's own.
      batch_size: windows at a time; 0 for as many as in training. It changes no result beyond rounding.
      fallback: how a video without frames is answered. `prior`: with the training videos' class frequencies. `audio`:
        as in `audio_results`, and by the prior where that has no answer of its own either.
      audio_results: a results file of an audio run on the same split.
      checkpoint: `last`, or `best` in validation; '' is the best where the run kept it, else the last.
      tta_views: logits are averaged over the first so many of fer.data.augmentation.VIEWS.
      nonfinite_audio: what a NaN in the sound is, as in training if ''.
      output: folder of the three files; '' is the run's.
      xla: as in `SessionSettings`.
      intra_op_threads: as there.
      inter_op_threads: as there.
      feature_cache: folder that keeps what the CNN says of frames (fer/training/features.py), which then pass it only
        where that is not there yet; '' for none. It changes no result beyond rounding, and does nothing for views.
      feature_cache_gb: gigabytes that it may have.
      on_bad_frame: what an image or sound is that cannot be read, as in training if ''. `skip` leaves it out and names
        it in bad_frames_<split>.csv beside the results; by the split, for bad_frames.csv may be the training's.
      max_bad_fraction: the largest share of frames that may be left out, as in training if None.

    Raises:
      InputError: no run there, a damaged checkpoint, or a bad manifest.
    """
    if fallback not in FALLBACKS:
        raise InputError(f'--fallback={fallback}: expected one of {", ".join(FALLBACKS)}')
    if (fallback == 'audio') != bool(audio_results):
        raise InputError(f'--fallback={fallback}: expected --audio_results with audio, and only then')
    heard = read_results(audio_results) if audio_results else None
    if checkpoint not in ('', *CHECKPOINTS):
        raise InputError(f'--checkpoint={checkpoint}: expected one of {", ".join(CHECKPOINTS)}')
    if len(split_paths(manifest)) != 1:
        raise InputError(f'--manifest={manifest}: expected one manifest; each is answered by itself')
    if not split or '/' in split:
        raise InputError(f'--split={split}: expected a name that files can be called by')
    if on_bad_frame not in ('', *ON_BAD_FRAME):
        raise InputError(f'--on_bad_frame={on_bad_frame}: expected one of {", ".join(ON_BAD_FRAME)}')
    if max_bad_fraction is not None and not 0 <= max_bad_fraction <= 1:
        raise InputError(f'--max_bad_fraction={max_bad_fraction}: expected a share in [0, 1]')
    if batch_size < 0:
        raise InputError(f'--batch_size={batch_size}: expected 0 or more windows')
    folder = Path(output or run_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f'--output={folder}: a file; expected a folder')
    blueprint = run_folder.read_blueprint(run_dir)
    config = dataclasses.replace(
        blueprint.config,
        batch_size=batch_size or blueprint.config.batch_size,
        nonfinite_audio=nonfinite_audio or blueprint.config.nonfinite_audio,
        on_bad_frame=on_bad_frame or blueprint.config.on_bad_frame,
        max_bad_fraction=blueprint.config.max_bad_fraction if max_bad_fraction is None else max_bad_fraction,
        # How the run was made fast is no matter of its results, and may not fit where they are asked for.
        frame_cache='',
        mixed_precision=False,
        xla=xla,
        intra_op_threads=intra_op_threads,
        inter_op_threads=inter_op_threads,
    )
    blueprint = blueprint._replace(config=config)
    settings = session_settings(config)
    check_session(settings)
    if not 1 <= tta_views <= len(VIEWS):
        raise InputError(f'--tta_views={tta_views}: expected 1 (the image alone) to {len(VIEWS)}')
    if tta_views > 1 and not stage_of(config).contents.images:
        raise InputError(f'--tta_views={tta_views}: expected 1 for --stage={config.stage}, which has no images')
    if feature_cache and not stage_of(config).contents.images:
        raise InputError(
            f'--feature_cache={feature_cache}: expected none for --stage={config.stage}, which has no images'
        )
    check_cache_limit(feature_cache_gb)
    counts = run_folder.read_class_counts(run_dir)
    rates = run_folder.read_run_rates(run_dir)
    states = {'last': LAST_STATE, 'best': BEST_STATE}
    path = latest_checkpoint(run_dir, states[checkpoint]) if checkpoint else answering_checkpoint(run_dir)
    if path is None:
        raise InputError(f'{run_dir}: no {checkpoint or "last"} checkpoint; expected one that train.py wrote')
    settle_process(settings)
    data = scale(blueprint, load_data(config, manifest, data_root, labelled=False))
    with tf.Graph().as_default():
        cache = None
        if feature_cache and tta_views == 1:
            cache = build_cache(blueprint, [data], feature_cache, feature_cache_gb)
        elif feature_cache:
            print(f'features: not kept, as they would be of {tta_views} views')
        side = build_side(blueprint, cache.attach(data) if cache else data, views=tta_views > 1)
        with open_session(settings) as session, cache or contextlib.nullcontext():
            checkpoints.restore_model(session, path, tf.global_variables())
            if cache:
                cache.load(session)
            print(f'{split}: {describe(data)}')
            for warning in warnings_of(data):
                print(warning)
            if differing := compare_rates({'training': rates, split: data.sample_rates}):
                print(differing)
            print(f'checkpoint: {path}{f"; mean of {tta_views} views" if tta_views > 1 else ""}')
            (results,) = predict(session, side, prior_logits(counts), split, tta_views)
    if heard:
        results, number = answer_from(results, heard, audio_results)
        print(f'{split}: {number} videos answered by {audio_results}')
    metrics = score_results(results, manifest)
    bad_frames = folder / f'bad_frames_{split}.csv'
    with atomic_files(folder) as files:
        write_results(files / f'results_{split}.txt', results)
        if config.on_bad_frame == 'skip':
            write_bad_frames(files / bad_frames.name, {split: data.bad})
        if metrics is not None:
            metrics |= {'split': split, 'checkpoint': Path(path).name, 'fallback': fallback, 'manifest': manifest}
            metrics |= {'tta_views': tta_views, 'bad_frames': len(data.bad)} | stamp(files / f'results_{split}.txt')
            write_metrics(files / f'metrics_{split}.json', metrics)
            draw_confusion(files / f'confusion_{split}.png', metrics['confusion'], f'{config.model} {split}')
    if config.on_bad_frame == 'skip':
        print(f'{bad_frames}: {len(data.bad)} bad frames left out')
    else:
        bad_frames.unlink(missing_ok=True)  # of other results that stood here
    answered_by_fallback = sum(1 for reason in results.fallback if reason != '-')
    print(f'{folder / f"results_{split}.txt"}: {len(results.video_ids)} videos, {answered_by_fallback} by {fallback}')
    if metrics is None:
        print(f'{split}: no labels, no metrics')
        return
    print(f'{split}: {summary(metrics)}')
