# SPDX-License-Identifier: Apache-2.0
"""FERV39k: 4_setups/All_scenes/train_All.csv and test_All.csv, whose lines are `Action/Happy/0267 Happy`.

The clips are folders of face images, 2_ClipsforFaceCrop/Action/Happy/0267/*.jpg, used unchanged. They are in a separate
archive. It may be unpacked beside 4_setups, or beside the FERV39k folder that holds 4_setups. Some archives also have
folders of whole scenes, which are not read. Numbers repeat between scenes and emotions, so the id of this clip is
Action_Happy_0267.
"""

import os
from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.prepare.datasets.list_files import read_rows
from fer.prepare.datasets.source_files import first_existing
from fer.prepare.layout import NAMED_TWICE, SourceVideo, Splits, find_class, require_usable_items

_ROOTS = ('', 'FERV39k/')
SETUP = '4_setups/All_scenes'
_FACES = ('2_ClipsforFaceCrop/2_ClipsforFaceCrop', '2_ClipsforFaceCrop', 'Image/CropFace/2_ClipsforFaceCrop')


def find_videos(source: str | Path) -> Splits[SourceVideo]:
    """Finds the videos of the train and test lists, in their order.

    Raises:
      InputError: the lists or the clips are missing, or a line is malformed.
    """
    source = Path(source)
    setup = first_existing(source, (f'{root}{SETUP}' for root in _ROOTS))
    root = setup.relative_to(source).as_posix().removesuffix(SETUP)
    clips = first_existing(source, [f'{folder}{name}' for folder in dict.fromkeys((root, *_ROOTS)) for name in _FACES])
    splits: Splits[SourceVideo] = Splits()
    for split in ('train', 'test'):
        splits[split] = _read_list(first_existing(setup, (f'{split}_All.csv',)), clips, splits)
    require_usable_items(splits, str(setup))
    return splits


def _read_list(path: Path, clips: Path, splits: Splits[SourceVideo]) -> list[SourceVideo]:
    videos: dict[str, SourceVideo] = {}
    for line, (listed, code) in read_rows(path, ' ', columns=2):
        parts = listed.split('/')
        if len(parts) != 3 or set(parts) & {'', '.', '..'}:
            raise InputError(f'{path}:{line}: found {listed!r}; expected a path such as Action/Happy/0267')
        video_id = '_'.join(parts)
        if video_id in videos:
            splits.left_out[NAMED_TWICE] += 1
            continue
        label, _ = find_class(emotions.FERV39K_CODES, code)
        clip = clips / listed
        problem = ''
        if label is None:
            problem = f'unknown label {code!r} ({path.name}:{line})'
        elif not os.path.isdir(clip):  # also False for a name that no folder can have
            problem = f'no such clip ({path.name}:{line})'
        folder = f'FERV39k/{parts[0]}/{parts[1]}/{video_id}'
        videos[video_id] = SourceVideo(video_id, label, clip, folder, problem)
    if not videos:
        raise InputError(f'{path}: no lines; expected a clip a line')
    return list(videos.values())
