"""Raw datasets to manifests: python -m fer.prepare --dataset=afew --source=RAW --output=DATA

Writes, for each split, DATA/<split>.txt with its ledger, and the settings in DATA/prepare_flags.txt. Of videos also
DATA/faces/ (aligned JPEGs, and frames.csv: what became of each frame), DATA/wav/, and openSMILE's features:
DATA/clips/ with DATA/<split>_clips.txt and DATA/<split>_audiovisual.txt, DATA/functionals/ with
DATA/<split>_functionals.txt. DATA/<split>_problems.csv lists what cannot be used, and why; DATA/statistics/ has lengths
and classes. Images and folders of faces stay where they are, behind links (DATA/source, DATA/faces/). Images that have
no file of their own, or whose face --detector finds, are written to DATA/stills/. Where the dataset has no splits,
people are held out, and DATA/split_subjects.csv says who.

The same command again goes on where an earlier one stopped: finished videos are known by their content, the settings
and the files they left. With --shard=2/8 a job prepares every eighth video, and says what of them cannot be used; the
job that ends last writes the manifests. Exit codes: 0 done; 1 done, but some items could not be used (they are listed);
2 bad input or a disk that takes no more.
"""

import csv
import functools
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from fer import cli
from fer.errors import InputError, one_line
from fer.files import atomic_write, remove_temporaries
from fer.manifest import ledger_path
from fer.prepare.datasets import DATASETS, Options
from fer.prepare.datasets.dfew import FOLDS
from fer.prepare.detectors import BOXES, DETECTORS, make_detector
from fer.prepare.layout import SPLITS, SourceStill, SourceVideo, Splits, set_aside_unusable
from fer.prepare.media import Choice
from fer.prepare.prepared import CLIPS, FUNCTIONALS, MANIFESTS, Prepared, write_split
from fer.prepare.records import FOLDER as RECORDS
from fer.prepare.smile.extract import CONTEXTS
from fer.prepare.still_faces import detect_stills
from fer.prepare.stills import FOLDER as STILLS
from fer.prepare.stills import LINK, link_faces, prepare_stills
from fer.prepare.summary import PROBLEMS, describe_other_people, report, report_share, summarise
from fer.prepare.videos import AUDIO_FEATURES, MISSING_FACES, PERSONS, Settings, Shard, make_workers, prepare_videos
from fer.prepare.workers import Workers
from fer.sample_rates import rates_path

