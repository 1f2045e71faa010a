# SPDX-License-Identifier: Apache-2.0
"""AFEW as EmotiW distributes it: Train_AFEW/<Emotion>/<id>.avi, Val_AFEW/<Emotion>/<id>.avi, Test_AFEW/<id>.avi.

The test split has no labels. Its videos may be in Test_AFEW/Test_vid_Distribute, as in its archive. A split may hold
folders of aligned faces instead of videos, Train_AFEW/<Emotion>/<id>/*.jpg. Such faces are used unchanged.

EmotiW also publishes faces that it cut out itself. Only `find_faces` reads them. Their emotion is that of the folder
which holds the video of the same id:
- Train_AFEW/AlignedFaces_LBPTOP_Points/Faces/<id>/*.jpg
- Val_AFEW/AlignedFaces_LBPTOP_Points_Val/Faces/<id>/*.jpg
- Test_AFEW/Test_2017_Faces_Distribute/<id>/*.jpg
"""

import re
from pathlib import Path
from typing import NamedTuple

from fer import emotions
from fer.errors import InputError
from fer.manifest import IMAGE_SUFFIXES
from fer.prepare.datasets.source_files import (
    VIDEO_SUFFIXES,
    describe_contents,
    describe_other_file,
    list_files,
    list_folders,
)
from fer.prepare.layout import SourceVideo, Splits, require_usable_items

FOLDERS = {'train': 'Train_AFEW', 'val': 'Val_AFEW', 'test': 'Test_AFEW'}
_TEST_VIDEOS = 'Test_vid_Distribute'
_PUBLISHED = re.compile('AlignedFaces.*|Test_[0-9]+_Faces_Distribute')  # the number is the year of the test set
_FACES = 'Faces'  # beside it are LBP-TOP features and landmarks


class VideoFolder(NamedTuple):
    """A folder that holds videos of one split."""

    path: Path
    label: int | None  # class index of its videos, None in the test split
    name: str  # its name below OUTPUT/faces


def find_videos(source: str | Path) -> Splits[SourceVideo]:
    """Finds the videos of each split that `source` holds, sorted by folder and id.

    An image among the videos counts as a video. It cannot be decoded, so the ledger lists it.

    Raises:
      InputError: no split's folder exists, an emotion folder has an unknown name, a split has no videos, or two videos
        of a split share an id.
    """
    splits: Splits[SourceVideo] = Splits()
    for split, folder in _find_split_folders(Path(source)).items():
        splits[split] = _find_videos_of_split(split, folder, splits)
        splits.left_out.update(f'folder {path.name}' for path in list_folders(folder) if _is_published(path))
    return splits


def find_faces(source: str | Path) -> Splits[SourceVideo]:
    """Finds the published faces of each video, in the order of `find_videos`.

    A video without published faces stays in the split, with a problem. Faces without a video are listed and not used.

    Raises:
      InputError: in the cases of `find_videos`, or if there are no published faces.
    """
    source = Path(source)
    folders = _find_split_folders(source)
    published = {split: _find_published(folder) for split, folder in folders.items()}
    if not any(published.values()):
        first = next(iter(folders.values()))
        raise InputError(
            f'--source={source}: expected published faces such as '
            f'Train_AFEW/AlignedFaces_LBPTOP_Points/{_FACES}/000046280/*.jpg; found {describe_contents(first)} in '
            f'{first.name}'
        )
    splits: Splits[SourceVideo] = Splits()
    for split, folder in folders.items():
        faces = {path.name: path for parent in published[split] for path in list_folders(parent)}
        splits[split] = [
            video._replace(path=faces.pop(video.video_id))
            if video.video_id in faces
            else video._replace(problem='no published faces')
            for video in _find_videos_of_split(split, folder, splits)
        ]
        splits.problems += [f'{path}: faces of no video in {folder.name}' for path in faces.values()]
    require_usable_items(splits, f'--source={source}')
    return splits


def _find_split_folders(source: Path) -> dict[str, Path]:
    present = {split: source / name for split, name in FOLDERS.items() if (source / name).is_dir()}
    if not present:
        raise InputError(
            f'--source={source}: expected {", ".join(FOLDERS.values())}; found {describe_contents(source)}'
        )
    return present


