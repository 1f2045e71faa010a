# SPDX-License-Identifier: Apache-2.0
"""Checks of image files without decoding them: whether a file is whole, and whether it is shown as it is stored.

The checks find the usual damage of image folders (missing files, truncated copies, other files called .jpg) at a
fraction of the cost of decoding. Only a decoder finds damage in the middle of an image.
"""

import os
from pathlib import Path

_TAIL = 65536  # bytes searched for the end-of-image marker, because some encoders pad after it
_PNG = b'\x89PNG\r\n\x1a\n'
_ORIENTATION = 0x0112  # the EXIF tag
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9  # JPEG markers
_ALONE = (0x01, *range(0xD0, 0xD8))  # JPEG markers without a length


def image_problem(path: str | Path) -> str:
    """Returns what is wrong with a JPEG or PNG file, judged by its first and last bytes, or ''.

    Data behind the end of a JPEG is ignored, as decoders do. It may be zeros, or the video of a motion photo.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(8)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            tail = file.read()
            if head.startswith(b'\xff\xd8\xff'):
                # 0xff is escaped inside the compressed data. So 0xffd9 after the last start of scan (0xffda) is the end
                # of the image. Before the last start of scan it may be the end of a thumbnail.
                if tail.rfind(b'\xff\xd9') > tail.rfind(b'\xff\xda') and tail.rfind(b'\xff\xda') >= 0:
                    return ''
                file.seek(0)
                if jpeg_end(file.read()) is not None:
                    return ''
                return f'truncated JPEG ({size} bytes, no end-of-image marker)'
    except OSError as error:
        return f'{error.strerror}; expected an image'
    if not head:
        return 'empty file; expected an image'
    if head == _PNG:
        return '' if b'IEND' in tail else f'truncated PNG ({size} bytes, no IEND chunk)'
    return f'not a JPEG or PNG image (starts with {head!r})'


def jpeg_end(content: bytes) -> int | None:
    """Returns the position in bytes at which a JPEG ends, or None if it is truncated. Data may follow the end.

    Goes from marker to marker (ITU T.81, annex B), so that thumbnails and data behind the end do not matter.
    """
    at = 2
    while True:
        at = content.find(b'\xff', at)
        while 0 <= at < len(content) and content[at] == 0xFF:
            at += 1  # any number of 0xff may precede a marker
        if not 0 < at < len(content):
            return None
        marker = content[at]
        at += 1
        if marker == _END_OF_IMAGE:
            return at
        if marker == 0 or marker in _ALONE:  # escaped data, or a restart within a scan
            continue
        at += int.from_bytes(content[at : at + 2], 'big')


def display_note(path: str | Path) -> str:
    """Returns how the display of an image differs from its stored pixels. Reads the header only.

    Returns:
      `EXIF orientation 6` (2 to 8), `transparency`, or the two joined by ` and `. '' if the image is shown as stored,
      and for a file that is not an image.
    """
    from PIL import Image  # here, because training does not need it

    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            clear = image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info
    except Exception:  # Pillow's plugins raise various errors for a damaged header. Decoding reports the damage
        return ''
    notes = [f'EXIF orientation {orientation}'] if orientation in range(2, 9) else []
    return ' and '.join([*notes, 'transparency'] if clear else notes)


def exif_orientation(note: str) -> int:
    """Returns the orientation in a note of `display_note`, 1 if it has none."""
    return int(note.split()[2]) if note.startswith('EXIF') else 1
