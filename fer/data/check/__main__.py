"""Verifies a corpus before a cluster is paid for: python -m fer.data.check --manifest=DATA/train.txt,DATA/val.txt

Reads every manifest with its ledger, decodes every image, reads every audio CSV, and prints what there is (videos,
frames, classes, sizes) and what is wrong: what train.py would refuse, frames out of order or of odd sizes, and videos
of which another manifest has copies or near-identical frames, as one cut from the same film. It also prints how two
manifests differ beyond chance, in brightness, contrast, sharpness, colour and size of their images and in loudness and
sampling rate of their audio, and warns of folders that name another emotion than the labels. Exit codes: 0 clean, with
or without these; 2 something is wrong, or bad flags.
"""

import functools

from absl import flags

from fer import cli
from fer.settings import split_paths

flags.DEFINE_multi_string(
    'manifest', None, 'Manifest (.txt); several, with commas or by repetition, are compared as well.', required=True
)
flags.DEFINE_string(
    'data_root', '', "Folder that relative paths in manifests start from; empty is each manifest's own."
)
flags.DEFINE_enum(
    'item', 'frame', ['frame', 'video', 'still'], "What a line is: a video's frame, a video's sound, or a still."
)
flags.DEFINE_integer('min_frames', 2, 'Fewest frames a video should have, as in train.py.')
flags.DEFINE_integer(
    'image_size', 0, 'Height and width in pixels that every image should have; 0 asks it of the frames of a video.'
)
flags.DEFINE_enum(
    'nonfinite_audio', 'error', ['error', 'mean'], 'Whether a NaN or an infinity in the sound is wrong, as in train.py.'
)
flags.DEFINE_integer('jobs', 0, 'Images decoded at a time; 0 is as many as there are CPUs.')
flags.DEFINE_string('output', '', 'Folder for problems.csv (a row each) and summary.json; none is written if empty.')


def main() -> int:
    # Here, not above: TensorFlow takes seconds to import, and --help should not.
    from fer.data.check.corpus import check_corpus
    from fer.data.check.report import format_report, write_report

    args = flags.FLAGS
    report = check_corpus(
        [path for text in args.manifest for path in split_paths(text)],
        args.data_root,
        args.item,
        args.min_frames,
        args.image_size,
        args.nonfinite_audio,
        args.jobs,
    )
    print(format_report(report))
    if args.output:
        write_report(report, args.output)
    return 2 if report.problems else 0


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
