"""What the datasets' modules have in common: items as they lie on disk, list files, splits by subject."""

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from fer import emotions
from fer.errors import InputError
from fer.files import files_below
from fer.manifest import IMAGE_SUFFIXES

VIDEO_SUFFIXES = (  # of the containers that ffmpeg reads and people have
    *('.avi', '.mp4', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv', '.3gp', '.3g2', '.asf'),
    *('.divx', '.f4v', '.m2ts', '.mts', '.ts', '.mxf', '.ogv', '.qt', '.rm', '.rmvb', '.vob', '.y4m'),
)
AUDIO_SUFFIXES = ('.wav', '.flac', '.mp3', '.ogg', '.oga', '.opus', '.m4a', '.aac', '.aif', '.aiff', '.wma')
SPLITS = ('train', 'val', 'test')
FEW = 5  # subjects; of fewer, one is held out at a time
_HELD_OUT = 0.1  # of the subjects, for val and for test each
_LONGEST = 240  # bytes of a name: file systems take 255, and what is written of a video is called after it


class SourceVideo(NamedTuple):
    """One video of a dataset as it lies on disk."""

    video_id: str
    label: int | None
    path: Path  # a video file, or a folder of its face images
    folder: str  # where its frames go below OUTPUT/faces, e.g. Train_AFEW/Angry/004514600; ends with the id
    problem: str = ''  # why a video that a list names cannot be used; '' if it can
    audio_only: bool = False  # whether it is a recording without pictures


class SourceStill(NamedTuple):
    """One image of a dataset as it lies on disk."""

    name: str  # its path below the source, or the one it gets below OUTPUT/stills when it comes as pixels
    label: int | None
    path: Path | None  # where it lies; None when it comes as pixels
    pixels: bytes = b''  # grey values of a square image, row by row
    problem: str = ''  # why an image that a list names cannot be used; '' if it can
    box: tuple[float, float, float, float] | None = None  # left, top, width, height of its face, if the set says


Item = TypeVar('Item', bound=SourceVideo | SourceStill)


class Splits(dict[str, list[Item]], Generic[Item]):
    """The items of each split, sorted as the source sorts them, and what else the source holds.

    Attributes:
      left_out: how many items are none of ours, by reason, such as a class beyond the seven.
      problems: one line for each thing that cannot be used and belongs to no split.
      subjects: the split of each subject; empty where the dataset comes with its own splits.
      notes: what was decided about the splits, a line each.
    """

    def __init__(self, items: dict[str, list[Item]] | None = None):
        super().__init__(items or {})
        self.left_out: Counter[str] = Counter()
        self.problems: list[str] = []
        self.subjects: dict[str, str] = {}
        self.notes: list[str] = []


def class_of(codes: Mapping, code: int | str) -> tuple[int | None, str]:
    """(class index, '') of a dataset's own code; (None, name) of a class beyond the seven; (None, '') if unknown."""
    name = codes.get(code, '')
    return (emotions.EMOTIONS.index(name), '') if name in emotions.EMOTIONS else (None, name)


def contents(folder: Path) -> str:
    """What an error message says of a folder: its first names, or that it is none."""
    if not folder.is_dir():
        return 'a file' if folder.exists() else 'no folder of that name'
    names = sorted(path.name for path in folder.iterdir())
    return f'{names[:10]}' + (f' and {len(names) - 10} more' if len(names) > 10 else '')


def first_existing(source: Path, names: Iterable[str]) -> Path:
    """The first of `names` that exists below `source`.

    Raises:
      InputError: none does; says what was looked for and what is there.
    """
    names = list(names)
    for name in names:
        if (source / name).exists():
            return source / name
    raise InputError(f'--source={source}: expected {" or ".join(names)}; found {contents(source)}')


def read_rows(path: Path, delimiter: str = ',', columns: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yields (line number, stripped fields) of each line of a list file that is not blank.

    Args:
      path: UTF-8 text.
      delimiter: one character; a blank stands for any run of blanks.
      columns: how many fields every line has; None takes the first line's number.

    Raises:
      InputError: the file cannot be read, or a line has another number of fields.
    """
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            if delimiter == ' ':
                rows = ((line, text.split()) for line, text in enumerate(file, start=1))
            else:
                reader = csv.reader(file, delimiter=delimiter, strict=True)
                rows = ((reader.line_num, [field.strip() for field in fields]) for fields in reader)
            for line, fields in rows:
                if fields in ([], ['']):
                    continue
                columns = columns or len(fields)
                if len(fields) != columns:
                    found = f'{len(fields)} columns in {" ".join(fields)[:60]!r}'
                    raise InputError(f'{path}:{line}: found {found}; expected {columns}')
                yield line, fields
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}; expected a list file') from None
    except UnicodeDecodeError:
        raise InputError(f'{path}: not UTF-8 text; expected a list file') from None
    except csv.Error as error:
        raise InputError(f'{path}:{reader.line_num}: {error}; expected a list file') from None


def read_table(path: Path, names: Collection[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line number, fields by name) of a CSV file with a header, which may have its columns in any order.

    Raises:
      InputError: as `read_rows`, or the header lacks one of `names`.
    """
    header: list[str] = []
    for line, fields in read_rows(path):
        if header:
            yield line, dict(zip(header, fields, strict=True))
            continue
        header = fields
        if not set(names) <= set(header):
            raise InputError(f'{path}:{line}: found columns {header}; expected {", ".join(names)}')
    if not header:
        raise InputError(f'{path}: no lines; expected columns {", ".join(names)}')


def number(text: str, path: Path, line: int, what: str) -> int:
    """A whole number that may be written as `3.0`.

    Raises:
      InputError: it is something else; names the file, the line and `what` it should be.
    """
    if not re.fullmatch(r'[+-]?[0-9]{1,9}(\.0*)?', text):
        raise InputError(f'{path}:{line}: found {text!r}; expected {what} as a whole number')
    return int(text.partition('.')[0])


def in_time_order(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Files of a folder, `2.jpg` before `10.jpg`."""
    found = [path for path in files_in(folder) if path.suffix.lower() in suffixes]
    # (digits, text) pairs compare as numbers first, and never a number with a text.
    return sorted(found, key=lambda path: [(int(d or 0), t) for d, t in re.findall(r'([0-9]*)([^0-9]*)', path.name)])


def files_in(folder: Path) -> list[Path]:
    """Its visible files, sorted; archives made on a Mac hold a hidden companion of each."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith('.') and not path.is_dir())


def folders_in(folder: Path) -> list[Path]:
    """Its visible folders, sorted."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith('.') and path.is_dir())


def videos_below(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Visible video files at any depth, sorted; and how many other files there are, in the words of `other_file`."""
    paths = _visible(folder)
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    return videos, _count_others(paths, videos)


def recordings_below(folder: Path, wanted: Callable[[Path], bool]) -> tuple[list[Path], bool, Counter[str]]:
    """Finds a dataset's recordings: its videos, or its audio files where no video is wanted.

    Args:
      folder: searched at any depth.
      wanted: whether a file is one of the dataset's, by its name.

    Returns:
      Visible files, sorted; whether they are audio files; how many other files there are, in the words of `other_file`.
    """
    paths = _visible(folder)
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    audio = [path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES]
    audio_only = any(map(wanted, audio)) and not any(map(wanted, videos))
    found = audio if audio_only else videos
    return found, audio_only, _count_others(paths, found)


def _count_others(paths: Iterable[Path], found: Iterable[Path]) -> Counter[str]:
    taken = set(found)
    return Counter(other_file(path) for path in paths if path not in taken)


def _visible(folder: Path) -> list[Path]:
    return [
        path for path in files_below(folder) if not any(part.startswith('.') for part in path.relative_to(folder).parts)
    ]


def other_file(path: Path) -> str:
    """What `Splits.left_out` calls a file that is none of the kinds looked for: `.txt file`."""
    suffix = ascii(path.suffix.lower())[1:-1]  # names of files may hold what is no text
    return f'{suffix or "no suffix"} file'


def split_by_subject(subjects: Iterable[str], seed: int) -> dict[str, str]:
    """The split of each subject: a tenth for val, a tenth for test, at least one each; the rest is train.

    The order of a hash decides, so that the same seed gives the same split on every machine and Python.

    Raises:
      InputError: fewer than three subjects.
    """
    order = sorted(set(subjects), key=lambda subject: hashlib.sha256(f'{seed}:{subject}'.encode()).digest())
    if len(order) < len(SPLITS):
        raise InputError(f'found subjects {order}; expected at least {len(SPLITS)}, to hold out two')
    held_out = max(1, round(len(order) * _HELD_OUT))
    parts = (order[2 * held_out :], order[:held_out], order[held_out : 2 * held_out])
    return {subject: split for split, part in zip(SPLITS, parts, strict=True) for subject in sorted(part)}


def distribute(items: Iterable[tuple[str, Item]], seed: int) -> Splits[Item]:
    """Splits (subject, item) pairs by subject."""
    items = list(items)
    subjects = split_by_subject((subject for subject, _ in items), seed)
    splits: Splits[Item] = Splits({split: [] for split in SPLITS})
    for subject, item in items:
        splits[subjects[subject]].append(item)
    splits.subjects = subjects
    return splits


def hold_out(items: Iterable[tuple[str, Item]], seed: int, fold: int) -> Splits[Item]:
    """Splits (subject, item) pairs by subject; with fewer than FEW subjects, one of them is val and there is no test.

    Args:
      items: with their subjects.
      seed: of the split where there are enough subjects.
      fold: which subject is held out where there are few, from 1 in the order of their names.

    Raises:
      InputError: there is no such fold, or a single subject.
    """
    items = list(items)
    names = sorted({subject for subject, _ in items})
    if len(names) >= FEW:
        return distribute(items, seed)
    if not 1 <= fold <= len(names) or len(names) < 2:
        raise InputError(f'--fold={fold}: found {len(names)} subjects; expected at least 2, and a fold of each')
    held_out = names[fold - 1]
    splits: Splits[Item] = Splits({'train': [], 'val': []})
    splits.subjects = {name: 'val' if name == held_out else 'train' for name in names}
    for subject, item in items:
        splits[splits.subjects[subject]].append(item)
    splits.notes.append(f'{len(names)} subjects: fold {fold} holds out {held_out} for val, and there is no test split')
    return splits


def set_aside(splits: Splits) -> None:
    """Moves to `splits.problems` what no manifest or ledger can hold.

    These are names that are not UTF-8 or have a tab or a line break (results files are tab-separated lines), videos
    whose names leave no room for the suffixes of what is written, and lines of a list whose label is none of the
    dataset's: they could be neither trained on nor scored.
    """
    for split, items in splits.items():
        labelled = any(item.label is not None for item in items)
        for item in list(items):
            name = item.folder if isinstance(item, SourceVideo) else item.name
            if _unwritable(name):
                reason = 'a name with a tab or a line break, or not in UTF-8; rename the file'
            elif isinstance(item, SourceVideo) and _longest_part(name) > _LONGEST:
                reason = f'a name of more than {_LONGEST} bytes; rename the file'
            elif labelled and item.label is None:
                reason = item.problem
            else:
                continue
            items.remove(item)
            splits.problems.append(f'{split}: {name!r}: {reason}')


def _unwritable(name: str) -> bool:
    return bool(set(name) & set('\t\r\n')) or name != name.encode(errors='replace').decode()


def _longest_part(name: str) -> int:
    return max(len(part.encode()) for part in name.split('/'))


def insist_on_some(splits: Splits[Item], what: str) -> None:
    """Refuses a source whose lists are there and whose images or videos are not: that is a wrong folder.

    Raises:
      InputError: a split is empty, or not one item can be used.
    """
    for split, items in splits.items():
        if not items:
            raise InputError(f'{what}: no item of the seven classes in split {split}')
    items = [item for split in splits.values() for item in split]
    if not any(not item.problem for item in items):
        where = f'; the first is {items[0].path}: {items[0].problem}' if items else ''
        raise InputError(f'{what}: none of the {len(items)} items it names can be used{where}')
