# SPDX-License-Identifier: Apache-2.0
"""FER2013: one file, fer2013.csv, with columns emotion, pixels (48x48 grey values) and Usage, which is the split."""

from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.prepare.datasets.list_files import parse_whole_number, read_table
from fer.prepare.datasets.source_files import first_existing
from fer.prepare.layout import SourceStill, Splits, find_class

USAGES = {'Training': 'train', 'PublicTest': 'val', 'PrivateTest': 'test'}
SIDE = 48


def find_stills(source: str | Path) -> Splits[SourceStill]:
    """Reads the images of each split as pixels, about 83 MB. An image is named after its row, counted from 1.

    Raises:
      InputError: fer2013.csv is missing, or a line does not have an emotion's number, 48x48 grey values and a known
        Usage.
    """
    path = first_existing(Path(source), ('fer2013.csv', 'fer2013/fer2013.csv'))
    splits: Splits[SourceStill] = Splits({split: [] for split in USAGES.values()})
    for row, (line, fields) in enumerate(read_table(path, ('emotion', 'pixels', 'Usage')), start=1):
        if fields['Usage'] not in USAGES:
            raise InputError(f'{path}:{line}: found Usage {fields["Usage"]!r}; expected one of {", ".join(USAGES)}')
        code = parse_whole_number(fields['emotion'], path, line, 'an emotion')
        try:
            pixels = bytes(map(int, fields['pixels'].split()))
        except ValueError as error:
            raise InputError(f'{path}:{line}: {error}; expected pixels from 0 to 255') from None
        if len(pixels) != SIDE * SIDE:
            raise InputError(f'{path}:{line}: found {len(pixels)} pixels; expected {SIDE * SIDE}')
        split = USAGES[fields['Usage']]
        label, _ = find_class(emotions.FER2013_CODES, code)
        problem = '' if label is not None else f'unknown label {code} ({path.name}:{line})'
        splits[split].append(SourceStill(f'{split}/{row:05d}.png', label, None, pixels, problem))
    if not any(splits.values()):
        raise InputError(f'{path}: no lines below the header; expected an image a line')
    return Splits({split: stills for split, stills in splits.items() if stills})
