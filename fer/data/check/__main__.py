# SPDX-License-Identifier: Apache-2.0
"""Verifies a corpus before a cluster is paid for: python -m fer.data.check --manifest=DATA/train.txt,DATA/val.txt

Reads every manifest with its ledger, decodes every image and reads every audio CSV. Prints counts of videos, frames,
classes and sizes, and these problems:

- anything that train.py would refuse
- frames out of order, or of odd sizes
- videos of which another manifest has copies or near-identical frames, such as cuts from one film

Prints also how two manifests differ beyond chance: in brightness, contrast, sharpness, colour and size of their images,
and in loudness and sampling rate of their audio. Warns of folders that name another emotion than the labels. Exit
codes: 0 no problems, with or without differences and warnings. 2 problems, or wrong flags.
"""

import functools

from absl import flags

from fer import cli
from fer.settings import split_paths

flags.DEFINE_multi_string(
    'manifest',
    None,
    'Manifests (.txt) to check and compare, separated by commas or by repeating the flag.',
    required=True,
)
flags.DEFINE_string(
    'data_root', '', "Folder that relative paths in manifests start from. Empty: each manifest's own folder."
)
flags.DEFINE_enum(
    'item',
    'frame',
    ['frame', 'video', 'still'],
    "Meaning of a manifest's line: a video's frame, the audio of a video, or a still.",
)
flags.DEFINE_integer('min_frames', 2, 'Fewest frames that a video should have (see train.py).')
flags.DEFINE_integer(
    'image_size',
    0,
    'Height and width in pixels that every image should have. 0: the frames of a video should have one size.',
)
flags.DEFINE_enum(
    'nonfinite_audio',
    'error',
    ['error', 'mean'],
    'How to handle NaN and infinity in the audio. error: they are problems. mean: they are accepted (see train.py).',
)
flags.DEFINE_integer('jobs', 0, 'Number of images decoded at a time. 0: as many as there are CPUs.')
flags.DEFINE_string('output', '', 'Folder for problems.csv (a row per problem) and summary.json. Empty: no files.')


def main() -> int:
    # Imported here, because TensorFlow takes seconds to import, and --help should not.
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
