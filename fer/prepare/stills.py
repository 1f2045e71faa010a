# SPDX-License-Identifier: Apache-2.0
"""Links images that are used unchanged: stills, and folders of faces that were cut out before.

The images stay where they are. OUTPUT/source is a link to the source, and OUTPUT/faces/<video> is a link to a folder of
faces. Manifests therefore have short paths that do not depend on the machine. If the data moves, only the links change.

An image is written again, below OUTPUT/stills, if a manifest cannot name it, or if it is not shown as its pixels are
stored. The copy has its EXIF orientation applied, and a grey background in place of transparency.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from fer.files import atomic_files, atomic_write
from fer.image_files import display_note, exif_orientation, image_problem
from fer.manifest import IMAGE_SUFFIXES, LedgerRow
from fer.prepare.datasets.source_files import list_in_time_order
from fer.prepare.layout import SourceStill, SourceVideo
from fer.prepare.prepared import KEPT, MIN_FRAMES, Prepared, without_audio
from fer.progress import progress

LINK = 'source'
FOLDER = 'stills'  # of the images that are written again
BACKGROUND = 127  # grey value behind transparency, which becomes 0 in the networks' input of [-1, 1]
NOT_READABLE = 'not an image that OpenCV can read'
_TIFF = (b'II*\0', b'MM\0*')
# {EXIF orientation (EXIF 2.32, 4.6.4): turns the stored image [H, W, 3] upright}
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: np.rot90(image),
}


def prepare_stills(split: str, stills: Sequence[SourceStill], source: Path, output: Path) -> list[Prepared]:
    """Checks images. Writes a PNG of each image that cannot be linked. Unusable images have a gap in the ledger."""
    if any(still.path for still in stills):
        _link_to(output / LINK, source)
    return [_prepare_still(still, output) for still in progress(stills, label=f'preparing {split}', unit='image')]


def link_faces(split: str, videos: Sequence[SourceVideo], output: Path) -> list[Prepared]:
    """Links folders of face images to the places of prepared faces."""
    return [_link_video(video, output) for video in progress(videos, label=f'preparing {split}', unit='video')]


def _prepare_still(still: SourceStill, output: Path) -> Prepared:
    note = display_note(still.path) if still.path and not still.problem else ''
    converted = still.path is None or still.path.suffix.lower() not in IMAGE_SUFFIXES or note != ''
    if converted:
        name = f'{FOLDER}/{os.path.splitext(still.name)[0]}.png'
    else:
        name = f'{LINK}/{still.name}'
    gap, problem = ('missing', still.problem) if still.problem else ('', '')
    if not problem:
        if converted or still.path is None:
            problem = _write_converted(still, output / name, note)
        else:
            problem = image_problem(still.path)
        gap = 'undecodable' if problem else ''
    kept = 0 if gap else 1
    row = LedgerRow(os.path.splitext(name)[0], still.label, kept, kept, None, gap)
    return without_audio(row, [] if gap else [name], problem)


def _write_converted(still: SourceStill, path: Path, note: str) -> str:
    """Writes an image as PNG. Returns the reason if that is not possible, or ''."""
    if still.path is None:
        _write_png(path, pixels_of(still))
        return ''
    image = read_picture(still.path, note)
    if still.path.suffix.lower() in IMAGE_SUFFIXES and (problem := image_problem(still.path)):
        return problem
    if image is None:
        return NOT_READABLE
    _write_png(path, image)
    return ''


def pixels_of(still: SourceStill) -> np.ndarray:
    """Returns the grey values of a still without a file of its own, uint8 [S, S]."""
    side = int(len(still.pixels) ** 0.5)
    return np.frombuffer(still.pixels, np.uint8).reshape(side, side)


def read_picture(path: Path, note: str) -> np.ndarray | None:
    """Decodes an image as it should be shown.

    Args:
      path: any image that OpenCV reads. Values of more than 8 bits are scaled down to 8.
      note: the image's `display_note`.

    Returns:
      uint8 [H, W, 3] BGR, upright, with BACKGROUND behind transparency. None if OpenCV cannot read it.
    """
    coded = np.fromfile(path, np.uint8)
    try:
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if coded.size else None
        if image is not None and 'transparency' in note:
            layers = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)
            if layers is not None and layers.ndim == 3 and layers.shape[2] == 4:
                share = layers[..., 3:].astype(np.float32) / (65535 if layers.dtype == np.uint16 else 255)
                image = np.rint(image * share + BACKGROUND * (1 - share)).astype(np.uint8)
    except cv2.error:  # the header has an impossible size
        return None
    if image is None or coded[:4].tobytes() in _TIFF:  # OpenCV turns TIFF in spite of IMREAD_IGNORE_ORIENTATION
        return image
    return _TURNS[exif_orientation(note)](image)


def _link_video(video: SourceVideo, output: Path) -> Prepared:
    problem = video.problem or ('' if video.path.is_dir() else 'a file among folders of faces')
    if problem:
        return without_audio(LedgerRow(video.video_id, video.label, 0, 0, None, 'missing'), [], problem)
    try:
        images = list_in_time_order(video.path)
    except OSError as error:
        return without_audio(
            LedgerRow(video.video_id, video.label, 0, 0, None, 'undecodable'), [], error.strerror or ''
        )
    bad = {path: problem for path in images if (problem := image_problem(path))}
    kept = [path.name for path in images if path not in bad]
    gap = '' if len(kept) >= MIN_FRAMES else 'undecodable' if bad else 'no_face'
    problem = '; '.join(f'{path.name}: {problem}' for path, problem in list(bad.items())[:3])
    if kept:
        link = output / 'faces' / video.folder
        link.parent.mkdir(parents=True, exist_ok=True)
        _link_to(link, video.path)
    row = LedgerRow(video.video_id, video.label, len(images), len(kept), None, gap)
    prepared = without_audio(row, [f'faces/{video.folder}/{name}' for name in kept], problem)
    return prepared._replace(statuses={KEPT: len(kept), 'undecodable': len(bad)})


def _link_to(link: Path, folder: Path) -> None:
    """Makes `link` point to the folder, even if an earlier run linked it to a different folder."""
    target = folder.resolve()
    if link.is_symlink() and link.readlink() == target:
        return
    with atomic_files(link.parent) as files:
        (files / link.name).symlink_to(target, target_is_directory=True)


def _write_png(path: Path, image: np.ndarray) -> None:
    """Writes uint8 [H, W] grey or [H, W, 3] BGR. Raises OSError if it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, 'wb', durable=False) as file:  # a sync of thousands is slow, and training checks them again
        file.write(cv2.imencode('.png', image)[1].tobytes())
