"""Whether the global heaps of an HDF5 file are what their sizes say, before libhdf5 reads them.

They hold text of any length, which Keras' lists of names are. libhdf5 believes the sizes within a heap: one of 0, where
a damaged file has zeros, makes it go round for ever. The form is that of the HDF Group's "HDF5 File Format
Specification", sections II.A (superblock) and III.E (global heap).
"""

import mmap
from collections.abc import Iterator

_SUPERBLOCK = b'\x89HDF\r\n\x1a\n'  # at 0, or at 512 times a power of two
_HEAP = b'GCOL\x01'  # and three bytes that libhdf5 does not look at


def check_heaps(path: str) -> None:
    """Follows the sizes in everything that begins as a global heap does, to its end.

    Were a heap given up and overwritten in part, in a file that was changed in place, it would be refused; Keras writes
    its files at once.

    Raises:
      ValueError: they lead nowhere.
    """
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        width = _width_of_sizes(content)
        header = 8 + width  # of a heap: its mark and size; of an object: its number, references and size
        header += -header % 8
        objects = 0
        for start in _find(content, _HEAP):
            end = start + int.from_bytes(content[start + 8 : start + 8 + width], 'little')
            if end > len(content):  # libhdf5 refuses it, or it is no heap but a number that looks like one
                continue
            place = start + header
            while place + header <= end:
                number = int.from_bytes(content[place : place + 2], 'little')
                size = int.from_bytes(content[place + 8 : place + 8 + width], 'little')
                # Object 0 is free space, whose size counts its header; others are filled up to whole eights.
                step = header + size + -size % 8 if number else size
                objects += 1
                # More than there is room for lie in heaps that overlap, which would take time without bounds.
                if not header <= step <= end - place or objects > len(content) // header:
                    raise ValueError(f'the global heap at byte {start} has an object of {size} bytes at byte {place}')
                place += step


def _width_of_sizes(content: mmap.mmap) -> int:
    """Bytes of a size in the file."""
    start = 0
    while content[start : start + 8] != _SUPERBLOCK:
        start = max(512, 2 * start)
        if start >= len(content):
            raise ValueError('no superblock')
    head = content[start + 8 : start + 15]
    if len(head) < 7:
        raise ValueError('cut off')
    return head[6 if head[0] < 2 else 2]  # head[0] is the superblock's version


def _find(content: mmap.mmap, mark: bytes) -> Iterator[int]:
    place = content.find(mark)
    while place >= 0:
        yield place
        place = content.find(mark, place + 1)
