"""FERV39k: 4_setups/All_scenes/train_All.csv and test_All.csv, whose lines are `Action/Happy/0267 Happy`.

The clips are folders of face images, 2_ClipsforFaceCrop/Action/Happy/0267/*.jpg, taken as they are; a video file of
that name is prepared as any other. Numbers repeat between scenes and emotions, so an id is Action_Happy_0267.
"""

from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.prepare.layout import (
    VIDEO_SUFFIXES,
    SourceVideo,
    Splits,
    class_of,
    contents,
    first_existing,
    folders_in,
    insist_on_some,
    read_rows,
)

_ROOTS = ('', 'FERV39k/')
SETUP = '4_setups/All_scenes'


def find_videos(source: str | Path, seed: int = 0) -> Splits[SourceVideo]:
    """The videos of the train and test lists, in their order; the set's own splits need no `seed`.

    Raises:
      InputError: the lists or the clips are not there, or a line is malformed.
    """
    source = Path(source)
    setup = first_existing(source, (f'{root}{SETUP}' for root in _ROOTS))
    root = setup.parent.parent
    clips = [folder for folder in folders_in(root) if 'clips' in folder.name.lower()]
    if not clips:
        raise InputError(f'{root}: expected a folder such as 2_ClipsforFaceCrop; found {contents(root)}')
    # The cut-out faces before whatever else the archive has.
    clips.sort(key=lambda folder: ('face' not in folder.name.lower(), folder.name))
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
            clip = _clip(clips, listed)
            problem = ''
            if label is None:
                problem = f'unknown label {code!r} ({path.name}:{line})'
            elif clip is None:
                problem = f'no such clip ({path.name}:{line})'
            folder = f'FERV39k/{parts[0]}/{parts[1]}/{video_id}'
            videos[video_id] = SourceVideo(video_id, label, clip or clips[0] / listed, folder, problem)
        if not videos:
            raise InputError(f'{path}: no lines; expected a clip a line')
        splits[split] = list(videos.values())
    insist_on_some(splits, str(setup))
    return splits


def _clip(clips: list[Path], listed: str) -> Path | None:
    for folder in clips:
        for path in (folder / listed, *((folder / f'{listed}{suffix}') for suffix in VIDEO_SUFFIXES)):
            if path.exists():
                return path
    return None
