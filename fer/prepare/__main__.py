"""Raw datasets to manifests: python -m fer.prepare --dataset=afew --source=RAW --output=DATA

Writes, for each split, DATA/<split>.txt with its ledger, and the settings in DATA/prepare_flags.txt. Of videos also
DATA/faces/ (aligned JPEGs) and DATA/wav/. Images and folders of faces stay where they are, behind links (DATA/source,
DATA/faces/); those that have no file of their own are written to DATA/stills/. Where the dataset has no splits, people
are held out, and DATA/split_subjects.csv says who. Exit codes: 0 done; 1 done, but some items could not be used (they
are listed); 2 bad input, nothing written.
"""

import csv
import shutil
from pathlib import Path

from absl import flags

from fer import cli
from fer.errors import InputError
from fer.files import atomic_write
from fer.manifest import ledger_path
from fer.prepare.datasets import DATASETS, Options
from fer.prepare.datasets.dfew import FOLDS
from fer.prepare.detectors import DETECTORS
from fer.prepare.layout import SPLITS, SourceStill, SourceVideo
from fer.prepare.stills import FOLDER, LINK, link_faces, prepare_stills
from fer.prepare.videos import Prepared, Settings, prepare_split

flags.DEFINE_enum('dataset', 'afew', list(DATASETS), 'Layout of the source.')
flags.DEFINE_string('source', None, 'Folder of the dataset as it was published.', required=True)
flags.DEFINE_string('output', None, 'Folder to write to.', required=True)
flags.DEFINE_enum('detector', 'mtcnn', sorted(DETECTORS), 'Face detector; skin is for the demo corpus.')
flags.DEFINE_integer('image_size', 112, 'Side of the aligned faces in pixels (dissertation 5.1).', lower_bound=16)
flags.DEFINE_float('margin', 0.15, 'What is kept around brows and chin, as a share of the face, each side.')
flags.DEFINE_integer('seed', 0, 'Chooses the people held out where a dataset has no splits, and images under the cap.')
flags.DEFINE_integer('fold', 1, 'Fold of DFEW.', lower_bound=1, upper_bound=FOLDS)
flags.DEFINE_integer('class_cap', None, 'Most training images of a class, for AffectNet; default: all.', lower_bound=1)
flags.DEFINE_integer('jobs', 2, 'Videos prepared at the same time.', lower_bound=1)
flags.DEFINE_bool('overwrite', False, 'Replace what an earlier preparation left in output.')

FLAGS_FILE = 'prepare_flags.txt'
SUBJECTS_FILE = 'split_subjects.csv'
_LISTED = 20  # problems of a split that are printed; the ledger has all


def main() -> int:
    args = flags.FLAGS
    output = Path(args.output)
    source = Path(args.source)
    if not source.is_dir():
        raise InputError(f'--source={source}: expected the folder of {args.dataset}; found no folder of that name')
    if not 0 <= args.margin <= 5:
        raise InputError(f'--margin={args.margin}: expected a share from 0 to 5')
    splits = DATASETS[args.dataset](source, Options(args.seed, args.fold, args.class_cap))
    if output.exists() and not output.is_dir():
        raise InputError(f'--output={output}: a file; expected a folder')
    if output.exists() and any(output.iterdir()):
        if not (output / FLAGS_FILE).exists():
            raise InputError(f'--output={output}: holds files but no {FLAGS_FILE}; expected a new or empty folder')
        if not args.overwrite:
            raise InputError(f'--output={output}: holds a preparation already; --overwrite replaces it')
        for name in ('faces', 'wav', FOLDER):
            shutil.rmtree(output / name, ignore_errors=True)  # takes links away, not what they lead to
        for name in (LINK, SUBJECTS_FILE):
            (output / name).unlink(missing_ok=True)
        for split in SPLITS:  # the split may not be in the source any more
            (output / f'{split}.txt').unlink(missing_ok=True)
            ledger_path(output / f'{split}.txt').unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / FLAGS_FILE) as file:
        for name in ('dataset', 'source', 'detector', 'image_size', 'margin', 'seed', 'fold', 'class_cap'):
            if args[name].value is not None:
                file.write(f'--{name}={args[name].value}\n')
    if splits.subjects:
        with atomic_write(output / SUBJECTS_FILE) as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(('subject', 'split'))
            writer.writerows(sorted(splits.subjects.items()))
    settings = Settings(output, args.detector, args.image_size, args.margin)
    for problem in splits.problems:
        print(_printable(problem))
    problems = len(splits.problems)
    for split, items in splits.items():
        stills = [item for item in items if isinstance(item, SourceStill)]
        videos = [item for item in items if isinstance(item, SourceVideo)]
        if stills:
            prepared = prepare_stills(split, stills, source, output)
        elif any(video.path.is_dir() for video in videos):
            prepared = link_faces(split, videos, output)
        else:
            prepared = prepare_split(split, videos, settings, args.jobs)
        names = [still.name for still in stills] or [str(video.path) for video in videos]
        lines = [
            f'{split}: {name}: {done.row.gap} {done.problem}'.rstrip()
            for name, done in zip(names, prepared, strict=True)
            if done.row.gap or done.problem
        ]
        for line in lines[:_LISTED]:
            print(_printable(line))
        if len(lines) > _LISTED:
            print(f'{split}: {len(lines) - _LISTED} more in {ledger_path(output / f"{split}.txt")}')
        summary = summarise_stills(prepared) if stills else summarise(prepared)
        print(f'{split}: {summary} -> {output / split}.txt')
        problems += sum(1 for done in prepared if done.problem)
    if splits.left_out:
        print('left out: ' + ', '.join(f'{count} {reason}' for reason, count in sorted(splits.left_out.items())))
    return 1 if problems else 0


def _printable(text: str) -> str:
    """A line for the terminal: names of files may hold what is no UTF-8."""
    return text.encode(errors='backslashreplace').decode()


def summarise(prepared: list[Prepared]) -> str:
    """`383 videos, 379 with faces; 20417 of 21873 frames kept; 850.2 s of sound`, and what is missing."""
    rows = [done.row for done in prepared]
    return (
        f'{len(rows)} videos, {sum(1 for row in rows if not row.gap)} with faces; '
        f'{sum(row.frames_kept for row in rows)} of {sum(row.frames_decoded or 0 for row in rows)} frames kept; '
        f'{sum(row.audio_seconds or 0 for row in rows):.1f} s of sound{_gaps(prepared)}'
    )


def summarise_stills(prepared: list[Prepared]) -> str:
    """`12271 images, 12269 usable; 2 missing`."""
    return f'{len(prepared)} images, {sum(1 for done in prepared if not done.row.gap)} usable{_gaps(prepared)}'


def _gaps(prepared: list[Prepared]) -> str:
    """`; 2 missing` for the gaps that mean a flaw of the source."""
    counts = {gap: sum(1 for done in prepared if done.row.gap == gap) for gap in ('missing', 'undecodable')}
    return ''.join(f'; {count} {gap}' for gap, count in counts.items() if count)


if __name__ == '__main__':
    cli.run(main)
