# SPDX-License-Identifier: Apache-2.0
"""Manifests and their ledgers: which frames a split has, and which videos it should have.

A manifest (.txt, UTF-8) has one frame a line: `[audio.csv,]face.jpg[,0100000]`, or `clip.csv[,0100000]` without video.
Blank lines and lines starting with # are skipped. A name with a comma, a double quote or a line break is quoted as in
CSV. Consecutive lines whose files share a parent folder are one video.

Its ledger, `train.ledger.csv` beside train.txt, has one row for each official video of the split, found or not. Every
score therefore counts all official videos. Preparation writes manifests and ledgers, and training and evaluation read
them. Only this module implements their format.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fer import emotions
from fer.errors import InputError
from fer.files import atomic_write

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')
AUDIO_SUFFIX = '.csv'
LEDGER_COLUMNS = ('video_id', 'label', 'frames_decoded', 'frames_kept', 'audio_seconds', 'gap')
GAPS = ('', 'no_face', 'no_audio', 'undecodable', 'missing')
UNKNOWN = '-'
_SEPARATORS = set('\t\r\n')  # they separate the fields of results files, so a video's id cannot contain them


class Video(NamedTuple):
    """One item of a manifest: a video, the audio of a whole video, or a still."""

    video_id: str
    label: int | None  # class index, None in an unlabelled manifest
    frames: list[str]  # paths of its face images, in time order. Empty in an audio manifest
    audio: list[str]  # paths of its audio CSVs, one per frame. Empty in a visual manifest
    lines: list[int]  # the manifest's line of each frame, from 1


class Manifest(NamedTuple):
    path: str
    videos: list[Video]

    @property
    def labelled(self) -> bool:
        """Returns True if the lines have labels. False for a manifest without lines."""
        return bool(self.videos) and self.videos[0].label is not None


class LedgerRow(NamedTuple):
    video_id: str
    label: int | None
    frames_decoded: int | None  # at 25 frames/s. None if the split has no ledger
    frames_kept: int
    audio_seconds: float | None
    gap: str  # why the video is not in the manifest, one of GAPS. '' if it is


class _Record(NamedTuple):
    """The fields of a line."""

    line: int
    audio: str
    image: str
    label: int | None
    columns: int

    @property
    def name(self) -> str:
        return self.image or self.audio


def read_manifest(
    path: str | Path, data_root: str | Path | None = None, item: str = 'frame', min_frames: int = 2
) -> Manifest:
    """Reads a manifest into videos, in the order of its lines.

    Args:
      path: the manifest.
      data_root: folder that relative paths start from. None for the manifest's own.
      item: meaning of a line. `frame`: consecutive lines of one folder are a video, whose id is the folder's name.
        `video`: each line is the audio of a video, whose id is the file's stem. `still`: each line is an image, whose
        id is its path without extension.
      min_frames: with `item='frame'`, the fewest lines a video may have. A single frame is usually a folder split by a
        sorting mistake, or one lucky detection.

    Raises:
      InputError: the manifest is missing, empty or malformed. The message names the line. A manifest without lines is
        accepted if its ledger gives a gap for every video.
    """
    path = os.fspath(path)
    root = os.path.abspath(data_root if data_root is not None else os.path.dirname(path))
    records = list(_read_records(path))
    if not records and not _explained_by_ledger(path):
        raise InputError(f'{path}: no lines; expected one frame a line')
    videos: list[Video] = []
    first_of_id: dict[str, tuple[int, str]] = {}
    previous_folder = None
    for record in records:
        folder = os.path.dirname(record.name)
        if item == 'frame' and folder == previous_folder:
            _check_same_label(path, record, videos[-1])
        else:
            videos.append(_start_video(path, record, item, first_of_id))
        if record.image:
            videos[-1].frames.append(os.path.join(root, record.image))
        if record.audio:
            videos[-1].audio.append(os.path.join(root, record.audio))
        videos[-1].lines.append(record.line)
        previous_folder = folder
    for video in videos if item == 'frame' else ():
        if len(video.lines) < min_frames:
            raise InputError(
                f'{path}:{video.lines[0]}: video {video.video_id} has {len(video.lines)} frame; expected at least '
                f'{min_frames} (--min_frames)'
            )
    return Manifest(path, videos)


def _start_video(path: str, record: _Record, item: str, first_of_id: dict[str, tuple[int, str]]) -> Video:
    """Returns a video without frames, and adds its line and folder to `first_of_id`."""
    folder, stem = os.path.split(os.path.splitext(record.name)[0])
    video_id = {'frame': os.path.basename(folder), 'video': stem}.get(item, os.path.splitext(record.name)[0])
    if not video_id:
        raise InputError(f'{path}:{record.line}: {record.name} has no parent folder to name its video')
    if video_id in first_of_id:
        raise InputError(
            f'{path}:{record.line}: {_repeated(item, record.name, folder, video_id, *first_of_id[video_id])}'
        )
    if set(video_id) & _SEPARATORS:
        raise InputError(f'{path}:{record.line}: video {video_id!r}: a name with a tab or a line break; rename it')
    first_of_id[video_id] = (record.line, folder)
    return Video(video_id, record.label, [], [], [])


def _check_same_label(path: str, record: _Record, video: Video) -> None:
    """Raises InputError if a line has another label than the first of its video."""
    if record.label != video.label:
        raise InputError(
            f'{path}:{record.line}: label {_spell(record.label)} inside video {video.video_id}, whose first '
            f'frame (line {video.lines[0]}) is {_spell(video.label)}'
        )


def _repeated(item: str, name: str, folder: str, video_id: str, line: int, first_folder: str) -> str:
    """Returns the reason why a video cannot start in a line, because an earlier line started one of the same id."""
    if item == 'video' and folder != first_folder:  # perhaps clips, whose names are the same in every video
        return (
            f'{name} has the name {video_id}, like the file in line {line}; expected one file per video, named after it'
        )
    if item != 'frame':
        return f'{name} is already in line {line}; expected each item once'
    if folder == first_folder:
        return f'video {video_id} began in line {line}, with others in between; expected its frames in successive lines'
    return (
        f'folders {first_folder} (line {line}) and {folder} share the name {video_id}; expected a name for each video'
    )


def _read_records(path: str) -> Iterator[_Record]:
    """Yields the fields of each line. Checks each line, and that it has the same columns as the first."""
    first: _Record | None = None
    for line, fields in _read_fields(path):
        *names, last = fields
        is_name = last.lower().endswith((*IMAGE_SUFFIXES, AUDIO_SUFFIX))
        label = None
        if is_name:
            names.append(last)
        else:
            try:
                label = emotions.from_one_hot(last)
            except ValueError as error:
                raise InputError(f'{path}:{line}: {error}') from None
        kinds = ['audio' if name.lower().endswith(AUDIO_SUFFIX) else 'image' for name in names]
        if kinds not in (['image'], ['audio'], ['audio', 'image']) or not all(
            name.lower().endswith((*IMAGE_SUFFIXES, AUDIO_SUFFIX)) for name in names
        ):
            raise InputError(f'{path}:{line}: found {",".join(fields)!r}; expected [audio.csv,][face.jpg][,label]')
        audio = names[0] if kinds[0] == 'audio' else ''
        image = names[-1] if kinds[-1] == 'image' else ''
        record = _Record(line, audio, image, label, len(fields))
        if first is None:
            first = record
        if (record.columns, bool(record.audio), bool(record.image)) != (
            first.columns,
            bool(first.audio),
            bool(first.image),
        ):
            raise InputError(f'{path}:{line}: {_form(record)}; line {first.line} has {_form(first)}')
        if audio and image:
            (_, audio_video, clip), (_, face_video, face) = (
                ('', '', *os.path.splitext(name)[0].split('/'))[-3:] for name in (audio, image)
            )
            numbered = clip.isdecimal() and face.isdecimal()
            if audio_video != face_video or (numbered and clip.lstrip('0') != face.lstrip('0')):
                raise InputError(
                    f'{path}:{line}: audio {clip} of {audio_video} beside face {face} of {face_video}; '
                    'expected the same video and frame'
                )
        yield record


def _read_fields(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yields (line number, fields) of each line that is neither blank nor a comment."""
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            lines = enumerate(file, start=1)
            for line, text in lines:
                if not text.strip() or text.startswith('#'):
                    continue
                try:
                    while text.count('"') % 2:  # a quoted name continues after the line break
                        more = next(lines, None)
                        if more is None:
                            raise csv.Error('a double quote that is not closed')
                        text += more[1]
                    fields, *others = csv.reader(io.StringIO(text, newline=''), strict=True)
                    if others:
                        raise csv.Error('a double quote inside a name that is not quoted')
                except csv.Error as error:
                    raise InputError(
                        f'{path}:{line}: {error} in {text.strip()[:80]!r}; quote names as in CSV'
                    ) from None
                if '\0' in text:
                    raise InputError(f'{path}:{line}: a NUL character; expected the name of a file')
                yield line, [field.strip() for field in fields]
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}; expected a manifest') from None
    except UnicodeDecodeError:
        raise InputError(f'{path}: not UTF-8 text; expected a manifest') from None


