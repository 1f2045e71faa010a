"""Evaluates a run on a split: python evaluate.py --run_dir=RUN --manifest=DATA/val.txt --split=val

Every video of the manifest's ledger is answered for. Writes results_<split>.txt and, where there are labels,
metrics_<split>.json and confusion_<split>.png; with --on_bad_frame=skip also bad_frames_<split>.csv. Exit code 2: bad
input, nothing written.
"""

import functools
from typing import Any

from absl import flags

from fer import cli

flags.DEFINE_string('run_dir', None, 'Folder of the run.', required=True)
flags.DEFINE_string(
    'manifest', None, 'Manifest (.txt) to answer; unlabelled ones give results without metrics.', required=True
)
flags.DEFINE_string('split', 'val', 'Names the files written: results_<split>.txt and so on.')
flags.DEFINE_string(
    'data_root', '', "Folder that relative paths in the manifest start from; empty is the manifest's own."
)
flags.DEFINE_integer('batch_size', 0, 'Windows at a time; 0 is as in training.')
flags.DEFINE_enum(
    'fallback',
    'prior',
    ['prior', 'audio'],
    'How a video without frames is answered: training class frequencies, or as in --audio_results.',
)
flags.DEFINE_string('audio_results', '', 'Results file of an audio run on the split, for --fallback=audio.')
flags.DEFINE_enum(
    'checkpoint',
    '',
    ['', 'last', 'best'],
    'Which checkpoint answers; empty is the best in validation where the run kept it, else the last.',
)
flags.DEFINE_integer(
    'tta_views',
    1,
    'Test-time augmentation: the mean over so many views of each image, of the image, its mirror, and four corner '
    'crops with their mirrors (1 to 10).',
)
flags.DEFINE_enum(
    'nonfinite_audio',
    '',
    ['', 'error', 'mean'],
    'What a NaN or an infinity in the sound is: an error, or the mean of the training split; as in training if empty.',
)
flags.DEFINE_enum(
    'on_bad_frame',
    '',
    ['', 'error', 'skip'],
    'What an image or sound that cannot be read is: an error, or left out, counted, and named in '
    'bad_frames_<split>.csv beside the results; as in training if empty.',
)
flags.DEFINE_float(
    'max_bad_fraction', None, 'Largest share of the frames that may be left out so; by default as in training.'
)
flags.DEFINE_bool('xla', False, 'Compile with XLA, as in train.py.')
flags.DEFINE_integer(
    'intra_op_threads',
    0,
    'Threads of one operation; 0 is one per core. They decide in what order sums are made: with as many, on CPUs of '
    'one type, results are the same to the bit on however many cores.',
)
flags.DEFINE_integer('inter_op_threads', 0, 'Operations at a time; 0 is one per core.')
flags.DEFINE_string(
    'feature_cache', '', 'Folder that keeps what the CNN says of frames, for any run with the same CNN; off if empty.'
)
flags.DEFINE_float(
    'feature_cache_gb', 20.0, 'Gigabytes of it; features that no run is using and that were used longest ago go first.'
)
flags.DEFINE_string('output', '', "Folder to write to; empty is the run's.")


def main() -> None:
    # Here, not above: TensorFlow takes seconds to import, and --help should not.
    from fer.training.evaluate import evaluate

    names = (
        *('run_dir', 'manifest', 'split', 'data_root', 'batch_size', 'fallback'),
        *('audio_results', 'checkpoint', 'tta_views', 'nonfinite_audio', 'output'),
        *('xla', 'intra_op_threads', 'inter_op_threads'),
        *('feature_cache', 'feature_cache_gb', 'on_bad_frame', 'max_bad_fraction'),
    )
    settings: dict[str, Any] = {name: flags.FLAGS[name].value for name in names}
    evaluate(**settings)


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
