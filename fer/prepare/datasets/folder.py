"""Anything sorted into folders named after classes: <Class>/<file>, or <split>/<Class>/<file>.

In a mixed folder the largest group is used: images, videos or audio files. Videos are if they tie, then images. Each of
the other files is listed.
Spellings of classes are `fer.emotions.FOLDER_CODES`. Without folders of splits, files are held out one by one, because
nothing tells whose face they show: where a person has several files, sort them into folders of splits yourself.
"""

import re
from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.manifest import IMAGE_SUFFIXES
from fer.prepare.layout import (
    AUDIO_SUFFIXES,
    SPLITS,
    VIDEO_SUFFIXES,
    SourceStill,
    SourceVideo,
    Splits,
    class_of,
    contents,
    distribute,
    files_in,
    folders_in,
    other_file,
)

SPLIT_NAMES = {'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val', 'test': 'test'}
CONVERTED = ('.bmp', '.tif', '.tiff', '.webp')  # images that a manifest cannot name; they become PNG
_MEDIA = (*IMAGE_SUFFIXES, *CONVERTED, *VIDEO_SUFFIXES, *AUDIO_SUFFIXES)
_UNNAMEABLE = re.compile(r'[\x00-\x1f\x7f\ud800-\udfff]')  # line breaks and broken UTF-8, which no manifest holds


def find_items(source: str | Path, seed: int = 0) -> Splits[SourceVideo] | Splits[SourceStill]:
    """Finds the files of each split, sorted: all of them images, all videos, or all audio.

    Raises:
      InputError: a folder is named after no class, nothing is in the folders, or two files of a split would have one
        id.
    """
    source = Path(source)
    folders = folders_in(source) if source.is_dir() else []
    by_split = {path: SPLIT_NAMES[path.name.lower()] for path in folders if path.name.lower() in SPLIT_NAMES}
    if len(set(by_split.values())) < len(by_split):
        raise InputError(f'--source={source}: found {contents(source)}; expected one folder of each split')
    files: list[tuple[str, int, Path]] = []  # split or '', label, path
    left_out: list[str] = []
    problems: list[str] = []
    for root, split in by_split.items() or ((source, ''),):
        classes = folders_in(root) if root.is_dir() else []
        if not classes:
            raise InputError(
                f'{root}: expected folders named after classes ({", ".join(emotions.EMOTIONS)}) or splits '
                f'({", ".join(SPLITS)}); found {contents(root)}'
            )
        for folder in classes:
            label, beyond = class_of(emotions.FOLDER_CODES, folder.name.lower())
            if label is None and not beyond:
                raise InputError(f'{folder}: expected a folder named after a class: {", ".join(emotions.EMOTIONS)}')
            problems += [f'{path}: a folder inside that of a class; not read' for path in folders_in(folder)]
            for path in files_in(folder):
                if path.suffix.lower() not in _MEDIA:
                    left_out.append(other_file(path))
                elif label is None:
                    left_out.append(beyond)
                elif _UNNAMEABLE.search(path.name):
                    problems.append(f'{str(path)!r}: no manifest can hold this name')
                else:
                    files.append((split, label, path))
    for path in (path for root in dict.fromkeys((source, *by_split)) for path in files_in(root)):
        if path.suffix.lower() in _MEDIA:
            problems.append(f'{path}: outside the folders of classes; not read')
        else:
            left_out.append(other_file(path))
    left_out += ['folder beside those of splits' for path in folders if by_split and path not in by_split]
    if not files:
        raise InputError(f'--source={source}: found no image, video or audio in its folders; expected some')
    groups: dict[str, list[tuple[str, int, Path]]] = {'videos': [], 'images': [], 'audio files': []}
    for file in files:
        suffix = file[2].suffix.lower()
        kind = 'videos' if suffix in VIDEO_SUFFIXES else 'audio files' if suffix in AUDIO_SUFFIXES else 'images'
        groups[kind].append(file)
    taken = max(groups, key=lambda kind: len(groups[kind]))  # the first of equals
    splits: Splits[SourceVideo] | Splits[SourceStill]
    if taken == 'images':
        splits = _stills(source, groups[taken], seed)
    else:
        splits = _videos(source, groups[taken], seed, audio_only=taken == 'audio files')
    one = {'videos': 'a video', 'images': 'an image', 'audio files': 'an audio file'}
    for kind in groups.keys() - {taken}:
        problems += [f'{path}: {one[kind]} among {taken}; not used' for _, _, path in groups[kind]]
    splits.left_out.update(left_out)
    splits.problems = problems
    return splits


def _videos(source: Path, files: list[tuple[str, int, Path]], seed: int, audio_only: bool) -> Splits[SourceVideo]:
    videos = []
    path_of: dict[tuple[str, str], Path] = {}
    for split, label, path in files:
        video_id = f'{path.parent.name}_{path.stem}'  # files of two classes often share a name
        other = path_of.setdefault((split, video_id), path)
        if other != path:
            raise InputError(f'{path} and {other}: two videos of one split share an id')
        folder = '/'.join((*path.parent.relative_to(source).parts, video_id))
        videos.append((split, SourceVideo(video_id, label, path, folder, audio_only=audio_only)))
    if videos[0][0]:
        return Splits({split: [video for s, video in videos if s == split] for split in _in_order(files)})
    return distribute(((video.folder, video) for _, video in videos), seed)


def _stills(source: Path, files: list[tuple[str, int, Path]], seed: int) -> Splits[SourceStill]:
    stills = []
    path_of: dict[Path, Path] = {}
    for split, label, path in files:
        other = path_of.setdefault(path.with_suffix(''), path)
        if other != path:
            raise InputError(f'{path} and {other}: two images share an id')
        stills.append((split, SourceStill(path.relative_to(source).as_posix(), label, path)))
    if stills[0][0]:
        return Splits({split: [still for s, still in stills if s == split] for split in _in_order(files)})
    return distribute(((still.name, still) for _, still in stills), seed)


def _in_order(files: list[tuple[str, int, Path]]) -> list[str]:
    present = {split for split, _, _ in files}
    return [split for split in SPLITS if split in present]
