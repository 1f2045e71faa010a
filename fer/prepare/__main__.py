# SPDX-License-Identifier: Apache-2.0
"""Prepares a raw dataset for training: python -m fer.prepare --dataset=afew --source=RAW --output=DATA

Writes for each split:
- DATA/<split>.txt, the manifest, with its ledger
- DATA/<split>_problems.csv, which lists the items that cannot be used, and why

Writes for videos also:
- DATA/faces/, aligned JPEGs, and frames.csv with the status of each frame
- DATA/wav/
- DATA/clips/, openSMILE's features of 0.04 s clips, with DATA/<split>_clips.txt and DATA/<split>_audiovisual.txt
- DATA/functionals/, openSMILE's features of whole videos, with DATA/<split>_functionals.txt. Sets other than emo_large
  have DATA/functionals_<set>/ and DATA/<split>_functionals_<set>.txt

Images and folders of faces stay where they are, behind links (DATA/source, DATA/faces/). Images that have no file of
their own, or whose face --detector finds, are written to DATA/stills/. DATA/prepare_flags.txt has the settings, and
DATA/statistics/ has lengths and classes. If the dataset has no splits, people are held out, and
DATA/split_subjects.csv lists them. --people_folds also writes DATA/fold0/ and so on, with the manifests of each fold.

The same command resumes an earlier one that was stopped. A video is not prepared again if its content, the settings and
the written files are unchanged. With --shard=2/8 a job prepares every eighth video and prints which of these cannot be
used. The job that ends last writes the manifests.

Exit codes: 0 done, 1 done but some items could not be used (they are listed), 2 bad input or a full disk.
"""

import functools
import time
from pathlib import Path

from absl import flags

from fer import cli
from fer.errors import InputError, one_line
from fer.prepare.datasets import DATASETS, Options
from fer.prepare.datasets.dfew import FOLDS
from fer.prepare.detectors import BOXES, DETECTORS, make_detector
from fer.prepare.folds import number_folds, write_folds
from fer.prepare.layout import SourceStill, Splits, set_aside_unusable
from fer.prepare.media import Choice
from fer.prepare.output_folder import open_output, remove_leftovers, write_all_statistics, write_subjects
from fer.prepare.prepare_split import Job, are_audio, need_decoding, prepare_split
from fer.prepare.prepared import Prepared
from fer.prepare.processes import make_workers
from fer.prepare.settings import AUDIO_FEATURES, MISSING_FACES, PERSONS, Settings
from fer.prepare.smile.extract import CONTEXTS
from fer.prepare.smile.sets import EMO_LARGE, SETS, name_functionals
from fer.prepare.summary import describe_other_people, summarise
from fer.prepare.videos import Shard

