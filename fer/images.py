"""Whether an image file is whole, judged by its ends.

That finds what really happens to folders of images (missing files, truncated copies, other files called .jpg) at a
fraction of the cost of decoding; damage in the middle of an image is left to the decoder.
"""

import os
from pathlib import Path

_TAIL = 65536  # bytes searched for the end-of-image marker; some encoders pad after it
_PNG = b'\x89PNG\r\n\x1a\n'


def image_problem(path: str | Path) -> str:
    """What is wrong with a JPEG or PNG file, judged by its first and last bytes; '' when nothing is."""
    try:
        with open(path, 'rb') as file:
            head = file.read(8)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            tail = file.read()
    except OSError as error:
        return f'{error.strerror}; expected an image'
    if not head:
        return 'empty file; expected an image'
    if head.startswith(b'\xff\xd8\xff'):
        # 0xff is escaped inside the compressed data, so after the last start of scan this pair is the end of the
        # image and nothing else; before it, it may be the end of a thumbnail.
        whole = tail.rfind(b'\xff\xd9') > tail.rfind(b'\xff\xda')
        return '' if whole else f'truncated JPEG ({size} bytes, no end-of-image marker)'
    if head == _PNG:
        return '' if b'IEND' in tail else f'truncated PNG ({size} bytes, no IEND chunk)'
    return f'not a JPEG or PNG image (starts with {head!r})'
