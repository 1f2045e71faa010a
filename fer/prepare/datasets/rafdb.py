"""RAF-DB, basic emotions: EmoLabel/list_patition_label.txt and Image/aligned/train_00001_aligned.jpg.

The list's lines are `train_00001.jpg 5`; the name says the split. (`patition` is the authors' spelling.)
"""

import os
from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.prepare.layout import SourceStill, Splits, class_of, first_existing, insist_on_some, number, read_rows

LIST = 'list_patition_label.txt'
_ROOTS = ('', 'basic/')  # the archive holds `basic` and `compound`; people unpack either level


def find_stills(source: str | Path) -> Splits[SourceStill]:
    """The aligned images of the set's own train and test splits, in the list's order.

    Raises:
      InputError: the list or the folder of aligned images is not there, or a line is malformed.
    """
    source = Path(source)
    path = first_existing(source, (f'{root}{folder}{LIST}' for root in _ROOTS for folder in ('EmoLabel/', '')))
    images = first_existing(source, (f'{root}{folder}aligned' for root in _ROOTS for folder in ('Image/', '')))
    splits: Splits[SourceStill] = Splits({'train': [], 'test': []})
    seen = set()
    for line, (listed, code_text) in read_rows(path, ' ', columns=2):
        split, _, rest = listed.partition('_')
        if split not in splits or '/' in rest:
            raise InputError(f'{path}:{line}: found {listed!r}; expected a name such as train_00001.jpg')
        code = number(code_text, path, line, 'a label from 1 to 7')
        item = Path(listed).stem  # what manifests know it by
        if item in seen:
            splits.left_out['named twice (the first line counts)'] += 1
            continue
        seen.add(item)
        image = images / f'{item}_aligned{Path(listed).suffix}'
        label, _ = class_of(emotions.RAFDB_CODES, code)
        problem = ''
        if label is None:
            problem = f'unknown label {code} ({path.name}:{line})'
        elif not os.path.isfile(image):  # nor is a name that no file can have
            problem = f'no such file ({path.name}:{line})'
        splits[split].append(SourceStill(image.relative_to(source).as_posix(), label, image, problem=problem))
    insist_on_some(splits, str(path))
    return splits
