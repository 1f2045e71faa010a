# SPDX-License-Identifier: Apache-2.0
"""Writes the face of each still as an aligned JPEG. A detector finds the face, or the dataset lists its box.

Of several faces the largest is taken. An image without a face has a row in the ledger. The dissertation lost such
stills (2.2.1, 5.1.1, 9.1).

OUTPUT/records/<split>.stills.jsonl is a journal with a line for each finished image, so that a stopped preparation can
resume. A line counts while the image, the settings, the versions and the written file are unchanged.
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
from fer.prepare.prepared import Prepared, without_audio
from fer.prepare.processes import process_state
from fer.prepare.records import FOLDER as RECORDS
from fer.prepare.records import digest_bytes, key_of_content
from fer.prepare.stills import FOLDER, NOT_READABLE, pixels_of, read_picture
from fer.prepare.tracking import NO_FACE
from fer.prepare.video_files import encode_jpeg
from fer.prepare.workers import Workers
from fer.progress import progress

_PORTION = 4096  # images that are given to the processes at a time
# Width of the border that repeats the edge of an image before the search, as a share of the shorter side. It helps with
# faces that fill their picture: of the faces in 300 images of FER2013, MTCNN finds 84% without it and 91% with it.
_BORDER = 0.15
_REVISION = 1  # raise it when this code writes something different for the same image


class StillTask(NamedTuple):
    """An image to prepare."""

    still: SourceStill
    record: dict | None  # its record of an earlier run


class Outcome(NamedTuple):
    """The result of a task."""

    prepared: Prepared
    record: dict | None  # the new record for the journal. None if the journal has it or the next run must try again.


def detect_stills(split: str, stills: Sequence[SourceStill], output: Path, workers: Workers) -> list[Prepared]:
    """Writes the face of each image of a split. Images without a face and unreadable images have a gap in the ledger.

    Raises:
      OSError: a file cannot be written, for example because the disk is full.
    """
    journal = output / RECORDS / f'{split}.stills.jsonl'
    records = read_journal(journal)
    tasks = [StillTask(still, records.get(still.name)) for still in stills]
    journal.parent.mkdir(parents=True, exist_ok=True)
    prepared = []
    with naming(journal), open(journal, 'a', encoding='utf-8') as file:
        file.write('\n')  # ends a line that a killed run left half-written
        bar = progress(_run_tasks(workers, tasks), label=f'preparing {split}', unit='image', total=len(tasks))
        for task, outcome in zip(tasks, bar, strict=True):
            prepared.append(outcome.prepared)
            if outcome.record:
                file.write(json.dumps(outcome.record | {'name': task.still.name}) + '\n')
    return prepared


def _run_tasks(workers: Workers, tasks: Sequence[StillTask]) -> Iterator[Outcome]:
    for first in range(0, len(tasks), _PORTION):
        yield from workers.map(_run_task, tasks[first : first + _PORTION], _report_crash)


def read_journal(path: Path) -> dict[str, dict]:
    """Returns the last record of each image by its name. Lines that are not records are skipped."""
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


def _report_crash(task: StillTask) -> Outcome:
    return Outcome(_make_unusable(task.still, 'undecodable', 'the process that prepared it crashed twice'), None)


def _run_task(task: StillTask) -> Outcome:
    """Writes the face of one image, unless an earlier run has written it."""
    _, settings, output = process_state()
    still = task.still
    if still.problem:
        return Outcome(_make_unusable(still, 'missing', still.problem), None)
    try:
        content = still.pixels if still.path is None else still.path.read_bytes()
    except OSError as error:
        return Outcome(_make_unusable(still, 'undecodable', error.strerror or str(error)), None)
    key = key_of_content(content, (_REVISION, still.box, *settings))
    path = output / _name_jpeg(still)
    if task.record and task.record.get('key') == key:
        earlier = _load_earlier(still, task.record, path)
        if earlier:
            return Outcome(earlier, None)
    prepared, jpeg_digest = _write_face(still, path)
    return Outcome(prepared, _make_record(key, prepared, jpeg_digest))


def _write_face(still: SourceStill, path: Path) -> tuple[Prepared, str]:
    """Writes the largest face of an image to `path`. Returns the result and the file's digest, '' without a file."""
    detect, settings, _ = process_state()
    image, problem = _read_image(still)
    if image is None:
        return _make_unusable(still, 'undecodable', problem), ''
    if settings.detector == BOXES:
        faces, problem = _face_of_box(still.box, image)
    else:
        border = round(_BORDER * min(image.shape[:2]))
        image = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
        faces = detect(image)
    if not faces:
        return _make_unusable(still, NO_FACE, problem), ''
    largest = max(faces, key=lambda face: face.box[2] * face.box[3])
    jpeg = encode_jpeg(align(image, largest, settings.image_size, settings.margin))
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):  # a half-written file does no harm, because its record is not written
        path.write_bytes(jpeg)
    return _make_usable(still, len(faces)), digest_bytes(jpeg)


def _read_image(still: SourceStill) -> tuple[np.ndarray | None, str]:
    """Returns the image, uint8 [H, W, 3] RGB, and ''. If it cannot be read, returns None and the problem."""
    if still.path is None:
        return np.repeat(pixels_of(still)[:, :, None], 3, axis=2), ''
    if still.path.suffix.lower() in IMAGE_SUFFIXES and (problem := image_problem(still.path)):
        return None, problem
    image = read_picture(still.path, display_note(still.path))
    return (None, NOT_READABLE) if image is None else (image[:, :, ::-1], '')


def _face_of_box(box: Box | None, image: np.ndarray) -> tuple[list[Face], str]:
    """Returns the face of a dataset's box: the square around the box's middle, with its longer side.

    Args:
      box: None if the dataset has none for this image.
      image: uint8 [H, W, 3].

    Returns:
      The face and '', or no face and the problem of the box.
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


def _name_jpeg(still: SourceStill) -> str:
    return f'{FOLDER}/{os.path.splitext(still.name)[0]}.jpg'


def _make_record(key: str, prepared: Prepared, digest: str) -> dict:
    gap, problem, facts = prepared.row.gap, prepared.problem, prepared.facts
    return {'key': key, 'gap': gap, 'problem': problem, 'facts': facts, 'digest': digest}


def _load_earlier(still: SourceStill, record: dict, path: Path) -> Prepared | None:
    """Returns the result of an earlier run, or None if its file is missing or was changed."""
    try:
        if record['gap']:
            return _make_unusable(still, record['gap'], record['problem'])
        if record['digest'] == digest_bytes(path.read_bytes()):
            return _make_usable(still, 1)._replace(facts=dict(record['facts']))
    except (OSError, KeyError, TypeError, ValueError):
        pass
    return None


def _make_usable(still: SourceStill, faces: int) -> Prepared:
    name = _name_jpeg(still)
    prepared = without_audio(LedgerRow(os.path.splitext(name)[0], still.label, 1, 1, None, ''), [name], '')
    return prepared._replace(facts={'several faces': 'took the largest'} if faces > 1 else {})


def _make_unusable(still: SourceStill, gap: str, problem: str) -> Prepared:
    name = os.path.splitext(_name_jpeg(still))[0]
    frames = 1 if gap == NO_FACE else 0
    return without_audio(LedgerRow(name, still.label, frames, 0, None, gap), [], problem)
