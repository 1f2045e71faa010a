"""Raw videos to manifests: python -m fer.prepare --dataset=afew --source=RAW --output=DATA

Writes DATA/faces/ (aligned JPEGs), DATA/wav/, the settings in DATA/prepare_flags.txt and, for each split,
DATA/<split>.txt with its ledger. Exit codes: 0 done; 1 done, but some videos could not be decoded (they are listed);
2 bad input, nothing written.
"""

import shutil
from pathlib import Path

from absl import flags

from fer import cli
from fer.errors import InputError
from fer.files import atomic_write
from fer.manifest import ledger_path
from fer.prepare.afew import SPLITS, find_videos
from fer.prepare.detectors import DETECTORS
from fer.prepare.videos import Prepared, Settings, prepare_split

flags.DEFINE_enum('dataset', 'afew', ['afew'], 'Layout of the source.')
flags.DEFINE_string('source', None, 'Folder of the dataset as it was published.', required=True)
flags.DEFINE_string('output', None, 'Folder to write to.', required=True)
flags.DEFINE_enum('detector', 'mtcnn', sorted(DETECTORS), 'Face detector; skin is for the demo corpus.')
flags.DEFINE_integer('image_size', 112, 'Side of the aligned faces in pixels (dissertation 5.1).', lower_bound=16)
flags.DEFINE_float('margin', 0.15, 'What is kept around brows and chin, as a share of the face, each side.')
flags.DEFINE_integer('jobs', 2, 'Videos prepared at the same time.', lower_bound=1)
flags.DEFINE_bool('overwrite', False, 'Replace what an earlier preparation left in output.')

FLAGS_FILE = 'prepare_flags.txt'


def main() -> int:
    args = flags.FLAGS
    output = Path(args.output)
    splits = find_videos(args.source)
    if not 0 <= args.margin <= 5:
        raise InputError(f'--margin={args.margin}: expected a share from 0 to 5')
    if output.exists() and not output.is_dir():
        raise InputError(f'--output={output}: a file; expected a folder')
    if output.exists() and any(output.iterdir()):
        if not (output / FLAGS_FILE).exists():
            raise InputError(f'--output={output}: holds files but no {FLAGS_FILE}; expected a new or empty folder')
        if not args.overwrite:
            raise InputError(f'--output={output}: holds a preparation already; --overwrite replaces it')
        for name in ('faces', 'wav'):
            shutil.rmtree(output / name, ignore_errors=True)
        for split in SPLITS:  # the split may not be in the source any more
            (output / f'{split}.txt').unlink(missing_ok=True)
            ledger_path(output / f'{split}.txt').unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / FLAGS_FILE) as file:
        for name in ('dataset', 'source', 'detector', 'image_size', 'margin'):
            file.write(f'--{name}={args[name].value}\n')
    settings = Settings(output, args.detector, args.image_size, args.margin)
    problems = 0
    for split, videos in splits.items():
        prepared = prepare_split(split, videos, settings, args.jobs)
        for video, done in zip(videos, prepared, strict=True):
            if done.row.gap or done.problem:
                print(f'{split}: {video.path}: {done.row.gap} {done.problem}'.rstrip())
        print(f'{split}: {summary(prepared)} -> {output / split}.txt')
        problems += sum(1 for done in prepared if done.problem)
    return 1 if problems else 0


def summary(prepared: list[Prepared]) -> str:
    """`383 videos, 379 with faces; 20417 of 21873 frames kept; 850.2 s of sound`."""
    rows = [done.row for done in prepared]
    return (
        f'{len(rows)} videos, {sum(1 for row in rows if not row.gap)} with faces; '
        f'{sum(row.frames_kept for row in rows)} of {sum(row.frames_decoded or 0 for row in rows)} frames kept; '
        f'{sum(row.audio_seconds or 0 for row in rows):.1f} s of sound'
    )


if __name__ == '__main__':
    cli.run(main)