flags.DEFINE_enum('dataset', 'afew', list(DATASETS), 'Layout of the source; afew_faces: faces as EmotiW cut them.')
flags.DEFINE_string('source', None, 'Folder of the dataset as it was published.', required=True)
flags.DEFINE_string('output', None, 'Folder to write to.', required=True)
flags.DEFINE_string(
    'detector',
    None,
    f'Face detector: {", ".join(sorted(DETECTORS))} (none: pictures are faces already), {BOXES} (those that AffectNet '
    'lists), or package.module:function of your own, see fer/prepare/detectors.py. Default: mtcnn for videos, boxes '
    'where the dataset lists them, and none for other stills.',
)
flags.DEFINE_integer('image_size', 112, 'Side of the aligned faces in pixels (dissertation 5.1).', lower_bound=16)
flags.DEFINE_float('margin', 0.15, 'What is kept around brows and chin, as a share of the face, each side.')
flags.DEFINE_enum(
    'person',
    'follow',
    PERSONS,
    'Whose face a frame gives. follow: one person throughout, who has most of the video, across its cuts. largest: the '
    'largest face of each frame, whoever it is, as most published AFEW pipelines did.',
)
flags.DEFINE_enum(
    'missing_faces',
    'skip',
    MISSING_FACES,
    'Frames without the face: skip them (dissertation 5.1.1), repeat the last face, or cut out where it was last.',
)
flags.DEFINE_list(
    'audio_features', list(AUDIO_FEATURES), f'openSMILE features to compute, of {", ".join(AUDIO_FEATURES)}.'
)
flags.DEFINE_enum(
    'clip_context', 'contextual', CONTEXTS, 'Whether 0.04 s clips are analysed alone, as in the dissertation.'
)
flags.DEFINE_integer(
    'video_stream',
    None,
    'Which video stream of a file to read, from 0. Default: the one that a player would take.',
    lower_bound=0,
)
flags.DEFINE_integer(
    'audio_stream',
    None,
    'Which audio stream of a file to read, from 0. Default: the one that a player would take.',
    lower_bound=0,
)
flags.DEFINE_integer(
    'sample_rate',
    None,
    "Sampling rate of the audio in Hz. Default: each file's own (dissertation 5.1.2).",
    lower_bound=8000,
    upper_bound=192000,
)
flags.DEFINE_bool('arff', False, 'Write features as ARFF too, beside the CSV.')
flags.DEFINE_integer('seed', 0, 'Chooses the people held out where a dataset has no splits, and images under the cap.')
flags.DEFINE_integer(
    'fold',
    1,
    'Fold of DFEW. Of audio by fewer than five people: which of them is held out.',
    lower_bound=1,
    upper_bound=FOLDS,
)
flags.DEFINE_integer('class_cap', None, 'Most training images of a class, for AffectNet; default: all.', lower_bound=1)
flags.DEFINE_integer('jobs', 2, 'Videos prepared at the same time.', lower_bound=1)
flags.DEFINE_string('shard', '1/1', 'Which share of the videos to prepare, i/n: the i-th of n jobs, from 1.')
flags.DEFINE_bool('overwrite', False, 'Replace what an earlier preparation left in output.')

FLAGS_FILE = 'prepare_flags.txt'
SUBJECTS_FILE = 'split_subjects.csv'
STATISTICS = 'statistics'
# What decides the output; prepare_flags.txt has these, and the source.
_RECORDED = (
    *(
        'dataset',
        'detector',
        'image_size',
        'margin',
        'person',
        'missing_faces',
        'audio_features',
        'clip_context',
        'arff',
    ),
    *('seed', 'fold', 'class_cap', 'video_stream', 'audio_stream', 'sample_rate'),
)


def main() -> int:
    began = time.monotonic()
    args = flags.FLAGS
    source, output = Path(args.source), Path(args.output)
    _check_flags()
    shard = _read_shard()
    if not source.is_dir():
        raise InputError(f'--source={source}: expected the folder of {args.dataset}; found no folder of that name')
    splits = DATASETS[args.dataset](source, Options(args.seed, args.fold, args.class_cap))
    set_aside_unusable(splits)
    settings = _read_settings(splits)
    if shard.total > 1 and not any(_are_videos(items) for items in splits.values()):
        raise InputError(f'--shard={args.shard}: for videos; --dataset={args.dataset} has images here')
    _open_output(output, args.overwrite and shard.total == 1)
    if splits.subjects:
        _write_subjects(output / SUBJECTS_FILE, splits.subjects)
    for note in splits.notes:
        print(one_line(note))
    for problem in splits.problems:
        print(one_line(problem))

    everything: list[Prepared] = []  # of this job's share; of all shares where it ends last
    finished = 0  # splits
    with make_workers(settings, output, args.jobs) as workers:
        for split, items in splits.items():
            if settings.detector != 'none' and any(isinstance(item, SourceStill) for item in items):
                stills = [item for item in items if isinstance(item, SourceStill)]
                prepared: Sequence[Prepared | None] = detect_stills(split, stills, output, workers)
            else:
                prepared = _prepare(split, items, source, output, workers, shard)
            known = [done for done in prepared if done]
            everything += known
            if len(known) == len(items):
                audio = settings.audio_features if _are_videos(items) else ()
                write_split(split, known, output, audio, faces=not _are_audio(items))
                report(split, items, known, output, _manifest_of(items, settings))
                finished += 1
            else:
                mine = [items[index] for index, done in enumerate(prepared) if done]
                report_share(split, mine, known, args.shard)
    if splits.left_out:
        print('left out: ' + ', '.join(f'{count} {reason}' for reason, count in sorted(splits.left_out.items())))
    if finished:
        _write_statistics(output)
    if finished == len(splits):
        _clean_up(output, alone=shard.total == 1)
    if warning := describe_other_people(everything):
        print(warning)
    seconds = time.monotonic() - began
    rate = f'{seconds / 60:.1f} min, {len(everything) / seconds:.3g} items/s'
    print(f'all: {summarise(everything)}; {rate} -> {output}')
    return 1 if splits.problems or any(done.problem for done in everything) else 0


