# SPDX-License-Identifier: Apache-2.0
"""Finds the files of a dataset's folder. Hidden files are skipped, because archives made on a Mac are full of them."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from fer.errors import InputError
from fer.files import files_below
from fer.manifest import IMAGE_SUFFIXES

VIDEO_SUFFIXES = (  # of common containers that FFmpeg reads
    *('.avi', '.mp4', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv', '.3gp', '.3g2', '.asf'),
    *('.divx', '.f4v', '.m2ts', '.mts', '.ts', '.mxf', '.ogv', '.qt', '.rm', '.rmvb', '.vob', '.y4m'),
)
AUDIO_SUFFIXES = ('.wav', '.flac', '.mp3', '.ogg', '.oga', '.opus', '.m4a', '.aac', '.aif', '.aiff', '.wma')


def describe_contents(folder: Path) -> str:
    """Returns a folder's first ten names for an error message, or a note that it is a file or missing."""
    if not folder.is_dir():
        return 'a file' if folder.exists() else 'no folder of that name'
    names = sorted(path.name for path in folder.iterdir())
    return f'{names[:10]}' + (f' and {len(names) - 10} more' if len(names) > 10 else '')


def first_existing(source: Path, names: Iterable[str]) -> Path:
    """Returns the first of `names` that exists below `source`.

    Raises:
      InputError: none exists. The message lists the names, and what the folder holds instead.
    """
    names = list(names)
    for name in names:
        if (source / name).exists():
            return source / name
    raise InputError(f'--source={source}: expected {" or ".join(names)}; found {describe_contents(source)}')


def list_files(folder: Path) -> list[Path]:
    """Returns the visible files of a folder, sorted."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith('.') and not path.is_dir())


def list_folders(folder: Path) -> list[Path]:
    """Returns the visible folders of a folder, sorted."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith('.') and path.is_dir())


def list_in_time_order(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Returns the files of a folder with one of `suffixes`, `2.jpg` before `10.jpg`."""
    found = [path for path in list_files(folder) if path.suffix.lower() in suffixes]
    # Names are compared by (number, text) pairs, so that a number is never compared with a text.
    return sorted(found, key=lambda path: [(int(d or 0), t) for d, t in re.findall(r'([0-9]*)([^0-9]*)', path.name)])


def find_videos_below(folder: Path) -> list[Path]:
    """Returns the visible video files at any depth, sorted."""
    return [path for path in _find_visible(folder) if path.suffix.lower() in VIDEO_SUFFIXES]


def find_recordings_below(folder: Path, is_recording: Callable[[Path], bool]) -> tuple[list[Path], bool, Counter[str]]:
    """Finds a dataset's videos, or its audio files if it has no videos.

    Args:
      folder: searched at any depth.
      is_recording: decides by its name if a file belongs to the dataset.

    Returns:
      The visible files, sorted. True if they are audio files. The number of other files by kind.
    """
    paths = _find_visible(folder)
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    audio = [path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES]
    audio_only = any(map(is_recording, audio)) and not any(map(is_recording, videos))
    found = audio if audio_only else videos
    taken = set(found)
    return found, audio_only, Counter(describe_other_file(path) for path in paths if path not in taken)


def _find_visible(folder: Path) -> list[Path]:
    return [
        path for path in files_below(folder) if not any(part.startswith('.') for part in path.relative_to(folder).parts)
    ]


def describe_other_file(path: Path) -> str:
    """Returns the kind of a file that is left out, such as `.txt file`, for `Splits.left_out`."""
    suffix = ascii(path.suffix.lower())[1:-1]  # a file's name may hold bytes that are not text
    return f'{suffix or "no suffix"} file'
