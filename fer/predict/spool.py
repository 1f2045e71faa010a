# SPDX-License-Identifier: Apache-2.0
"""The faces of a video as records in temporary files, until it is known who has them.

Tracks become people at the end of a video. An hour of video has a hundred thousand faces, so their numbers are kept on
the disk, and so are the JPEGs if a network reads windows of them.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fer.emotions import NUM_CLASSES
from fer.predict.watch import Found

_CHUNK = 4096  # records read at a time


class Spool:
    """Records of faces, in the order in which they are added: by frame.

    Args:
      folder: gets the files.
      members: number of networks whose logits a record has.
      keeps_faces: whether the JPEGs are kept too.
    """

    def __init__(self, folder: Path, members: int, *, keeps_faces: bool) -> None:
        self._dtype = np.dtype(
            [
                *(('frame', 'i4'), ('track', 'i4'), ('box', 'f4', 4), ('score', 'f4')),
                *(('offset', 'i8'), ('size', 'i4'), ('logits', 'f4', (members, NUM_CLASSES))),
            ]
        )
        self._path = folder / 'records'
        self._records = open(self._path, 'w+b')  # noqa: SIM115 (closed by `close`)
        self._faces = open(folder / 'faces', 'w+b') if keeps_faces else None  # noqa: SIM115
        self.count = 0
        self._offset = 0

    def add(self, faces: Sequence[Found], logits: np.ndarray) -> None:
        """Adds faces, with logits float [N, M, 7], NaN where a network has not answered yet."""
        rows = np.zeros(len(faces), self._dtype)
        for row, face in zip(rows, faces, strict=True):
            row['frame'], row['track'], row['box'], row['score'] = face.frame, face.track, face.box, face.score
            row['offset'], row['size'] = self._offset, len(face.jpeg)
            if self._faces:
                self._faces.write(face.jpeg)
                self._offset += len(face.jpeg)
        rows['logits'] = logits
        self._records.write(rows.tobytes())
        self.count += len(faces)

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields the records in order, some thousand at a time: arrays with the fields frame, track, box and so on."""
        self._records.flush()
        for first in range(0, self.count, _CHUNK):
            yield self.read(range(first, min(first + _CHUNK, self.count)))

    def count_frames(self) -> int:
        """Returns the number of frames that have a face."""
        number, last = 0, 0
        for chunk in self.chunks():
            number += int(np.count_nonzero(np.diff(chunk['frame'], prepend=last)))
            last = int(chunk['frame'][-1])
        return number

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """Returns records by their numbers."""
        self._records.flush()
        size = self._dtype.itemsize
        if isinstance(rows, range):
            content = os.pread(self._records.fileno(), len(rows) * size, rows.start * size)
        else:
            content = b''.join(os.pread(self._records.fileno(), size, row * size) for row in rows)
        return np.frombuffer(content, self._dtype)

    def read_faces(self, records: np.ndarray) -> list[bytes]:
        """Returns the JPEGs of records."""
        assert self._faces is not None
        self._faces.flush()
        return [os.pread(self._faces.fileno(), int(r['size']), int(r['offset'])) for r in records]

    def set_logits(self, rows: Sequence[int], member: int, logits: np.ndarray) -> None:
        """Sets the logits of a network for records, float [N, 7]."""
        self._records.flush()
        records = self.read(rows).copy()
        records['logits'][:, member] = logits
        size = self._dtype.itemsize
        for row, record in zip(rows, records, strict=True):
            os.pwrite(self._records.fileno(), record.tobytes(), row * size)

    def close(self) -> None:
        """Closes the files."""
        self._records.close()
        if self._faces:
            self._faces.close()
