"""Finds missing and damaged images before a run is paid for, and names the one that stopped it."""

import os
from concurrent.futures import ThreadPoolExecutor

from fer.errors import InputError
from fer.manifest import Manifest, Video
from fer.progress import progress

_THREADS = 16  # files are opened, not decoded, so the wait is the file system's (NFS above all)
_TAIL = 65536  # bytes searched for the end-of-image marker; some encoders pad after it
_PNG = b'\x89PNG\r\n\x1a\n'


def check_images(manifest: Manifest) -> None:
    """Opens every image of the manifest and looks at its first and last bytes.

    That finds what really happens to face folders (missing files, truncated copies, other files called .jpg) at a
    fraction of the cost of decoding; damage in the middle of an image is left to the decoder.

    Raises:
      InputError: for the first bad image in the manifest's order, naming its line.
    """
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        progress(total=len(manifest.videos), label='checking images', unit='video') as bar,
    ):
        for problem in pool.map(lambda video: _first_problem(manifest.path, video), manifest.videos):
            bar.update()
            if problem:
                pool.shutdown(cancel_futures=True)
                raise InputError(problem)


def _first_problem(manifest_path: str, video: Video) -> str:
    for line, path in zip(video.lines, video.frames, strict=True):
        problem = image_problem(path)
        if problem:
            return f'{manifest_path}:{line}: {path}: {problem}'
    return ''


def image_problem(path: str) -> str:
    """What is wrong with an image file, judged by its ends; '' when nothing is."""
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
