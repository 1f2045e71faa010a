"""One pass over a manifest with a built tower: results for every official video."""

import numpy as np

from fer.data.check import check_images
from fer.errors import InputError
from fer.evaluation.results import Results
from fer.evaluation.videos import answer_ledger, combine_windows
from fer.manifest import Manifest
from fer.progress import progress
from fer.tf1 import tf
from fer.training.tower import Side


def predict(session: tf.Session, side: Side, fallback: np.ndarray, label: str) -> Results:
    """Runs every window once and combines them into one answer per row of the ledger.

    Args:
      session: holds the variables.
      side: an evaluation side of the session's graph.
      fallback: float [7], logits of the videos that have no frames.
      label: what the progress bar calls this pass.
    """
    (manifest, windows, ledger), pipeline, tower = side
    logits = np.empty((len(windows), fallback.shape[0]), np.float32)
    session.run(pipeline.initializer, {pipeline.epoch: 0, pipeline.skip: 0})
    for _ in progress(range(pipeline.num_batches), label=label, unit='batch'):
        index, values = run_named(session, [pipeline.batch.windows, tower.window_logits], manifest)
        logits[index] = values
    videos = manifest.videos
    return answer_ledger(
        ledger,
        video_ids=[video.video_id for video in videos],
        logits=combine_windows(
            logits,
            lengths=np.array([window.length for window in windows], np.int64),
            video=np.array([window.video for window in windows], np.int64),
            num_videos=len(videos),
        ),
        frames=[len(video.lines) for video in videos],
        fallback=fallback,
    )


def run_named(session: tf.Session, fetches, manifest: Manifest):
    """`session.run`, except that an image the decoder refuses is named with its line of the manifest.

    The check before a run looks at the ends of files only; what is damaged in the middle shows here.

    Raises:
      InputError: an image of the batch cannot be read.
    """
    try:
        return session.run(fetches)
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        check_images(manifest)  # names a file that vanished or was cut since the run began
        with tf.Graph().as_default(), tf.Session() as probe:
            path = tf.placeholder(tf.string, [])
            image = tf.image.decode_jpeg(tf.io.read_file(path), channels=3)
            for video in manifest.videos:
                for line, name in zip(video.lines, video.frames, strict=True):
                    try:
                        probe.run(image.op, {path: name})
                    except tf.errors.OpError:
                        raise InputError(f'{manifest.path}:{line}: {name}: damaged inside, cannot be decoded') from None
        raise error