def _write_statistics(output: Path) -> None:
    """Of every split that is there; again where another job has finished one meanwhile."""
    from fer.prepare.statistics.write import write_statistics  # not above: its matplotlib would load in every worker

    def find_splits() -> list[str]:
        return [split for split in SPLITS if (output / f'{split}.txt').exists()]

    written: list[str] = []
    while written != (splits := find_splits()):
        write_statistics(output, output / STATISTICS, splits)
        written = splits


def _clean_up(output: Path, alone: bool) -> None:
    """Takes away what killed jobs left half-written, where all videos are done; in OUTPUT itself others may write."""
    for name in (RECORDS, STILLS, 'wav', 'functionals'):
        for folder in (output / name).glob('**/'):
            remove_temporaries(folder)
    if alone:
        remove_temporaries(output)
        remove_temporaries(output / STATISTICS)


def _check_flags() -> None:
    """Raises InputError for what is wrong whatever the source holds."""
    args = flags.FLAGS
    if not 0 <= args.margin <= 5:
        raise InputError(f'--margin={args.margin}: expected a share from 0 to 5')
    unknown = set(args.audio_features) - set(AUDIO_FEATURES)
    if unknown:
        raise InputError(f'--audio_features: found {", ".join(sorted(unknown))}; expected {", ".join(AUDIO_FEATURES)}')
    if args.detector not in (None, BOXES, *DETECTORS):
        make_detector(args.detector)  # made here as well, so that it fails before anything is written
    if args.detector in ('none', BOXES) and args['margin'].present and args.margin:
        raise InputError(
            f'--margin={args.margin}: expected 0 with --detector={args.detector}, whose pictures are cut out'
        )


def _read_settings(splits: Splits) -> Settings:
    """Returns the settings, with the detector that fits what the source holds.

    Raises:
      InputError: the detector is not for such items.
    """
    args = flags.FLAGS
    items = [item for split in splits.values() for item in split]
    stills = [item for item in items if isinstance(item, SourceStill)]
    boxed = any(still.box for still in stills)
    if args.detector is None:
        args['detector'].value = BOXES if boxed else 'mtcnn' if _are_videos(items) and not _are_audio(items) else 'none'
        if args['margin'].present and args.margin and args.detector != 'mtcnn':
            raise InputError(f'--margin={args.margin}: expected a --detector too; these pictures are used as they are')
    if args.detector == BOXES and not boxed:
        raise InputError(f'--detector={BOXES}: --dataset={args.dataset} lists no boxes here; expected another detector')
    if args.detector != 'none' and not stills and not _are_videos(items):
        raise InputError(f'--detector={args.detector}: expected none for folders of faces, which are cut out already')
    if args.detector in ('none', BOXES):  # nothing is around a picture that is all face
        args['margin'].value = 0.0
    return Settings(
        args.detector,
        args.image_size,
        args.margin,
        args.person,
        args.missing_faces,
        tuple(sorted(args.audio_features)),
        args.clip_context,
        args.arff,
        Choice(args.video_stream, args.audio_stream),
        args.sample_rate,
    )


def _read_shard() -> Shard:
    index, _, count = flags.FLAGS.shard.partition('/')
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise InputError(f'--shard={flags.FLAGS.shard}: expected i/n with i from 1 to n, such as 2/8')
    if flags.FLAGS.overwrite and int(count) > 1:
        raise InputError('--overwrite: one job would delete the work of others; empty the folder, or use one shard')
    return Shard(int(index), int(count))


