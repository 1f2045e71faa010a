"""Whether a MATLAB file of version 5 to 7 is what its tags say, before SciPy reads it.

SciPy believes the tags: a damaged one makes its compiled reader crash, which no exception tells of, or count to a
number that was never written. The form is that of MathWorks' "MAT-File Format", levels 5 and up.
"""

import io
import math
import os
import struct
import zlib
from typing import BinaryIO

_MATRIX, _COMPRESSED = 14, 15
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}  # bytes, by type of data
_NAMES = (1, 2, 16)  # types of data that names have
_CELL, _STRUCT, _OBJECT, _CHAR, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 16, 17
_NUMBERS = range(6, 16)
_COMPLEX = 0x800
_MOST_DIMENSIONS = 32  # that NumPy has
_DEEPEST = 50  # arrays within arrays
_CHUNK = 2**20


def check_matlab(path: str) -> None:
    """Follows the tags of every array to its end; values are skipped.

    Raises:
      ValueError: they contradict each other, or lead out of the file; or an array is sparse, as no weights are.
    """
    with open(path, 'rb') as file:
        order = '<' if file.read(128)[126:] == b'IM' else '>'
        while tag := file.read(8):
            kind, size = struct.unpack(f'{order}II', _whole(tag, 8))
            if kind == _COMPRESSED:
                end = file.tell() + size
                inflated = io.BufferedReader(_Inflated(file, size))
                kind, size = struct.unpack(f'{order}II', _whole(inflated.read(8), 8))
                _Reader(inflated, order).check(kind, size)
                file.seek(end)
            else:
                _Reader(file, order).check(kind, size)


class _Inflated(io.RawIOBase):
    """What a compressed part of a file holds, read as it goes."""

    def __init__(self, file: BinaryIO, size: int):
        self._file, self._left, self._zlib = file, size, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = b''
        while not data and not self._zlib.eof:
            chunk = self._zlib.unconsumed_tail
            if not chunk:
                chunk = self._file.read(min(self._left, _CHUNK))
                self._left -= len(chunk)
            if not chunk:
                break
            try:
                data = self._zlib.decompress(chunk, len(buffer))
            except zlib.error as error:
                raise ValueError(str(error)) from None
        buffer[: len(data)] = data
        return len(data)


class _Reader:
    """Follows tags in a file that is read from front to back."""

    def __init__(self, file: BinaryIO, order: str):
        self._file, self._order = file, order

    def check(self, kind: int, size: int, depth: int = 0) -> None:
        """An array, whose tag has been read."""
        if kind != _MATRIX:
            raise ValueError(f'data of type {kind} where an array belongs')
        if depth > _DEEPEST:
            raise ValueError('arrays nested too deeply')
        if not size:  # how MATLAB writes an empty one
            return
        self._left = size
        flags, _ = self._numbers((6,), 'flags')
        of_class = flags & 0xFF
        if of_class == _OPAQUE:  # has no dimensions, but three names
            for _ in range(3):
                self._element(_NAMES)
            self._inner(1, depth)
            self._skip(self._left)
            return
        dimensions = self._numbers((5, 6), 'dimensions')
        if not 2 <= len(dimensions) <= _MOST_DIMENSIONS or min(dimensions) < 0:
            raise ValueError(f'an array of dimensions {dimensions}')
        self._element(_NAMES)
        count = math.prod(dimensions)
        if of_class in (_CELL, _STRUCT, _OBJECT, _FUNCTION):
            if of_class == _OBJECT:
                self._element(_NAMES)
            if of_class in (_STRUCT, _OBJECT):
                (longest,) = self._numbers((5, 6), 'length of names')
                names = self._element(_NAMES)
                if longest < 1 or names % longest:
                    raise ValueError(f'{names} bytes of names of {longest} each')
                count *= names // longest
            self._inner(1 if of_class == _FUNCTION else count, depth)
        elif of_class == _CHAR:  # in any of three encodings, so that bytes and characters are of different numbers
            size = self._element(tuple(_WIDTHS))
            if size and not count <= size <= 4 * count:
                raise ValueError(f'{count} characters in {size} bytes')
        elif of_class in _NUMBERS:
            for _ in range(2 if flags & _COMPLEX else 1):
                self._element(tuple(_WIDTHS), count)
        else:
            raise ValueError(f'an array of class {of_class}')
        self._skip(self._left)

    def _inner(self, count: int, depth: int) -> None:
        if count > self._left // 8:
            raise ValueError(f'{count} arrays in {self._left} bytes')
        for _ in range(count):
            kind, size = struct.unpack(f'{self._order}II', self._read(8))
            left = self._left - size
            if left < 0:
                raise ValueError(f'an array of {size} bytes in {self._left}')
            self.check(kind, size, depth + 1)
            self._left = left

    def _numbers(self, kinds: tuple[int, ...], what: str) -> tuple[int, ...]:
        """The values of an element of 32-bit numbers."""
        found, data, size = self._tag()
        if found not in kinds or size % 4 or not 0 < size <= 4 * _MOST_DIMENSIONS:
            raise ValueError(f'{what} of type {found} in {size} bytes')
        if data is None:
            data = self._read(size)
            self._skip(min(-size % 8, self._left))
        return struct.unpack(f'{self._order}{size // 4}{"i" if found == 5 else "I"}', data[:size])

    def _element(self, kinds: tuple[int, ...], count: int | None = None) -> int:
        """Bytes of an element of one of some types, which is skipped; with `count`, that is how many values it has."""
        kind, data, size = self._tag()
        if kind not in kinds or (count is not None and size != count * _WIDTHS[kind]):
            raise ValueError(f'data of type {kind} in {size} bytes')
        if data is None:
            self._skip(size)
            self._skip(min(-size % 8, self._left))
        return size

    def _tag(self) -> tuple[int, bytes | None, int]:
        """Type, data where they are in the tag itself, and bytes."""
        tag = self._read(8)
        kind, size = struct.unpack(f'{self._order}II', tag)
        if not kind >> 16:
            return kind, None, size
        if kind >> 16 > 4:
            raise ValueError(f'{kind >> 16} bytes in a tag')
        return kind & 0xFFFF, tag[4:], kind >> 16

    def _read(self, size: int) -> bytes:
        self._take(size)
        return _whole(self._file.read(size), size)

    def _skip(self, size: int) -> None:
        self._take(size)
        if self._file.seekable():
            end = self._file.seek(size, os.SEEK_CUR)
            if end > os.fstat(self._file.fileno()).st_size:
                raise ValueError('it breaks off')
            return
        while size:
            size -= len(_whole(self._file.read(min(size, _CHUNK)), min(size, _CHUNK)))

    def _take(self, size: int) -> None:
        if size > self._left:
            raise ValueError(f'{size} bytes in {self._left}')
        self._left -= size


def _whole(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise ValueError('it breaks off')
    return data