def _find_videos_of_split(split: str, folder: Path, splits: Splits) -> list[SourceVideo]:
    """Finds the videos of a split, or its folders of faces if it has no videos. Records all other files in `splits`."""
    video_folders = _find_video_folders(split, folder)
    videos = [video for video_folder in video_folders for video in _list_videos(video_folder)]
    faces = [video for video_folder in video_folders for video in _list_face_folders(video_folder)]
    # Folders of faces count only in a split without videos. Beside videos they are leftovers.
    if any(not _is_image(video.path) for video in videos):
        splits.left_out.update('folder beside videos' for _ in faces)
        found = videos
    else:
        splits.problems += [f'{video.path}: an image; expected videos, or folders of faces' for video in videos]
        found = faces
    if not found:
        raise InputError(
            f'{folder}: no videos; expected files such as <Emotion>/000046280.avi, or folders of face images; '
            f'found {describe_contents(folder)}'
        )
    _note_other_files(folder, [video_folder.path for video_folder in video_folders], splits)
    return _drop_images_with_taken_ids(found, splits)


def _drop_images_with_taken_ids(videos: list[SourceVideo], splits: Splits) -> list[SourceVideo]:
    """Leaves out images that have the id of another item. Such an image may be a video's thumbnail."""
    first: dict[str, SourceVideo] = {}
    for video in sorted(videos, key=lambda video: _is_image(video.path)):  # images last
        other = first.setdefault(video.video_id, video)
        if other is video:
            continue
        if not _is_image(video.path):
            raise InputError(f'{video.path} and {other.path}: two videos of one split share an id')
        splits.problems.append(f'{video.path}: an image with the id of {other.path}')
    return [video for video in videos if first[video.video_id] is video]


def _note_other_files(folder: Path, video_folders: list[Path], splits: Splits) -> None:
    for path in (path for parent in dict.fromkeys((folder, *video_folders)) for path in list_files(parent)):
        if path.suffix.lower() not in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES):
            splits.left_out[describe_other_file(path)] += 1
        elif path.parent not in video_folders:
            splits.problems.append(f'{path}: outside the folders of emotions; not read')


def _find_video_folders(split: str, folder: Path) -> list[VideoFolder]:
    if split == 'test':
        archive = _enter_folder_of_same_name(folder / _TEST_VIDEOS)
        return [VideoFolder(path, None, folder.name) for path in (folder, archive) if path.is_dir()]
    paths = [path for path in list_folders(folder) if not _is_published(path)]
    return [VideoFolder(path, _read_label(path), f'{folder.name}/{path.name}') for path in paths]


def _list_videos(folder: VideoFolder) -> list[SourceVideo]:
    return [
        SourceVideo(path.stem, folder.label, path, f'{folder.name}/{path.stem}')
        for path in list_files(folder.path)
        if path.suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)
    ]


def _list_face_folders(folder: VideoFolder) -> list[SourceVideo]:
    paths = [path for path in list_folders(folder.path) if path.name != _TEST_VIDEOS and not _is_published(path)]
    return [SourceVideo(path.name, folder.label, path, f'{folder.name}/{path.name}') for path in paths]


def _find_published(folder: Path) -> list[Path]:
    """Returns the folders of a split that hold published faces, one folder for each video."""
    found = []
    for path in filter(_is_published, list_folders(folder)):
        inside = _enter_folder_of_same_name(path)
        if (inside / _FACES).is_dir():
            found.append(inside / _FACES)
        elif not path.name.startswith('AlignedFaces'):  # the test set has faces and landmarks in separate archives
            found.append(inside)
    return found


def _enter_folder_of_same_name(folder: Path) -> Path:
    """Returns the folder of the same name inside a folder, or the folder itself. Many unpackers add such a level."""
    return folder / folder.name if (folder / folder.name).is_dir() else folder


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _is_published(folder: Path) -> bool:
    return bool(_PUBLISHED.fullmatch(folder.name))


def _read_label(folder: Path) -> int:
    try:
        return emotions.from_name(folder.name)
    except ValueError as error:
        raise InputError(f'{folder}: {error}') from None
