# SPDX-License-Identifier: Apache-2.0
"""The answer for one video: its frames, its segments and its summary, as files that every view of it is made from.

frames.csv     a row for each person and frame, and one without a person for a frame without a face
segments.csv   stretches of equal emotion of each person, and the windows of the audio
summary.json   the verdicts, and what they were made with

A video may be hours long, so frames are read and written one by one.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer.emotions import EMOTIONS
from fer.files import atomic_write, read_object
from fer.prepare.faces import Box

FRAMES_FILE, SEGMENTS_FILE, SUMMARY_FILE = 'frames.csv', 'segments.csv', 'summary.json'
FRAMES_COLUMNS = (
    *('frame', 'time_s', 'person', 'face_found', 'x', 'y', 'w', 'h', 'detector_score'),
    *(f'p_{name}' for name in EMOTIONS),
    *('top', 'confidence'),
)
SEGMENTS_COLUMNS = ('tier', 'begin_s', 'end_s', 'duration_s', 'label', 'score')
# What other programs call these columns (OpenFace 2.0). Their `confidence` is the detector's.
OPENFACE_COLUMNS = {
    **{'frame': 'frame', 'person': 'face_id', 'time_s': 'timestamp', 'detector_score': 'confidence'},
    **{'face_found': 'success', 'confidence': 'emotion_confidence'},
}
FRAME_SECONDS = 0.04
AUDIO_TIER = 'audio'
RESPONSIBLE_USE = 'docs/responsible-use.md'  # of this software, named in every output that has room for it


class FrameRow(NamedTuple):
    """A person in a frame, or a frame without any face."""

    frame: int  # from 1
    person: int  # from 1, 0 without a face
    box: Box | None  # left, top, width, height in pixels of the upright picture, None without a face
    detector_score: float  # in [0, 1], 0 without a face
    probabilities: np.ndarray | None  # float [7], calibrated, with a sum of 1. None without an answer

    @property
    def time_s(self) -> float:
        """Returns when the frame begins, in seconds."""
        return (self.frame - 1) * FRAME_SECONDS


class Segment(NamedTuple):
    """A stretch in which a person's most probable emotion stays the same, or a window of the audio.

    Segments of people follow each other. Windows of the audio overlap by half.
    """

    tier: str  # of `name_tier`, or AUDIO_TIER
    begin_s: float
    end_s: float
    label: str  # an emotion
    score: float  # its mean probability, in [0, 1]


class Answer(NamedTuple):
    """The answer for one video, whose files are written."""

    video: Path  # the file that was read
    folder: Path  # has FRAMES_FILE, SEGMENTS_FILE and SUMMARY_FILE
    segments: Sequence[Segment]  # in the order of SEGMENTS_FILE: tier by tier, by time
    summary: dict[str, Any]  # the content of SUMMARY_FILE

    def frames(self) -> Iterator[FrameRow]:
        """Yields the rows of FRAMES_FILE, by frame and then by person."""
        return read_frames(self.folder / FRAMES_FILE)


def name_tier(person: int) -> str:
    """Returns the tier of a person, numbered from 1."""
    return f'person {person}'


def write_frames(path: Path, rows: Iterable[FrameRow], *, openface: bool = False) -> None:
    """Writes frames.csv.

    Args:
      path: of the file.
      rows: by frame, then by person.
      openface: whether columns have the names of OPENFACE_COLUMNS.
    """
    names = [OPENFACE_COLUMNS.get(name, name) if openface else name for name in FRAMES_COLUMNS]
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(names)
        writer.writerows(map(_format_row, rows))


def _format_row(row: FrameRow) -> list[str]:
    box = [f'{value:.1f}' for value in row.box] if row.box else [''] * 4
    answer = [''] * (len(EMOTIONS) + 2)
    if row.probabilities is not None:
        top = int(np.argmax(row.probabilities))
        answer = [f'{value:.6f}' for value in row.probabilities] + [EMOTIONS[top], f'{row.probabilities[top]:.6f}']
    person, found = (str(row.person), '1') if row.person else ('', '0')
    score = f'{row.detector_score:.4f}' if row.person else ''
    return [str(row.frame), f'{row.time_s:.2f}', person, found, *box, score, *answer]


def read_frames(path: Path) -> Iterator[FrameRow]:
    """Yields the rows of a frames.csv that `write_frames` wrote, under either names of columns."""
    own = {theirs: ours for ours, theirs in OPENFACE_COLUMNS.items()}
    with open(path, encoding='utf-8', newline='') as file:
        reader = csv.reader(file)
        header = next(reader)
        openface = 'face_id' in header
        names = [own.get(name, name) if openface else name for name in header]
        for fields in reader:
            yield _parse_row(dict(zip(names, fields, strict=True)))


def _parse_row(row: dict[str, str]) -> FrameRow:
    box = tuple(float(row[name]) for name in 'xywh') if row['x'] else None
    values = [row[f'p_{name}'] for name in EMOTIONS]
    return FrameRow(
        int(row['frame']),
        int(row['person'] or 0),
        box,  # type: ignore[arg-type]
        float(row['detector_score'] or 0),
        np.array(values, np.float64) if values[0] else None,
    )


def write_segments(path: Path, segments: Iterable[Segment]) -> None:
    """Writes segments.csv."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(SEGMENTS_COLUMNS)
        for tier, begin, end, label, score in segments:
            writer.writerow([tier, f'{begin:.2f}', f'{end:.2f}', f'{end - begin:.2f}', label, f'{score:.6f}'])


def read_segments(path: Path) -> list[Segment]:
    """Reads a segments.csv that `write_segments` wrote."""
    with open(path, encoding='utf-8', newline='') as file:
        return [
            Segment(row['tier'], float(row['begin_s']), float(row['end_s']), row['label'], float(row['score']))
            for row in csv.DictReader(file)
        ]


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Writes summary.json."""
    with atomic_write(path) as file:
        json.dump(summary, file, indent=1)
        file.write('\n')


def read_answer(video: Path, folder: Path) -> Answer:
    """Reads the answer for a video from its files."""
    return Answer(video, folder, read_segments(folder / SEGMENTS_FILE), read_object(folder / SUMMARY_FILE))
