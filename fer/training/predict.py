# SPDX-License-Identifier: Apache-2.0
"""One pass over a split with a built tower, which gives results for every official video."""

from collections.abc import Mapping

import numpy as np

from fer.data.file_checks import check_images
from fer.data.split import Split
from fer.progress import progress
from fer.results.results_file import Results
from fer.results.videos import answer_ledger, combine_frames, combine_windows
from fer.runs.config import TrainConfig
from fer.tf1 import tf
from fer.training.schedule import Phase
from fer.training.tower import Side


def predict(
    session: tf.Session, side: Side, fallback: np.ndarray, config: TrainConfig, label: str, views: int = 1
) -> list[Results]:
    """Runs every window once and combines them into one answer per row of the ledgers.

    Args:
      session: has the values of the variables.
      side: the split, its pipeline and its towers, built for evaluation in the session's graph.
      fallback: float [7], logits of the videos that have no frames.
      config: of the run. `video_answer` chooses how the logits of a video are combined.
      label: name of the pass on the progress bar.
      views: logits are averaged over so many of fer.data.augmentation.VIEWS. More than 1 needs a pipeline with views.

    Returns:
      The answers, one `Results` for each manifest of the split.
    """
    split = side.split
    of_frames = config.video_answer == 'median'
    logits = _compute_logits(session, side, label, views, of_frames=of_frames)
    lengths = np.array([window.length for window in split.windows], np.int64)
    video = np.array([window.video for window in split.windows], np.int64)
    combined = combine_logits(logits, lengths, video, len(split.videos), split.seq_len, config)
    results, first = [], 0
    for manifest, ledger in zip(split.manifests, split.ledgers, strict=True):
        videos = manifest.videos
        answers = combined[first : first + len(videos)]
        first += len(videos)
        ids, frames = [video.video_id for video in videos], [len(video.lines) for video in videos]
        results.append(answer_ledger(ledger, ids, answers, frames, fallback))
    return results


def combine_logits(
    logits: np.ndarray, lengths: np.ndarray, video: np.ndarray, num_videos: int, seq_len: int, config: TrainConfig
) -> np.ndarray:
    """Combines the logits of windows, or of frames with --video_answer=median, into one answer per video.

    Args:
      logits: float [W, 7] of windows, or [F, 7] of frames, in the order of the windows.
      lengths: int [W], real frames of each window.
      video: int [W], index of each window's video.
      num_videos: V. Every video has at least one window.
      seq_len: frames of a padded window.
      config: of the run.

    Returns:
      float64 [V, 7].
    """
    if config.video_answer == 'median':
        counts = _count_frames(lengths, seq_len if config.classify == 'padded' else 0)
        return combine_frames(logits, counts, np.repeat(video, lengths), num_videos)
    weights = np.ones_like(lengths) if config.video_answer == 'windows' else lengths
    return combine_windows(logits, weights, video, num_videos)


def _compute_logits(session: tf.Session, side: Side, label: str, views: int, *, of_frames: bool) -> np.ndarray:
    """Returns the logits of each window, or of each real frame, in the order of the split.

    Returns:
      float64 [windows, 7] or [frames, 7], the mean over the views.
    """
    split, pipeline, towers = side
    tower = towers[Phase.ALL]
    output = tower.frame_logits if of_frames else tower.window_logits
    sizes = [window.length if of_frames else 1 for window in split.windows]
    first = np.cumsum([0, *sizes])
    logits = np.zeros((first[-1], output.shape[1]), np.float64)
    bar = progress(total=views * pipeline.num_batches, label=label, unit='batch')
    for view in range(views):
        session.run(pipeline.initializer, {pipeline.epoch: 0, pipeline.skip: 0, pipeline.view: view})
        for _ in range(pipeline.num_batches):
            index, values = run_named(session, [pipeline.batch.windows, output], split)
            rows = np.concatenate([np.arange(first[window], first[window + 1]) for window in index])
            logits[rows] += values / views
            bar.update()
    bar.close()
    return logits


def _count_frames(lengths: np.ndarray, padded_length: int) -> np.ndarray:
    """Returns how often each real frame counts in a median: once, or as often as the padded window repeats it.

    Args:
      lengths: int [W], real frames of each window.
      padded_length: frames of a padded window, 0 if padding does not count.

    Returns:
      int [sum of lengths].
    """
    counts = np.ones(lengths.sum(), np.int64)
    counts[np.cumsum(lengths) - 1] += np.maximum(padded_length - lengths, 0)  # padding repeats the last frame
    return counts


def run_named(session: tf.Session, fetches, split: Split, feeds: Mapping | None = None):
    """Calls `session.run` and names the line of the manifest whose image the decoder refuses.

    The check before a run may read only the ends of files. So damage in the middle of a file appears here, as does a
    file that was removed or cut since then.

    Raises:
      InputError: an image of the batch cannot be read.
    """
    try:
        return session.run(fetches, feeds)
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        for manifest in split.manifests:
            if manifest.videos and manifest.videos[0].frames:
                check_images(manifest, decode=True)
        raise error
