"""Faces of stills: found by a detector, or named by the dataset's boxes, then aligned and written as JPEG.

The largest face of an image is taken. An image without one is a row of the ledger (dissertation 2.2.1, 5.1.1 and 9.1
lost stills so). OUTPUT/records/<split>.stills.jsonl has a line for each image that is done, so that a run that was
stopped resumes. A line counts while the image, the settings, the versions and the written file are what they were.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fer.files import naming
from fer.image_files import display_note, image_problem
from fer.manifest import IMAGE_SUFFIXES, LedgerRow
from fer.prepare.detectors import BOXES
from fer.prepare.faces import TEMPLATE, Box, Face, align
from fer.prepare.layout import SourceStill
from fer.prepare.prepared import Prepared, without_sound
from fer.prepare.records import FOLDER as RECORDS
from fer.prepare.records import digest_bytes, key_of_content
from fer.prepare.stills import FOLDER, pixels_of, read_picture
from fer.prepare.tracking import NO_FACE
from fer.prepare.videos import encode_jpeg, process_state
from fer.prepare.workers import Workers
from fer.progress import progress

_PORTION = 4096  # images handed to the processes at a time
# Repeated edge around an image that is searched, as a share of its shorter side. A face that fills its picture is cut
# off at chin or brow: of 300 images of FER2013, MTCNN finds 84% without and 91% with it.
_BORDER = 0.15
_REVISION = 1  # raised when this code begins to write something else for the same image


class Task(NamedTuple):
    still: SourceStill
    remembered: dict | None  # what an earlier run wrote of it


class Outcome(NamedTuple):
    done: Prepared
    record: dict | None  # to be remembered; None where it is remembered already, or nothing is known


def detect_stills(split: str, stills: Sequence[SourceStill], output: Path, workers: Workers) -> list[Prepared]:
    """Writes the face of each image of a split. An image that shows none, or cannot be read, has a gap.

    Raises:
      OSError: what is written does not fit, or may not be written.
    """
    journal = output / RECORDS / f'{split}.stills.jsonl'
    remembered = read_journal(journal)
    tasks = [Task(still, remembered.get(still.name)) for still in stills]
    journal.parent.mkdir(parents=True, exist_ok=True)
    prepared = []
    with naming(journal), open(journal, 'a', encoding='utf-8') as file:
        file.write('\n')  # ends a line that a killed run left half-written
        bar = progress(_map(workers, tasks), label=f'preparing {split}', unit='image', total=len(tasks))
        for task, outcome in zip(tasks, bar, strict=True):
            prepared.append(outcome.done)
            if outcome.record:
                file.write(json.dumps(outcome.record | {'name': task.still.name}) + '\n')
    return prepared


def _map(workers: Workers, tasks: Sequence[Task]) -> Iterator[Outcome]:
    for first in range(0, len(tasks), _PORTION):
        yield from workers.map(_prepare, tasks[first : first + _PORTION], _died)


def read_journal(path: Path) -> dict[str, dict]:
    """Returns the last record of each image by its name. Lines that are no record are passed over."""
    found = {}
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            for line in file:
                try:
                    record = json.loads(line)
                except ValueError:  # cut off by a kill
                    continue
                if isinstance(record, dict) and isinstance(record.get('name'), str):
                    found[record['name']] = record
    except FileNotFoundError:
        pass
    return found


def _died(task: Task) -> Outcome:
    return Outcome(_unusable(task.still, 'undecodable', 'the process that prepared it died, twice'), None)


def _prepare(task: Task) -> Outcome:
    """Writes the face of one image, unless an earlier run has."""
    detect, settings, output = process_state()
    still = task.still
    if still.problem:
        return Outcome(_unusable(still, 'missing', still.problem), None)
    try:
        content = still.pixels if still.path is None else still.path.read_bytes()
    except OSError as error:
        return Outcome(_unusable(still, 'undecodable', error.strerror or str(error)), None)
    key = key_of_content(content, (_REVISION, still.box, *settings))
    path = output / _written_name(still)
    if task.remembered and task.remembered.get('key') == key:
        known = _recall(still, task.remembered, path)
        if known:
            return Outcome(known, None)
    image, problem = _read(still)
    if image is None:
        done = _unusable(still, 'undecodable', problem)
        return Outcome(done, _record(key, done, ''))
    if settings.detector == BOXES:
        faces, problem = _boxed(still.box, image)
    else:
        border = round(_BORDER * min(image.shape[:2]))
        image = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
        faces = detect(image)
    if not faces:
        done = _unusable(still, NO_FACE, problem)
        return Outcome(done, _record(key, done, ''))
    jpeg = encode_jpeg(align(image, max(faces, key=_size), settings.image_size, settings.margin))
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):  # a half-written one is no harm, because its record is not written
        path.write_bytes(jpeg)
    done = _usable(still, len(faces))
    return Outcome(done, _record(key, done, digest_bytes(jpeg)))


def _read(still: SourceStill) -> tuple[np.ndarray | None, str]:
    """Returns uint8 [H, W, 3] RGB and '', or None and what is wrong."""
    if still.path is None:
        return np.repeat(pixels_of(still)[:, :, None], 3, axis=2), ''
    if still.path.suffix.lower() in IMAGE_SUFFIXES and (problem := image_problem(still.path)):
        return None, problem
    image = read_picture(still.path, display_note(still.path))
    return (None, 'no image that OpenCV reads') if image is None else (image[:, :, ::-1], '')


def _boxed(box: Box | None, image: np.ndarray) -> tuple[list[Face], str]:
    """Returns the face of a box that a dataset gives: the square around its middle, of its longer side.

    Without a box that lies in the image there is none, and a text says what is wrong.
    """
    if box is None:
        return [], 'no box'
    left, top, width, height = box
    side = max(width, height)
    corner = np.array([left + (width - side) / 2, top + (height - side) / 2])
    shape = np.array(image.shape[1::-1])
    middle = corner + side / 2
    if side > 2 * shape.max() or (middle < 0).any() or (middle > shape).any():
        return [], f'box {", ".join(f"{value:g}" for value in box)} in an image of {shape[0]}x{shape[1]} pixels'
    return [Face((float(corner[0]), float(corner[1]), side, side), TEMPLATE * side + corner, 1.0)], ''


def _size(face: Face) -> float:
    return face.box[2] * face.box[3]


def _written_name(still: SourceStill) -> str:
    return f'{FOLDER}/{os.path.splitext(still.name)[0]}.jpg'


def _record(key: str, done: Prepared, digest: str) -> dict:
    return {'key': key, 'gap': done.row.gap, 'problem': done.problem, 'facts': done.facts, 'digest': digest}


def _recall(still: SourceStill, record: dict, path: Path) -> Prepared | None:
    """Returns what an earlier run left of an image. None where its file is missing or was changed."""
    try:
        if record['gap']:
            return _unusable(still, record['gap'], record['problem'])
        if record['digest'] == digest_bytes(path.read_bytes()):
            return _usable(still, 1)._replace(facts=dict(record['facts']))
    except (OSError, KeyError, TypeError, ValueError):
        pass
    return None


def _usable(still: SourceStill, faces: int) -> Prepared:
    name = _written_name(still)
    done = without_sound(LedgerRow(os.path.splitext(name)[0], still.label, 1, 1, None, ''), [name], '')
    return done._replace(facts={'several faces': 'took the largest'} if faces > 1 else {})


def _unusable(still: SourceStill, gap: str, problem: str) -> Prepared:
    name = os.path.splitext(_written_name(still))[0]
    frames = 1 if gap == NO_FACE else 0
    return without_sound(LedgerRow(name, still.label, frames, 0, None, gap), [], problem)
