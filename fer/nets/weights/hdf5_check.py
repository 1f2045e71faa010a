"""Whether the global heaps of an HDF5 file are what their sizes say, before libhdf5 reads them.

They hold text of any length, which Keras' lists of names are. libhdf5 believes the sizes: one of 0, where a damaged
file has zeros, makes it go round for ever. The form is that of the HDF Group's "HDF5 File Format Specification",
sections II.A (superblock) and III.E (global heap).
"""

import mmap

_SUPERBLOCK = b'\x89HDF\r\n\x1a\n'  # at 0, or at 512 times a power of two
_HEAP = b'GCOL\x01\0\0\0'


def check_heaps(path: str) -> None:
    """Follows the sizes in every global heap to its end.

    Raises:
      ValueError: they lead out of it, or nowhere.
    """
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        width = _width_of_sizes(content)
        place = content.find(_HEAP)
        while place >= 0:
            _check_heap(content, place, width)
            place = content.find(_HEAP, place + 1)


def _width_of_sizes(content: mmap.mmap) -> int:
    start = 0
    while content[start : start + 8] != _SUPERBLOCK:
        start = max(512, 2 * start)
        if start >= len(content):
            raise ValueError('no superblock')
    version, *_ = content[start + 8 : start + 9] or [0]
    return content[start + (14 if version < 2 else 10)]


def _check_heap(content: mmap.mmap, start: int, width: int) -> None:
    def size_at(place: int) -> int:
        return int.from_bytes(content[place : place + width], 'little')

    first = start + 8 + width
    header = 8 + width  # of an object: its number, how often it is referred to, and its size
    end = start + size_at(start + 8)
    if not first <= end <= len(content):
        raise ValueError(f'the global heap at byte {start} leads out of the file')
    place = first
    while place + header <= end:
        number, size = int.from_bytes(content[place : place + 2], 'little'), size_at(place + 8)
        # Object 0 is free space, whose size counts its header; others are filled up to whole eights.
        step = header + size + -size % 8 if number else size
        if not header <= step <= end - place:
            raise ValueError(f'the global heap at byte {start} has an object of {size} bytes at byte {place}')
        place += step
