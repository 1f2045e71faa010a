"""AFEW as EmotiW hands it out: Train_AFEW/<Emotion>/<id>.avi, Val_AFEW/<Emotion>/<id>.avi, Test_AFEW/<id>.avi.

The test split has no labels. Where a split holds folders of aligned faces instead, Train_AFEW/<Emotion>/<id>/*.jpg,
they are taken as they are.
"""

from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.prepare.layout import VIDEO_SUFFIXES, SourceVideo, Splits, contents, files_in, folders_in

FOLDERS = {'train': 'Train_AFEW', 'val': 'Val_AFEW', 'test': 'Test_AFEW'}


def find_videos(source: str | Path, seed: int = 0) -> Splits[SourceVideo]:
    """The videos of each split that `source` holds, sorted by folder and id; AFEW's splits need no `seed`.

    Raises:
      InputError: no split's folder is there, an emotion folder has an unknown name, a split holds no video, or two
        videos of a split share an id.
    """
    source = Path(source)
    present = {split: source / name for split, name in FOLDERS.items() if (source / name).is_dir()}
    if not present:
        raise InputError(f'--source={source}: expected {", ".join(FOLDERS.values())}; found {contents(source)}')
    splits: Splits[SourceVideo] = Splits()
    for split, folder in present.items():
        parents = {folder: None} if split == 'test' else {path: _label_of(path) for path in folders_in(folder)}
        videos = [video for parent, label in parents.items() for video in _videos_in(parent, label)]
        # Folders of faces count only where no video is: beside videos they are somebody's left-overs.
        videos = videos or [video for parent, label in parents.items() for video in _faces_in(parent, label)]
        if not videos:
            raise InputError(
                f'{folder}: no videos; expected files such as <Emotion>/000046280.avi, or folders of face images; '
                f'found {contents(folder)}'
            )
        path_of: dict[str, Path] = {}
        for video in videos:
            if video.video_id in path_of:
                raise InputError(f'{video.path} and {path_of[video.video_id]}: two videos of one split share an id')
            path_of[video.video_id] = video.path
        splits[split] = videos
    return splits


def _videos_in(folder: Path, label: int | None) -> list[SourceVideo]:
    return [
        SourceVideo(path.stem, label, path, _output_folder(folder, label, path.stem))
        for path in files_in(folder)
        if path.suffix.lower() in VIDEO_SUFFIXES
    ]


def _faces_in(folder: Path, label: int | None) -> list[SourceVideo]:
    return [
        SourceVideo(path.name, label, path, _output_folder(folder, label, path.name)) for path in folders_in(folder)
    ]


def _output_folder(folder: Path, label: int | None, video_id: str) -> str:
    return '/'.join((*(folder.parts[-1:] if label is None else folder.parts[-2:]), video_id))


def _label_of(folder: Path) -> int:
    try:
        return emotions.from_name(folder.name)
    except ValueError as error:
        raise InputError(f'{folder}: {error}') from None