def _form(record: _Record) -> str:
    parts = [kind for kind, name in (('audio', record.audio), ('image', record.image)) if name]
    parts += ['label'] if record.label is not None else []
    return f'{record.columns} columns ({", ".join(parts)})'


def _spell(label: int | None) -> str:
    return UNKNOWN if label is None else emotions.EMOTIONS[label]


def describe_misplaced(manifest: Manifest) -> str:
    """Returns a warning if folders are named after other emotions than their videos' labels, or ''.

    A one-hot label in a different order of the classes has the right form, so no other check can find it.
    """
    misplaced, named = [], 0
    folders = [os.path.dirname((video.frames or video.audio)[0]) for video in manifest.videos]
    shared = len(os.path.commonpath(folders)) if folders else 0  # ignored, as it may be a home folder called Happy
    for video, folder in zip(manifest.videos, folders, strict=True):
        emotion = _emotion_of_folder(folder[shared:])
        if emotion is not None and video.label is not None:
            named += 1
            if emotion != video.label:
                misplaced.append((video, emotion))
    if not misplaced:
        return ''
    video, emotion = misplaced[0]
    return (
        f'{manifest.path}:{video.lines[0]}: {len(misplaced)} of {named} videos lie in a folder named after another '
        f'emotion than their label; the first has {_spell(video.label)} in a folder of {_spell(emotion)}; expected '
        f'labels in the order {", ".join(emotions.EMOTIONS)}'
    )


