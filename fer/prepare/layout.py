"""AFEW's layout: Train_AFEW/<Emotion>/<id>.avi, Val_AFEW/<Emotion>/<id>.avi, Test_AFEW/<id>.avi without labels."""

from pathlib import Path
from typing import NamedTuple

from fer import emotions
from fer.errors import InputError

SPLITS = {'train': 'Train_AFEW', 'val': 'Val_AFEW', 'test': 'Test_AFEW'}
VIDEO_SUFFIXES = ('.avi', '.mp4', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv')


class SourceVideo(NamedTuple):
    """One video of a dataset as it lies on disk."""

    video_id: str
    label: int | None
    path: Path
    folder: str  # where its frames go below OUTPUT/faces, e.g. Train_AFEW/Angry/004514600


def find_videos(source: str | Path) -> dict[str, list[SourceVideo]]:
    """The videos of each split that `source` holds, sorted by folder and id.

    Raises:
      InputError: no split's folder is there, an emotion folder has an unknown name, a split holds no video, or two
        videos of a split share an id.
    """
    source = Path(source)
    present = {split: source / name for split, name in SPLITS.items() if (source / name).is_dir()}
    if not present:
        found = sorted(path.name for path in source.iterdir())[:10] if source.is_dir() else 'no folder of that name'
        raise InputError(f'--source={source}: expected {", ".join(SPLITS.values())}; found {found}')
    splits = {}
    for split, folder in present.items():
        if split == 'test':
            videos = _videos_in(folder, None)
        else:
            videos = [
                video
                for emotion in sorted(path for path in folder.iterdir() if path.is_dir())
                for video in _videos_in(emotion, _label_of(emotion))
            ]
        if not videos:
            raise InputError(f'{folder}: no videos; expected files such as <Emotion>/000046280.avi')
        path_of: dict[str, Path] = {}
        for video in videos:
            if video.video_id in path_of:
                raise InputError(f'{video.path} and {path_of[video.video_id]}: two videos of one split share an id')
            path_of[video.video_id] = video.path
        splits[split] = videos
    return splits


def _videos_in(folder: Path, label: int | None) -> list[SourceVideo]:
    parts = folder.parts[-1:] if label is None else folder.parts[-2:]
    return [
        SourceVideo(path.stem, label, path, '/'.join((*parts, path.stem)))
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith('.')
    ]


def _label_of(folder: Path) -> int:
    try:
        return emotions.from_name(folder.name)
    except ValueError as error:
        raise InputError(f'{folder}: {error}') from None