flags.DEFINE_enum(
    'dataset', 'afew', list(DATASETS), 'Layout of the source. afew_faces reads the faces that EmotiW cut out.'
)
flags.DEFINE_string('source', None, 'Folder of the dataset as it was published.', required=True)
flags.DEFINE_string('output', None, 'Folder to write to.', required=True)
flags.DEFINE_string(
    'detector',
    None,
    f'Face detector: {", ".join(sorted(DETECTORS))}, {BOXES}, or package.module:function of your own (see '
    f'fer/prepare/detectors.py). none uses pictures as they are, {BOXES} uses those that AffectNet lists. Default: '
    'mtcnn for videos, boxes if the dataset lists them, none for other stills.',
)
flags.DEFINE_integer('image_size', 112, 'Side of the aligned faces in pixels (dissertation 5.1.1).', lower_bound=16)
flags.DEFINE_float(
    'margin',
    0.15,
    'Space around brows and chin on each side, as a share of the face, from -0.25 to 5. Less than 0 cuts tighter.',
)
flags.DEFINE_enum(
    'person',
    'follow',
    PERSONS,
    'Person whose face is taken from a frame. follow: the person who has most of the video, across its cuts. largest: '
    'the largest face of each frame, whoever it is, as most published AFEW pipelines did.',
)
flags.DEFINE_enum(
    'missing_faces',
    'skip',
    MISSING_FACES,
    'Treatment of frames without the face. skip: leave them out (dissertation 5.1.1). hold: repeat the last face. '
    'reuse_box: cut out the place where the face was last.',
)
flags.DEFINE_list(
    'audio_features',
    list(AUDIO_FEATURES),
    f'openSMILE features to compute, of {", ".join(AUDIO_FEATURES)} (dissertation 5.1.2). Empty for none.',
)
flags.DEFINE_list(
    'opensmile_set',
    [EMO_LARGE],
    f"openSMILE's sets of functionals to compute, of {', '.join(SETS)}. emo_large is the dissertation's. The others "
    'are beside it, in functionals_<set>/.',
)
flags.DEFINE_enum(
    'clip_context',
    'contextual',
    CONTEXTS,
    'Audio that openSMILE uses for the features of a 0.04 s clip. isolated: the clip alone (dissertation 5.1.2). '
    'contextual: also the audio around it.',
)
flags.DEFINE_integer(
    'video_stream', None, 'Video stream of a file to read, from 0. Default: the one that players choose.', lower_bound=0
)
flags.DEFINE_integer(
    'audio_stream', None, 'Audio stream of a file to read, from 0. Default: the one that players choose.', lower_bound=0
)
flags.DEFINE_integer(
    'sample_rate',
    None,
    "Sampling rate of the audio in Hz. Default: each file's own (dissertation 5.1.2).",
    lower_bound=8000,
    upper_bound=192000,
)
flags.DEFINE_bool('arff', False, 'Write features as ARFF too, beside the CSV.')
flags.DEFINE_integer(
    'seed',
    0,
    'Seed that chooses the people held out if a dataset has no splits, and the images kept under --class_cap.',
)
flags.DEFINE_integer(
    'fold',
    1,
    'Fold of DFEW. For audio of fewer than five people: the person who is held out.',
    lower_bound=1,
    upper_bound=FOLDS,
)
flags.DEFINE_integer(
    'people_folds',
    None,
    'Number of folds of people for cross-validation. Writes the manifests of each fold too, to DATA/fold0/ and so on: '
    'val has the people of the fold, train all others. For videos and audio of datasets without splits. The fold is '
    "the person's number modulo the number of folds.",
    lower_bound=2,
)
flags.DEFINE_integer('class_cap', None, 'Most training images of a class, for AffectNet. Default: all.', lower_bound=1)
flags.DEFINE_integer('jobs', 2, 'Videos or stills prepared at the same time.', lower_bound=1)
flags.DEFINE_string('shard', '1/1', 'Share of the videos to prepare, i/n: the i-th of n jobs, from 1.')
flags.DEFINE_bool('overwrite', False, 'Replace an earlier preparation in the output folder.')

# The flags that decide what is written. prepare_flags.txt has these, and the source.
_RECORDED = (
    *('dataset', 'detector', 'image_size', 'margin', 'person', 'missing_faces', 'audio_features', 'clip_context'),
    *('arff', 'seed', 'fold', 'class_cap', 'video_stream', 'audio_stream', 'sample_rate'),
    *('opensmile_set', 'people_folds'),
)


def main() -> int:
    began = time.monotonic()
    args = flags.FLAGS
    source, output = Path(args.source), Path(args.output)
    _check_flags()
    shard = _read_shard()
    splits = _find_items(source)
    folds = _number_folds(splits)
    settings = _read_settings(splits)
    if shard.total > 1 and not any(need_decoding(items) for items in splits.values()):
        raise InputError(f'--shard={args.shard}: only videos can be shared; --dataset={args.dataset} has images here')
    open_output(output, _spell_recorded_flags(), args.source, overwrite=args.overwrite and shard.total == 1)
    if splits.subjects:
        write_subjects(output, splits.subjects)
    for line in (*splits.notes, *splits.problems):
        print(one_line(line))
    everything: list[Prepared] = []  # the items of this job's share, or of all shares if it ends last
    people: list[tuple[str, Prepared]] = []  # of finished splits
    finished = 0  # number of splits
    with make_workers(settings, output, args.jobs) as workers:
        job = Job(source, output, settings, shard, workers)
        for split, items in splits.items():
            prepared, split_finished = prepare_split(split, items, job)
            everything += prepared
            finished += split_finished
            if folds and split_finished:
                people += zip((splits.people[item] for item in items), prepared, strict=True)
    if splits.left_out:
        print('left out: ' + ', '.join(f'{count} {reason}' for reason, count in sorted(splits.left_out.items())))
    if finished:
        write_all_statistics(output)
    if finished == len(splits):
        if folds:
            audio_only = any(are_audio(items) for items in splits.values())
            write_folds(output, people, folds, settings.audio_features, faces=not audio_only)
        remove_leftovers(output, alone=shard.total == 1)
    if warning := describe_other_people(everything):
        print(warning)
    seconds = time.monotonic() - began
    rate = f'{seconds / 60:.1f} min, {len(everything) / seconds:.3g} items/s'
    print(f'all: {summarise(everything)}; {rate} -> {output}')
    return 1 if splits.problems or any(item.problem for item in everything) else 0


