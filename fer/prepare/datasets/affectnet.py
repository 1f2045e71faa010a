# SPDX-License-Identifier: Apache-2.0
"""AffectNet, the CSV release and the newer one. Of its eleven classes the first seven are used (dissertation 2.2.1).

- CSV release: training.csv and validation.csv. Their column subDirectory_filePath names an image below
  Manually_Annotated_Images, and expression gives its class. Without a header, columns have the documented order.
- Newer release: train_set/annotations/<n>_exp.npy beside train_set/images/<n>.jpg, and the same in val_set.

The CSV release also gives the box of each face. By default images are cropped to it (--detector=boxes). Images of the
newer release are cropped already. The test set was never published.
"""

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

from fer import emotions
from fer.arrays import load_array
from fer.errors import InputError
from fer.prepare.datasets.list_files import parse_whole_number, read_rows
from fer.prepare.datasets.source_files import describe_contents, first_existing, list_folders
from fer.prepare.layout import NAMED_TWICE, SourceStill, Splits, find_class, require_usable_items

LISTS = {'train': 'training.csv', 'val': 'validation.csv'}
SETS = {'train': 'train_set', 'val': 'val_set'}
COLUMNS = (
    'subDirectory_filePath',
    'face_x',
    'face_y',
    'face_width',
    'face_height',
    'facial_landmarks',
    'expression',
    'valence',
    'arousal',
)
BOX_COLUMNS = ('face_x', 'face_y', 'face_width', 'face_height')
_LIST_FOLDERS = ('', 'Manually_Annotated_file_lists/', 'Manually_Annotated/Manually_Annotated_file_lists/')
_IMAGE_FOLDERS = ('Manually_Annotated_Images', 'Manually_Annotated/Manually_Annotated_Images', '.')
_SUFFIX = '_exp.npy'


def find_stills(source: str | Path, seed: int = 0, class_cap: int | None = None) -> Splits[SourceStill]:
    """Finds the images of the train and val splits. The set is unbalanced: 134,415 are Happy and 3,803 Disgust.

    Args:
      source: the root of either release.
      seed: chooses the images that stay under the cap.
      class_cap: maximum number of images of a class in train, None for all. val keeps all images.

    Raises:
      InputError: the folder holds neither release, or a line of a list is malformed.
    """
    source = Path(source)
    splits: Splits[SourceStill] = Splits()
    if any((source / name).is_dir() for name in SETS.values()):
        for split, name in SETS.items():
            if (source / name).is_dir():
                splits[split] = list(_read_annotations(source, source / name, splits))
    else:
        lists = [f'{folder}{name}' for name in LISTS.values() for folder in _LIST_FOLDERS]
        first_existing(source, (*SETS.values(), *lists))
        images = first_existing(source, _IMAGE_FOLDERS)
        for split, name in LISTS.items():
            for folder in _LIST_FOLDERS:
                if (source / folder / name).is_file():
                    splits[split] = list(_read_list(source, source / folder / name, images, splits))
                    break
    require_usable_items(splits, f'--source={source}')
    if class_cap is not None and 'train' in splits:
        splits['train'] = _cap_classes(splits['train'], seed, class_cap, splits)
    return splits


def _read_list(source: Path, path: Path, images: Path, splits: Splits[SourceStill]) -> Iterator[SourceStill]:
    columns: list[str] = []
    listed_ids = set()
    for line, fields in read_rows(path):
        if not columns:
            columns = fields if COLUMNS[0] in fields else list(COLUMNS)
            if not {'subDirectory_filePath', 'expression'} <= set(columns) or len(columns) != len(fields):
                raise InputError(f'{path}:{line}: found columns {fields}; expected {", ".join(COLUMNS)}')
            if columns == fields:
                continue
        row = dict(zip(columns, fields, strict=True))
        code = parse_whole_number(row['expression'], path, line, 'an expression from 0 to 10')
        listed = row['subDirectory_filePath']
        image = images / listed
        if not listed or Path(listed).is_absolute() or '..' in Path(listed).parts:
            raise InputError(f'{path}:{line}: found {listed!r}; expected the path of an image such as 103/00a1.jpg')
        item_id = os.path.splitext(listed)[0]  # its id in manifests
        if item_id in listed_ids:
            splits.left_out[NAMED_TWICE] += 1
            continue
        listed_ids.add(item_id)
        for still in _make_still(source, image, code, f'{path.name}:{line}', splits):
            yield _add_box(still, row, f'{path.name}:{line}')


