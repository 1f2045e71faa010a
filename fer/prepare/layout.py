# SPDX-License-Identifier: Apache-2.0
"""The items of a dataset as they lie on disk, grouped into splits, and the checks that every dataset passes."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from fer import emotions
from fer.errors import InputError

SPLITS = ('train', 'val', 'test')
NAMED_TWICE = 'named twice (the first line counts)'  # reason in `Splits.left_out`
_LONGEST_NAME = 240  # bytes. File systems allow 255, and the files written for a video add a suffix to its name.


class SourceVideo(NamedTuple):
    """One video of a dataset as it lies on disk."""

    video_id: str
    label: int | None  # class index, None if unknown
    path: Path  # a video file, or a folder of its face images
    folder: str  # where its frames go below OUTPUT/faces, such as Train_AFEW/Angry/004514600. It ends with the id.
    problem: str = ''  # reason why a listed video cannot be used, '' if it can
    audio_only: bool = False  # True for a recording without pictures


class SourceStill(NamedTuple):
    """One image of a dataset as it lies on disk."""

    name: str  # its path below the source, or below OUTPUT/stills if the image has no file of its own
    label: int | None  # class index, None if unknown
    path: Path | None  # None if the image has no file of its own
    pixels: bytes = b''  # grey values of a square image, row by row
    problem: str = ''  # reason why a listed image cannot be used, '' if it can
    box: tuple[float, float, float, float] | None = None  # left, top, width, height of its face, if the dataset has it


Item = TypeVar('Item', bound=SourceVideo | SourceStill)


class Splits(dict[str, list[Item]], Generic[Item]):
    """The items of each split, in the source's order, and what else the source holds.

    Attributes:
      left_out: how many items are left out, by reason, such as a class beyond the seven.
      problems: one line for each file that cannot be used and belongs to no split.
      subjects: the split of each subject. Empty if the dataset has its own splits.
      people: the subject of each item. Empty if the dataset has its own splits.
      notes: what was decided about the splits, one line each.
    """

    def __init__(self, items: dict[str, list[Item]] | None = None):
        super().__init__(items or {})
        self.left_out: Counter[str] = Counter()
        self.problems: list[str] = []
        self.subjects: dict[str, str] = {}
        self.people: dict[Item, str] = {}
        self.notes: list[str] = []


def find_class(codes: Mapping, code: int | str) -> tuple[int | None, str]:
    """Looks up the class of a dataset's own code.

    Args:
      codes: the dataset's codes with the names of their classes, from `fer.emotions`.
      code: the code to look up.

    Returns:
      (class index, '') for one of the seven classes, (None, name) for a class beyond them, (None, '') if the code is
      unknown.
    """
    name = codes.get(code, '')
    return (emotions.EMOTIONS.index(name), '') if name in emotions.EMOTIONS else (None, name)


def set_aside_unusable(splits: Splits) -> None:
    """Moves the items that no manifest or ledger can hold to `splits.problems`.

    - Names that are not UTF-8, or have a tab or a line break, because results files are lines separated by tabs.
    - Videos whose names leave no room for the suffixes of the files that are written.
    - Items of a labelled split whose label is unknown, because they can be neither trained on nor scored.
    """
    for split, items in splits.items():
        labelled = any(item.label is not None for item in items)
        for item in list(items):
            name = item.folder if isinstance(item, SourceVideo) else item.name
            reason = _reason_unusable(item, name, labelled)
            if reason is not None:
                items.remove(item)
                splits.problems.append(f'{split}: {name!r}: {reason}')


def _reason_unusable(item: SourceVideo | SourceStill, name: str, labelled: bool) -> str | None:
    if set(name) & set('\t\r\n') or name != name.encode(errors='replace').decode():
        return 'a name with a tab or a line break, or not in UTF-8; rename the file'
    if isinstance(item, SourceVideo) and max(len(part.encode()) for part in name.split('/')) > _LONGEST_NAME:
        return f'a name of more than {_LONGEST_NAME} bytes; rename the file'
    return item.problem if labelled and item.label is None else None


def require_usable_items(splits: Splits[Item], source: str) -> None:
    """Raises an error if the lists of a source exist but its images or videos do not. Its folder must be wrong.

    Args:
      splits: the items of every split.
      source: name of the source for the error.

    Raises:
      InputError: a split is empty, or not a single item can be used.
    """
    for split, items in splits.items():
        if not items:
            raise InputError(f'{source}: no item of the seven classes in split {split}')
    items = [item for split in splits.values() for item in split]
    if all(item.problem for item in items):
        first = f'; the first is {items[0].path}: {items[0].problem}' if items else ''
        raise InputError(f'{source}: none of the {len(items)} items it names can be used{first}')
