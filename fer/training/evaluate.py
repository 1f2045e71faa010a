"""Evaluating a trained run on a split: results, metrics, confusion matrix, in the run's own folder."""

import dataclasses
from pathlib import Path

from fer.data.split import describe, load_split
from fer.errors import InputError
from fer.evaluation.metrics import score_results, summary, write_metrics
from fer.evaluation.results import write_results
from fer.evaluation.videos import prior_logits
from fer.nets import get_network
from fer.nets.weights.files import latest_checkpoint
from fer.report.plots import draw_confusion
from fer.tf1 import tf
from fer.training import checkpoints, run_folder
from fer.training.config import read_flagfile
from fer.training.predict import predict
from fer.training.session import open_session
from fer.training.tower import build_side

FALLBACKS = ('prior',)


def evaluate(
    run_dir: str, manifest: str, split: str, data_root: str, batch_size: int, fallback: str, output: str
) -> None:
    """Answers for every official video of a manifest with the last checkpoint of a run.

    Args:
      run_dir: the run.
      manifest: the videos; without labels there are results but no metrics.
      split: names the files: results_<split>.txt, metrics_<split>.json, confusion_<split>.png.
      data_root: folder that the manifest's relative paths start from; '' is the manifest's own.
      batch_size: windows at a time; 0 for as many as in training. It changes no result beyond rounding.
      fallback: how a video without frames is answered. `prior`: with the training videos' class frequencies.
      output: folder of the three files; '' is the run's.

    Raises:
      InputError: no run there, a damaged checkpoint, or a bad manifest.
    """
    if fallback not in FALLBACKS:
        raise InputError(f'--fallback={fallback}: expected one of {", ".join(FALLBACKS)}')
    if not split or '/' in split:
        raise InputError(f'--split={split}: expected a name that files can be called by')
    if batch_size < 0:
        raise InputError(f'--batch_size={batch_size}: expected 0 or more windows')
    folder = Path(output or run_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f'--output={folder}: a file; expected a folder')
    config = read_flagfile(Path(run_dir) / run_folder.FLAGS_FILE)
    config = dataclasses.replace(config, batch_size=batch_size or config.batch_size)
    counts = run_folder.read_class_counts(run_dir)
    checkpoint = latest_checkpoint(run_dir)
    if checkpoint is None:
        raise InputError(f'{run_dir}: no checkpoint; expected one that train.py wrote')
    network = get_network(config.model)
    convention = run_folder.read_run_convention(run_dir, config.model)
    data = load_split(manifest, data_root, config.seq_len, config.min_frames, labelled=False)
    with tf.Graph().as_default():
        side = build_side(config, network, convention, data, is_training=False)
        with open_session() as session:
            checkpoints.restore_model(session, checkpoint, tf.global_variables())
            print(f'{split}: {describe(data)}')
            results = predict(session, side, prior_logits(counts), split)
    metrics = score_results(results, manifest)
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder / f'results_{split}.txt', results)
    answered_by_fallback = sum(1 for reason in results.fallback if reason != '-')
    print(f'{folder / f"results_{split}.txt"}: {len(results.video_ids)} videos, {answered_by_fallback} by {fallback}')
    if metrics is None:
        print(f'{split}: no labels, no metrics')
        return
    metrics |= {'split': split, 'checkpoint': Path(checkpoint).name, 'fallback': fallback, 'manifest': manifest}
    write_metrics(folder / f'metrics_{split}.json', metrics)
    draw_confusion(folder / f'confusion_{split}.png', metrics['confusion'], f'{config.model} {split}')
    print(f'{split}: {summary(metrics)}')