def _emotion_of_folder(folder: str) -> int | None:
    """Returns the class that the innermost part of a path is named after, or None."""
    for name in reversed(folder.lower().split('/')):
        if (emotion := emotions.FOLDER_CODES.get(name)) in emotions.EMOTIONS:
            return emotions.EMOTIONS.index(emotion)
    return None


def write_manifest(path: str | Path, rows: Iterable[Sequence[str]]) -> None:
    """Writes rows of fields, and quotes names that a reader would misread."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        for row in rows:
            if row[0].startswith('#'):
                csv.writer(file, lineterminator='\n', quoting=csv.QUOTE_ALL).writerow(row)
            else:
                writer.writerow(row)


def ledger_path(manifest_path: str | Path) -> Path:
    return Path(manifest_path).with_suffix('.ledger.csv')


def write_ledger(path: str | Path, rows: Iterable[LedgerRow]) -> None:
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(LEDGER_COLUMNS)
        for row in rows:
            seconds = '' if row.audio_seconds is None else f'{row.audio_seconds:.2f}'
            writer.writerow(
                [row.video_id, _spell(row.label), row.frames_decoded, row.frames_kept, seconds, row.gap],
            )


def read_ledger(manifest: Manifest) -> list[LedgerRow]:
    """Returns one row per video the split officially has, in the ledger's order.

    A label that is missing in the ledger comes from the manifest. Without a ledger, each video of the manifest has a
    row without a gap.

    Raises:
      InputError: the ledger is malformed, or a video of the manifest is missing in it or has another label there.
    """
    path = existing_ledger(manifest.path)
    if path is None:
        return [LedgerRow(v.video_id, v.label, None, len(v.lines), None, '') for v in manifest.videos]
    rows = read_ledger_file(path)
    for video in manifest.videos:
        row = rows.get(video.video_id)
        if row is None:
            raise InputError(f'{manifest.path}:{video.lines[0]}: video {video.video_id} has no row in {path}')
        if video.label is not None and row.label not in (None, video.label):
            raise InputError(
                f'{manifest.path}:{video.lines[0]}: video {video.video_id} is {_spell(video.label)} here and '
                f'{_spell(row.label)} in {path}'
            )
        if row.label is None:
            rows[video.video_id] = row._replace(label=video.label)
    return list(rows.values())


def existing_ledger(manifest_path: str) -> Path | None:
    """Returns the ledger beside a manifest, or None. People may name it train.ledger.csv or train.txt.ledger.csv."""
    for path in (ledger_path(manifest_path), Path(f'{manifest_path}.ledger.csv')):
        if path.exists():
            return path
    return None


def _explained_by_ledger(manifest_path: str) -> bool:
    path = existing_ledger(manifest_path)
    rows = read_ledger_file(path) if path else {}
    return bool(rows) and all(row.gap for row in rows.values())


def read_ledger_file(path: Path) -> dict[str, LedgerRow]:
    """Returns the rows of a ledger by video id, in the order of the file.

    Raises:
      InputError: the file is missing or malformed, or has a video twice. The message names the line.
    """
    rows: dict[str, LedgerRow] = {}
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            reader = csv.DictReader(file)
            try:
                if tuple(reader.fieldnames or ()) != LEDGER_COLUMNS:
                    raise InputError(f'{path}:1: found header {reader.fieldnames}; expected {",".join(LEDGER_COLUMNS)}')
                for fields in reader:
                    row = _ledger_row(fields)
                    if row.video_id in rows:
                        raise ValueError(f'video {row.video_id} has a second row; expected one row per video')
                    rows[row.video_id] = row
            except (ValueError, TypeError, csv.Error) as error:
                raise InputError(f'{path}:{reader.line_num}: {error}') from None
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}; expected a ledger') from None
    except UnicodeDecodeError:
        raise InputError(f'{path}: not UTF-8 text; expected a ledger') from None
    return rows


def _ledger_row(fields: dict[str, str]) -> LedgerRow:
    if None in fields or None in fields.values():
        raise ValueError(f'expected {len(LEDGER_COLUMNS)} fields')
    if set(fields['video_id']) & _SEPARATORS:
        raise ValueError(f'video {fields["video_id"]!r}: a name with a tab or a line break; rename it')
    text = fields['label']
    if text in ('', UNKNOWN):
        label = None
    else:
        label = emotions.from_one_hot(text) if text.isdigit() else emotions.from_name(text)
    if fields['gap'] not in GAPS:
        raise ValueError(f'gap {fields["gap"]!r}: expected one of {", ".join(GAPS[1:])}, or nothing')
    return LedgerRow(
        fields['video_id'],
        label,
        int(fields['frames_decoded']) if fields['frames_decoded'] else None,
        int(fields['frames_kept'] or 0),
        float(fields['audio_seconds']) if fields['audio_seconds'] else None,
        fields['gap'],
    )
