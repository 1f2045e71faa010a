"""AFEW as EmotiW hands it out: Train_AFEW/<Emotion>/<id>.avi, Val_AFEW/<Emotion>/<id>.avi, Test_AFEW/<id>.avi.

The test split has no labels, and its videos may be in Test_AFEW/Test_vid_Distribute, as its archive has them. Where a
split holds folders of aligned faces instead of videos, Train_AFEW/<Emotion>/<id>/*.jpg, they are taken as they are.

Beside all that lie the faces that EmotiW itself has cut out: Train_AFEW/AlignedFaces_LBPTOP_Points/Faces/<id>/*.jpg,
Val_AFEW/AlignedFaces_LBPTOP_Points_Val/Faces/<id>/*.jpg, Test_AFEW/Test_2017_Faces_Distribute/<id>/*.jpg. They are read
by `find_faces` only; the folder of an id's video says its emotion.
"""

import re
from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.manifest import IMAGE_SUFFIXES
from fer.prepare.layout import (
    VIDEO_SUFFIXES,
    SourceVideo,
    Splits,
    contents,
    files_in,
    folders_in,
    insist_on_some,
    other_file,
)

FOLDERS = {'train': 'Train_AFEW', 'val': 'Val_AFEW', 'test': 'Test_AFEW'}
_TEST_VIDEOS = 'Test_vid_Distribute'
_PUBLISHED = re.compile('AlignedFaces.*|Test_[0-9]+_Faces_Distribute')  # each year's test set has its own
_FACES = 'Faces'  # beside it are LBP-TOP features and landmarks


def find_videos(source: str | Path, seed: int = 0) -> Splits[SourceVideo]:
    """The videos of each split that `source` holds, sorted by folder and id; AFEW's splits need no `seed`.

    An image among the videos is taken for one, so that the decoder finds it wanting and the ledger says so.

    Raises:
      InputError: no split's folder is there, an emotion folder has an unknown name, a split holds no video, or two
        videos of a split share an id.
    """
    splits: Splits[SourceVideo] = Splits()
    for split, folder in _split_folders(Path(source)).items():
        splits[split] = _videos_of(split, folder, splits)
        splits.left_out.update(f'folder {path.name}' for path in folders_in(folder) if _is_published(path))
    return splits


def find_faces(source: str | Path, seed: int = 0) -> Splits[SourceVideo]:
    """The faces that EmotiW publishes of each video, in the order of `find_videos`.

    A video without such faces has a problem, and counts all the same; faces of no video are listed and not used.

    Raises:
      InputError: as `find_videos`, or there are no published faces.
    """
    source = Path(source)
    folders = _split_folders(source)
    published = {split: _published_in(folder) for split, folder in folders.items()}
    if not any(published.values()):
        first = next(iter(folders.values()))
        raise InputError(
            f'--source={source}: expected published faces such as '
            f'Train_AFEW/AlignedFaces_LBPTOP_Points/{_FACES}/000046280/*.jpg; found {contents(first)} in {first.name}'
        )
    splits: Splits[SourceVideo] = Splits()
    for split, folder in folders.items():
        faces = {path.name: path for place in published[split] for path in folders_in(place)}
        splits[split] = [
            video._replace(path=faces.pop(video.video_id))
            if video.video_id in faces
            else video._replace(problem='no published faces')
            for video in _videos_of(split, folder, splits)
        ]
        splits.problems += [f'{path}: faces of no video in {folder.name}' for path in faces.values()]
    insist_on_some(splits, f'--source={source}')
    return splits


def _split_folders(source: Path) -> dict[str, Path]:
    present = {split: source / name for split, name in FOLDERS.items() if (source / name).is_dir()}
    if not present:
        raise InputError(f'--source={source}: expected {", ".join(FOLDERS.values())}; found {contents(source)}')
    return present


def _videos_of(split: str, folder: Path, splits: Splits) -> list[SourceVideo]:
    """The videos of a split; where there are none, its folders of faces. Notes in `splits` what is neither."""
    places = _places(split, folder)
    items = [video for place in places for video in _files_in(*place)]
    faces = [video for place in places for video in _faces_in(*place)]
    # Folders of faces count only where no video is: beside videos they are somebody's left-overs.
    if any(not _is_image(video.path) for video in items):
        splits.left_out.update('folder beside videos' for _ in faces)
    else:
        splits.problems += [f'{video.path}: an image; expected videos, or folders of faces' for video in items]
        items = faces
    if not items:
        raise InputError(
            f'{folder}: no videos; expected files such as <Emotion>/000046280.avi, or folders of face images; '
            f'found {contents(folder)}'
        )
    _note_other_files(folder, [place for place, _, _ in places], splits)
    return _with_an_id_each(items, splits)


def _with_an_id_each(items: list[SourceVideo], splits: Splits) -> list[SourceVideo]:
    """Leaves out images that bear the id of another item, such as a video's thumbnail."""
    first: dict[str, SourceVideo] = {}
    for item in sorted(items, key=lambda item: _is_image(item.path)):  # images last
        other = first.setdefault(item.video_id, item)
        if other is item:
            continue
        if not _is_image(item.path):
            raise InputError(f'{item.path} and {other.path}: two videos of one split share an id')
        splits.problems.append(f'{item.path}: an image with the id of {other.path}')
    return [item for item in items if first[item.video_id] is item]


def _note_other_files(folder: Path, places: list[Path], splits: Splits) -> None:
    for path in (path for place in dict.fromkeys((folder, *places)) for path in files_in(place)):
        if path.suffix.lower() not in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES):
            splits.left_out[other_file(path)] += 1
        elif path.parent not in places:
            splits.problems.append(f'{path}: outside the folders of emotions; not read')


def _places(split: str, folder: Path) -> list[tuple[Path, int | None, str]]:
    """The folders that hold a split's videos, each with its label and its name below OUTPUT/faces."""
    if split == 'test':
        archive = _unpacked(folder / _TEST_VIDEOS)
        return [(place, None, folder.name) for place in (folder, archive) if place.is_dir()]
    folders = [path for path in folders_in(folder) if not _is_published(path)]
    return [(path, _label_of(path), f'{folder.name}/{path.name}') for path in folders]


def _files_in(place: Path, label: int | None, name: str) -> list[SourceVideo]:
    return [
        SourceVideo(path.stem, label, path, f'{name}/{path.stem}')
        for path in files_in(place)
        if path.suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)
    ]


def _faces_in(place: Path, label: int | None, name: str) -> list[SourceVideo]:
    folders = [path for path in folders_in(place) if path.name != _TEST_VIDEOS and not _is_published(path)]
    return [SourceVideo(path.name, label, path, f'{name}/{path.name}') for path in folders]


def _published_in(folder: Path) -> list[Path]:
    """The folders of a split that hold published faces, a folder for each video."""
    found = []
    for path in filter(_is_published, folders_in(folder)):
        inside = _unpacked(path)
        if (inside / _FACES).is_dir():
            found.append(inside / _FACES)
        elif not path.name.startswith('AlignedFaces'):  # the test set has faces and landmarks in an archive each
            found.append(inside)
    return found


def _unpacked(folder: Path) -> Path:
    """The folder, or the one of its name in it: many programs unpack an archive into a folder called after it."""
    return folder / folder.name if (folder / folder.name).is_dir() else folder


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _is_published(folder: Path) -> bool:
    return bool(_PUBLISHED.fullmatch(folder.name))


def _label_of(folder: Path) -> int:
    try:
        return emotions.from_name(folder.name)
    except ValueError as error:
        raise InputError(f'{folder}: {error}') from None
