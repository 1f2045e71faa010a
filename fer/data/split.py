"""A split, ready to run: its manifest, its windows, and the videos it officially has."""

from typing import NamedTuple

from fer.data.check import check_images
from fer.data.windows import Window, split_windows
from fer.errors import InputError
from fer.manifest import LedgerRow, Manifest, read_ledger, read_manifest


class Split(NamedTuple):
    manifest: Manifest
    windows: list[Window]
    ledger: list[LedgerRow]


def load_split(path: str, data_root: str, seq_len: int, min_frames: int, labelled: bool) -> Split:
    """Reads a manifest of face images with its ledger, cuts it into windows and checks its images.

    Args:
      path: the manifest.
      data_root: folder that its relative paths start from; '' is the manifest's own.
      seq_len: frames a window.
      min_frames: the fewest frames a video may have.
      labelled: whether labels are required.

    Raises:
      InputError: whatever is wrong with manifest, ledger or images; names the line.
    """
    manifest = read_manifest(path, data_root or None, min_frames=min_frames)
    for video in manifest.videos[:1]:  # the lines of a manifest are all of one form
        if not video.frames:
            raise InputError(f'{path}:{video.lines[0]}: no image in the line; expected [audio.csv,]face.jpg[,label]')
        if labelled and video.label is None:
            raise InputError(f'{path}:{video.lines[0]}: no label in the line; expected one to train and validate on')
    split = Split(manifest, split_windows(manifest.videos, seq_len), read_ledger(manifest))
    if labelled:
        for row in split.ledger:
            if row.label is None:
                raise InputError(f'{path}: its ledger has no label for video {row.video_id}; expected one for each')
    check_images(manifest)
    return split


def describe(split: Split) -> str:
    """`383 videos (4 without frames), 21000 frames in 520 windows from DATA/val.txt`."""
    frames = sum(window.length for window in split.windows)
    absent = len(split.ledger) - len(split.manifest.videos)
    return (
        f'{len(split.ledger)} videos ({absent} without frames), {frames} frames in {len(split.windows)} windows '
        f'from {split.manifest.path}'
    )
