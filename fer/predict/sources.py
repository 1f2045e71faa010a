# SPDX-License-Identifier: Apache-2.0
"""The videos that `--video` names, each with a folder for its answer."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.files import files_below
from fer.prepare.datasets.source_files import AUDIO_SUFFIXES, VIDEO_SUFFIXES

CAMERA = 'camera:'  # before the number of a camera and the seconds to watch it


class Source(NamedTuple):
    """A video to answer for."""

    path: str  # or camera:<index>:<seconds>
    folder: str  # name of its folder in the output

    @classmethod
    def of_camera(cls, index: int, seconds: float) -> 'Source':
        """Returns the source that is a camera, watched for some seconds."""
        return cls(f'{CAMERA}{index}:{seconds}', f'camera{index}')

    @property
    def is_camera(self) -> bool:
        return self.path.startswith(CAMERA)


def find_sources(given: Sequence[str]) -> list[Source]:
    """Finds the videos, in the order given, those of folders and patterns sorted.

    Raises:
      InputError: a file or pattern does not exist, or a folder has no video or audio.
    """
    paths = [path for one in given for path in _expand(one)]
    for path, count in Counter(os.path.realpath(path) for path in paths).items():
        if count > 1:
            raise InputError(f'--video: {path} is named {count} times; expected each video once')
    stems = Counter(Path(path).stem for path in paths)
    names = [Path(path).stem if stems[Path(path).stem] == 1 else Path(path).name for path in paths]
    for name, count in Counter(names).items():
        if count > 1:
            both = ', '.join(path for path, own in zip(paths, names, strict=True) if own == name)
            raise InputError(f'--video: {both} would share the folder {name}; answer them in two commands')
    return [Source(path, name) for path, name in zip(paths, names, strict=True)]


def _expand(given: str) -> list[str]:
    if os.path.isdir(given):
        found = [str(p) for p in files_below(Path(given)) if p.suffix.lower() in (*VIDEO_SUFFIXES, *AUDIO_SUFFIXES)]
        if not found:
            raise InputError(f'--video={given}: no video or audio in this folder')
        return found
    if os.path.exists(given):
        return [given]
    found = sorted(path for path in glob.glob(given, recursive=True) if os.path.isfile(path))
    if not found:
        raise InputError(f'--video={given}: no such file, and no file matches it as a pattern')
    return found