def _add_box(still: SourceStill, row: dict[str, str], line: str) -> SourceStill:
    """Returns the still with the box that its line gives, or unchanged if the list has no boxes."""
    if not set(BOX_COLUMNS) <= set(row):
        return still
    try:
        left, top, width, height = (float(row[name]) for name in BOX_COLUMNS)
        if not (width >= 1 and height >= 1 and math.isfinite(left + top + width + height)):
            raise ValueError
    except ValueError:
        found = ', '.join(row[name] for name in BOX_COLUMNS)
        return still._replace(problem=still.problem or f'box {found}; expected left, top, width and height ({line})')
    return still._replace(box=(left, top, width, height))


def _read_annotations(source: Path, folder: Path, splits: Splits[SourceStill]) -> Iterator[SourceStill]:
    annotations, images = folder / 'annotations', folder / 'images'
    if not annotations.is_dir() or not images.is_dir():
        found = [path.name for path in list_folders(folder)]
        raise InputError(f'{folder}: expected folders annotations and images; found {found}')
    # Numbers without leading zeros: 2 before 10.
    paths = [path for path in annotations.glob(f'*{_SUFFIX}') if not path.name.startswith('.')]
    paths.sort(key=lambda path: (len(path.name), path.name))
    if not paths:
        raise InputError(f'{annotations}: expected files such as 0{_SUFFIX}; found {describe_contents(annotations)}')
    for path in paths:
        image = images / f'{path.name.removesuffix(_SUFFIX)}.jpg'
        try:
            code = _read_code(path)
        except (OSError, ValueError) as error:
            problem = f'{path.name}: {error}'
            yield SourceStill(image.relative_to(source).as_posix(), None, image, problem=problem)
            continue
        yield from _make_still(source, image, code, path.name, splits)


def _read_code(path: Path) -> int:
    """Reads an annotation: an array that holds one number, or its digits as text. A pickled array is refused."""
    array = load_array(path)
    if array.size != 1 or array.dtype.kind not in 'iufUS':
        raise ValueError('expected one number or its text')
    try:
        value = array.reshape(-1)[0].item()
    except SystemError:  # NumPy raises it for text with invalid character codes
        raise ValueError('found text with invalid characters; expected a number') from None
    code = float(value.decode() if isinstance(value, bytes) else value)
    if not code.is_integer():
        raise ValueError(f'found {value!r}; expected a whole number')
    return int(code)


def _make_still(source: Path, image: Path, code: int, line: str, splits: Splits[SourceStill]) -> Iterator[SourceStill]:
    """Yields the still of a line, or counts it in `splits` if its class is beyond the seven."""
    label, beyond = find_class(emotions.AFFECTNET_CODES, code)
    if beyond:
        splits.left_out[beyond] += 1
        return
    problem = ''
    if label is None:
        problem = f'unknown label {code} ({line})'
    elif not os.path.isfile(image):  # also False for a name that no file can have
        problem = f'no such file ({line})'
    yield SourceStill(image.relative_to(source).as_posix(), label, image, problem=problem)


def _cap_classes(
    stills: list[SourceStill], seed: int, class_cap: int, splits: Splits[SourceStill]
) -> list[SourceStill]:
    """Keeps at most `class_cap` usable images of each class, in their order. Unusable images stay listed."""
    usable = [still for still in stills if not still.problem]
    order = sorted(usable, key=lambda still: hashlib.sha256(f'{seed}:{still.name}'.encode()).digest())
    room = {label: class_cap for label in range(emotions.NUM_CLASSES)}
    chosen = set()
    for still in order:
        assert still.label is not None
        if room[still.label]:
            room[still.label] -= 1
            chosen.add(still.name)
    splits.left_out[f'above the cap of {class_cap} a class'] += len(usable) - len(chosen)
    return [still for still in stills if still.problem or still.name in chosen]
