"""FERV39k: 4_setups/All_scenes/train_All.csv and test_All.csv, whose lines are `Action/Happy/0267 Happy`.

The clips are folders of face images, 2_ClipsforFaceCrop/Action/Happy/0267/*.jpg, taken as they are. They are an archive
of their own, and may lie beside 4_setups or beside the FERV39k folder that holds it. Folders of whole scenes, which lie
beside them in some archives, are not read. Numbers repeat between scenes and emotions, so an id is Action_Happy_0267.
"""

import os
from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.prepare.layout import SourceVideo, Splits, class_of, first_existing, insist_on_some, read_rows

_ROOTS = ('', 'FERV39k/')
SETUP = '4_setups/All_scenes'
_FACES = ('2_ClipsforFaceCrop/2_ClipsforFaceCrop', '2_ClipsforFaceCrop', 'Image/CropFace/2_ClipsforFaceCrop')


def find_videos(source: str | Path, seed: int = 0) -> Splits[SourceVideo]:
    """The videos of the train and test lists, in their order; the set's own splits need no `seed`.

    Raises:
      InputError: the lists or the clips are not there, or a line is malformed.
    """
    source = Path(source)
    setup = first_existing(source, (f'{root}{SETUP}' for root in _ROOTS))
    root = setup.relative_to(source).as_posix().removesuffix(SETUP)
    clips = first_existing(source, [f'{folder}{name}' for folder in dict.fromkeys((root, *_ROOTS)) for name in _FACES])
    splits: Splits[SourceVideo] = Splits()
    for split in ('train', 'test'):
        path = first_existing(setup, (f'{split}_All.csv',))
        videos: dict[str, SourceVideo] = {}
        for line, (listed, code) in read_rows(path, ' ', columns=2):
            parts = listed.split('/')
            if len(parts) != 3 or set(parts) & {'', '.', '..'}:
                raise InputError(f'{path}:{line}: found {listed!r}; expected a path such as Action/Happy/0267')
            video_id = '_'.join(parts)
            if video_id in videos:
                splits.left_out['named twice (the first line counts)'] += 1
                continue
            label, _ = class_of(emotions.FERV39K_CODES, code)
            clip = clips / listed
            problem = ''
            if label is None:
                problem = f'unknown label {code!r} ({path.name}:{line})'
            elif not os.path.isdir(clip):  # nor is a name that no folder can have
                problem = f'no such clip ({path.name}:{line})'
            folder = f'FERV39k/{parts[0]}/{parts[1]}/{video_id}'
            videos[video_id] = SourceVideo(video_id, label, clip, folder, problem)
        if not videos:
            raise InputError(f'{path}: no lines; expected a clip a line')
        splits[split] = list(videos.values())
    insist_on_some(splits, str(setup))
    return splits
