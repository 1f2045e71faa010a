# SPDX-License-Identifier: Apache-2.0
"""Folders named after classes: <Class>/<file>, or <split>/<Class>/<file>.

In a mixed folder the largest group is used: videos, images or audio files, in this order if they tie. Each of the
other files is listed. Spellings of classes are in `fer.emotions.FOLDER_CODES`.

Without folders of splits, files are held out one by one, because the person in each file is unknown. If a person has
several files, sort the files into folders of splits yourself.
"""

import re
from pathlib import Path
from typing import NamedTuple

from fer import emotions
from fer.errors import InputError
from fer.manifest import IMAGE_SUFFIXES
from fer.prepare.datasets.source_files import (
    AUDIO_SUFFIXES,
    VIDEO_SUFFIXES,
    describe_contents,
    describe_other_file,
    list_files,
    list_folders,
)
from fer.prepare.datasets.subjects import split_items_by_subject
from fer.prepare.layout import SPLITS, Item, SourceStill, SourceVideo, Splits, find_class

SPLIT_NAMES = {'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val', 'test': 'test'}
CONVERTED = ('.bmp', '.tif', '.tiff', '.webp')  # images that a manifest cannot name. They are converted to PNG.
_MEDIA = (*IMAGE_SUFFIXES, *CONVERTED, *VIDEO_SUFFIXES, *AUDIO_SUFFIXES)
_UNNAMEABLE = re.compile(r'[\x00-\x1f\x7f\ud800-\udfff]')  # control characters and broken UTF-8, not for manifests
_ONE_OF = {'videos': 'a video', 'images': 'an image', 'audio files': 'an audio file'}  # {kind: its singular}


class ClassFile(NamedTuple):
    """A file in the folder of a class."""

    split: str  # '' without folders of splits
    label: int  # class index
    path: Path


class FolderContents(NamedTuple):
    """The files in the folders of classes."""

    files: list[ClassFile]
    left_out: list[str]  # one reason for each file that is left out
    problems: list[str]  # one line for each file that cannot be used


def find_items(source: str | Path, seed: int = 0) -> Splits[SourceVideo] | Splits[SourceStill]:
    """Finds the files of each split, sorted. All are of one kind: images, videos or audio files.

    Raises:
      InputError: a folder is not named after a class, the folders are empty, or two files of a split would share an id.
    """
    source = Path(source)
    folders = list_folders(source) if source.is_dir() else []
    split_folders = {path: SPLIT_NAMES[path.name.lower()] for path in folders if path.name.lower() in SPLIT_NAMES}
    if len(set(split_folders.values())) < len(split_folders):
        raise InputError(f'--source={source}: found {describe_contents(source)}; expected one folder of each split')
    contents = FolderContents([], [], [])
    for root, split in split_folders.items() or ((source, ''),):
        _find_class_files(root, split, contents)
    _note_files_outside(dict.fromkeys((source, *split_folders)), contents)
    for path in folders:
        if split_folders and path not in split_folders:
            contents.left_out.append('folder beside those of splits')
    if not contents.files:
        raise InputError(f'--source={source}: no image, video or audio file in its folders; expected at least one')
    groups = _group_by_kind(contents.files)
    largest = max(groups, key=lambda kind: len(groups[kind]))  # the first if several tie
    splits = _make_items(source, largest, groups[largest], seed)
    for kind in groups.keys() - {largest}:
        contents.problems.extend(f'{file.path}: {_ONE_OF[kind]} among {largest}; not used' for file in groups[kind])
    splits.left_out.update(contents.left_out)
    splits.problems = contents.problems
    return splits


def _find_class_files(root: Path, split: str, contents: FolderContents) -> None:
    """Adds the files of the class folders in `root` to the contents."""
    classes = list_folders(root) if root.is_dir() else []
    if not classes:
        raise InputError(
            f'{root}: expected folders named after classes ({", ".join(emotions.EMOTIONS)}) or splits '
            f'({", ".join(SPLITS)}); found {describe_contents(root)}'
        )
    for folder in classes:
        label, beyond = find_class(emotions.FOLDER_CODES, folder.name.lower())
        if label is None and not beyond:
            raise InputError(f'{folder}: expected a folder named after a class: {", ".join(emotions.EMOTIONS)}')
        contents.problems.extend(f'{path}: a folder inside that of a class; not read' for path in list_folders(folder))
        for path in list_files(folder):
            if path.suffix.lower() not in _MEDIA:
                contents.left_out.append(describe_other_file(path))
            elif label is None:
                contents.left_out.append(beyond)
            elif _UNNAMEABLE.search(path.name):
                contents.problems.append(f'{str(path)!r}: no manifest can hold this name')
            else:
                contents.files.append(ClassFile(split, label, path))


def _note_files_outside(roots: dict[Path, None], contents: FolderContents) -> None:
    for path in (path for root in roots for path in list_files(root)):
        if path.suffix.lower() in _MEDIA:
            contents.problems.append(f'{path}: outside the folders of classes; not read')
        else:
            contents.left_out.append(describe_other_file(path))


def _group_by_kind(files: list[ClassFile]) -> dict[str, list[ClassFile]]:
    groups: dict[str, list[ClassFile]] = {kind: [] for kind in _ONE_OF}
    for file in files:
        suffix = file.path.suffix.lower()
        kind = 'videos' if suffix in VIDEO_SUFFIXES else 'audio files' if suffix in AUDIO_SUFFIXES else 'images'
        groups[kind].append(file)
    return groups


def _make_items(
    source: Path, kind: str, files: list[ClassFile], seed: int
) -> Splits[SourceVideo] | Splits[SourceStill]:
    if kind == 'images':
        stills = _make_stills(source, files)
        return _split(files, stills, [still.name for still in stills], seed)
    videos = _make_videos(source, files, audio_only=kind == 'audio files')
    return _split(files, videos, [video.folder for video in videos], seed)


def _make_videos(source: Path, files: list[ClassFile], *, audio_only: bool) -> list[SourceVideo]:
    videos = []
    paths: dict[tuple[str, str], Path] = {}
    for split, label, path in files:
        video_id = f'{path.parent.name}_{path.stem}'  # files of two classes often share a name
        other = paths.setdefault((split, video_id), path)
        if other != path:
            raise InputError(f'{path} and {other}: two videos of one split share an id')
        folder = '/'.join((*path.parent.relative_to(source).parts, video_id))
        videos.append(SourceVideo(video_id, label, path, folder, audio_only=audio_only))
    return videos


def _make_stills(source: Path, files: list[ClassFile]) -> list[SourceStill]:
    stills = []
    paths: dict[Path, Path] = {}
    for _, label, path in files:
        other = paths.setdefault(path.with_suffix(''), path)
        if other != path:
            raise InputError(f'{path} and {other}: two images share an id')
        stills.append(SourceStill(path.relative_to(source).as_posix(), label, path))
    return stills


def _split(files: list[ClassFile], items: list[Item], names: list[str], seed: int) -> Splits[Item]:
    """Puts each item into the split of its file. Without folders of splits, each name counts as a person of its own."""
    if not files[0].split:
        return split_items_by_subject(zip(names, items, strict=True), seed)
    present = [split for split in SPLITS if any(file.split == split for file in files)]
    pairs = list(zip(files, items, strict=True))
    return Splits({split: [item for file, item in pairs if file.split == split] for split in present})