def _check_flags() -> None:
    """Raises InputError for flags that are wrong whatever the source holds."""
    args = flags.FLAGS
    if not -0.25 <= args.margin <= 5:
        raise InputError(f'--margin={args.margin}: expected a share from -0.25 to 5')
    unknown = set(args.audio_features) - set(AUDIO_FEATURES)
    if unknown:
        raise InputError(f'--audio_features: found {", ".join(sorted(unknown))}; expected {", ".join(AUDIO_FEATURES)}')
    unknown = set(args.opensmile_set) - set(SETS)
    if unknown or not args.opensmile_set:
        raise InputError(f'--opensmile_set={",".join(args.opensmile_set)}: expected some of {", ".join(SETS)}')
    if args['opensmile_set'].present and 'functionals' not in args.audio_features:
        raise InputError('--opensmile_set: expected functionals in --audio_features')
    if args.detector not in (None, 'mtcnn'):  # MTCNN takes seconds to load
        make_detector(args.detector)  # so that an error comes before anything is written
    if args.detector in ('none', BOXES) and args['margin'].present and args.margin:
        raise InputError(
            f'--margin={args.margin}: expected 0 with --detector={args.detector}, because its pictures are cut out'
        )


def _read_shard() -> Shard:
    index, _, count = flags.FLAGS.shard.partition('/')
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise InputError(f'--shard={flags.FLAGS.shard}: expected i/n with i from 1 to n, such as 2/8')
    if flags.FLAGS.overwrite and int(count) > 1:
        raise InputError('--overwrite: one job would delete the work of others; empty the folder, or use one shard')
    return Shard(int(index), int(count))


def _find_items(source: Path) -> Splits:
    args = flags.FLAGS
    if not source.is_dir():
        raise InputError(f'--source={source}: expected the folder of {args.dataset}; found no folder of that name')
    splits = DATASETS[args.dataset](source, Options(args.seed, args.fold, args.class_cap))
    set_aside_unusable(splits)
    return splits


def _number_folds(splits: Splits) -> dict[str, int]:
    """Returns the fold of each person, empty without --people_folds."""
    args = flags.FLAGS
    if not args.people_folds:
        return {}
    if not splits.people or not all(need_decoding(items) for items in splits.values()):
        raise InputError(f'--people_folds={args.people_folds}: --dataset={args.dataset} names no people in its videos')
    return number_folds(set(splits.people.values()), args.people_folds)


def _read_settings(splits: Splits) -> Settings:
    """Returns the settings. Chooses the default of --detector by the items, and sets --margin to 0 for cut out faces.

    Raises:
      InputError: the detector does not fit the items, or the margin does not fit the detector.
    """
    args = flags.FLAGS
    items = [item for split in splits.values() for item in split]
    stills = [item for item in items if isinstance(item, SourceStill)]
    boxed = any(still.box for still in stills)
    if args.detector is None:
        without_boxes = 'mtcnn' if need_decoding(items) and not are_audio(items) else 'none'
        args['detector'].value = BOXES if boxed else without_boxes
        if args['margin'].present and args.margin and args.detector != 'mtcnn':
            raise InputError(f'--margin={args.margin}: expected a --detector too; these pictures are used as they are')
    if args.detector == BOXES and not boxed:
        raise InputError(f'--detector={BOXES}: --dataset={args.dataset} lists no boxes here; expected another detector')
    if args.detector != 'none' and not stills and not need_decoding(items):
        raise InputError(f'--detector={args.detector}: expected none for folders of faces, which are cut out already')
    if args.detector in ('none', BOXES):  # there is nothing around a picture that is all face
        args['margin'].value = 0.0
    return Settings(
        detector=args.detector,
        image_size=args.image_size,
        margin=args.margin,
        person=args.person,
        missing_faces=args.missing_faces,
        audio_features=_name_audio_features(),
        clip_context=args.clip_context,
        arff=args.arff,
        streams=Choice(args.video_stream, args.audio_stream),
        sample_rate=args.sample_rate,
    )


def _name_audio_features() -> tuple[str, ...]:
    """Returns --audio_features, with the names of the functionals of each --opensmile_set."""
    args = flags.FLAGS
    names = {feature for feature in args.audio_features if feature != 'functionals'}
    if 'functionals' in args.audio_features:
        names |= set(map(name_functionals, args.opensmile_set))
    return tuple(sorted(names))


def _spell_recorded_flags() -> str:
    """Returns the flags that decide what is written, as lines of a flagfile."""
    values = {name: flags.FLAGS[name].value for name in _RECORDED}
    if values['opensmile_set'] == [EMO_LARGE]:
        del values['opensmile_set']  # so that data prepared before there were other sets count as prepared
    lists = {name: ','.join(value) for name, value in values.items() if isinstance(value, list | tuple)}
    return ''.join(f'--{name}={value}\n' for name, value in (values | lists).items() if value is not None)


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
