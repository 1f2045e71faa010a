# SPDX-License-Identifier: Apache-2.0
"""RAF-DB, basic emotions: EmoLabel/list_patition_label.txt and Image/aligned/train_00001_aligned.jpg.

The list's lines are `train_00001.jpg 5`. The name gives the split. (`patition` is the authors' spelling.)
"""

import os
from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.prepare.datasets.list_files import parse_whole_number, read_rows
from fer.prepare.datasets.source_files import first_existing
from fer.prepare.layout import NAMED_TWICE, SourceStill, Splits, find_class, require_usable_items

LIST = 'list_patition_label.txt'
_ROOTS = ('', 'basic/')  # the archive holds `basic` and `compound`, and people unpack either level


def find_stills(source: str | Path) -> Splits[SourceStill]:
    """Finds the aligned images of the dataset's own train and test splits, in the list's order.

    Raises:
      InputError: the list or the folder of aligned images is missing, or a line is malformed.
    """
    source = Path(source)
    path = first_existing(source, (f'{root}{folder}{LIST}' for root in _ROOTS for folder in ('EmoLabel/', '')))
    images = first_existing(source, (f'{root}{folder}aligned' for root in _ROOTS for folder in ('Image/', '')))
    splits: Splits[SourceStill] = Splits({'train': [], 'test': []})
    listed_ids = set()
    for line, (listed, code_text) in read_rows(path, ' ', columns=2):
        split, _, rest = listed.partition('_')
        if split not in splits or '/' in rest:
            raise InputError(f'{path}:{line}: found {listed!r}; expected a name such as train_00001.jpg')
        code = parse_whole_number(code_text, path, line, 'a label from 1 to 7')
        item_id = Path(listed).stem  # its id in manifests
        if item_id in listed_ids:
            splits.left_out[NAMED_TWICE] += 1
            continue
        listed_ids.add(item_id)
        image = images / f'{item_id}_aligned{Path(listed).suffix}'
        label, _ = find_class(emotions.RAFDB_CODES, code)
        problem = ''
        if label is None:
            problem = f'unknown label {code} ({path.name}:{line})'
        elif not os.path.isfile(image):  # also False for a name that no file can have
            problem = f'no such file ({path.name}:{line})'
        splits[split].append(SourceStill(image.relative_to(source).as_posix(), label, image, problem=problem))
    require_usable_items(splits, str(path))
    return splits