def _are_videos(items: Sequence[SourceVideo | SourceStill]) -> bool:
    """Whether a split's items have to be decoded; images, and folders of faces, are used as they are."""
    return any(isinstance(item, SourceVideo) for item in items) and not any(
        isinstance(item, SourceVideo) and item.path.is_dir() for item in items
    )


def _manifest_of(items: Sequence[SourceVideo | SourceStill], settings: Settings) -> str:
    """Returns the manifest that the summary names: of faces, or of whatever there is without pictures."""
    if not _are_audio(items):
        return MANIFESTS[0]
    return FUNCTIONALS if 'functionals' in settings.audio_features else CLIPS


def _are_audio(items: Sequence[SourceVideo | SourceStill]) -> bool:
    return any(isinstance(item, SourceVideo) and item.audio_only for item in items)


def _open_output(output: Path, overwrite: bool) -> None:
    """Makes the folder, or goes on with a preparation of the same settings, or empties it; writes the settings."""
    if output.exists() and not output.is_dir():
        raise InputError(f'--output={output}: a file; expected a folder')
    recorded = ''.join(
        f'--{name}={_spell(flags.FLAGS[name].value)}\n' for name in _RECORDED if flags.FLAGS[name].value is not None
    )
    # Hidden files are no preparation: another shard's job may be writing the settings at this moment.
    if output.exists() and any(not path.name.startswith('.') for path in output.iterdir()):
        if not (output / FLAGS_FILE).exists():
            raise InputError(f'--output={output}: holds files but no {FLAGS_FILE}; expected a new or empty folder')
        earlier = (output / FLAGS_FILE).read_text(encoding='utf-8', errors='replace').splitlines()
        changed = sorted(set(earlier).symmetric_difference(recorded.splitlines()))
        changed = [line for line in changed if not line.startswith('--source=')]
        if changed and not overwrite:
            raise InputError(
                f'--output={output}: holds a preparation with other settings ({" ".join(changed)}); --overwrite '
                'replaces it'
            )
        if overwrite:
            _empty(output)
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / FLAGS_FILE) as file:
        file.write(recorded + f'--source={flags.FLAGS.source}\n')


def _spell(value: object) -> str:
    return ','.join(value) if isinstance(value, list | tuple) else str(value)


def _empty(output: Path) -> None:
    """Takes away what preparation writes, and nothing else."""
    for name in ('faces', 'wav', *AUDIO_FEATURES, STILLS, RECORDS, STATISTICS):
        shutil.rmtree(output / name, ignore_errors=True)  # takes links away, not what they lead to
    for name in (LINK, SUBJECTS_FILE):
        (output / name).unlink(missing_ok=True)
    for split in SPLITS:  # the split may not be in the source any more
        (output / PROBLEMS.format(split)).unlink(missing_ok=True)
        for form in MANIFESTS:
            manifest = output / form.format(split)
            manifest.unlink(missing_ok=True)
            ledger_path(manifest).unlink(missing_ok=True)
            rates_path(manifest).unlink(missing_ok=True)


def _write_subjects(path: Path, subjects: dict[str, str]) -> None:
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(('subject', 'split'))
        writer.writerows(sorted(subjects.items()))


def _prepare(
    split: str,
    items: Sequence[SourceVideo | SourceStill],
    source: Path,
    output: Path,
    workers: Workers,
    shard: Shard,
) -> Sequence[Prepared | None]:
    """What came of each item of a split; None for what other shards have to do, until all is done."""
    videos = [item for item in items if isinstance(item, SourceVideo)]
    if _are_videos(items):
        return prepare_videos(split, videos, output, workers, shard)
    if videos:
        return link_faces(split, videos, output)
    return prepare_stills(split, [item for item in items if isinstance(item, SourceStill)], source, output)


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
