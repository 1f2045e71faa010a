"""Finds missing and damaged images before a run is paid for, and names the one that stopped it."""

from concurrent.futures import ThreadPoolExecutor

from fer.errors import InputError
from fer.images import image_problem
from fer.manifest import Manifest, Video
from fer.progress import progress

_THREADS = 16  # files are opened, not decoded, so the wait is the file system's (NFS above all)


def check_images(manifest: Manifest) -> None:
    """Opens every image of the manifest and looks at its first and last bytes, see fer/images.py.

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
