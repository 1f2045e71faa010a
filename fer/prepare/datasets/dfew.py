# SPDX-License-Identifier: Apache-2.0
"""DFEW, single-labelled: EmoLabel_DataSplit/<train|test>(single-labeled)/set_<fold>.csv with video_name,label.

The clip of video 7 is the first of these that exists:
- the original, Clip/original/7.mp4. Some archives have it in a part_<n> folder.
- the published face images, Clip/clip_224x224/00007/*.jpg, used unchanged. Their eleven archives leave folders of 1,600
  videos each, clip_224x224_part_1/00007 and so on, in Clip/clip_224x224 or in Clip.
- the 16 interpolated frames of the video, Clip/clip_224x224_16f/00007/*.jpg

There are five folds, each with its own train and test split.
"""

from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.prepare.datasets.list_files import parse_whole_number, read_table
from fer.prepare.datasets.source_files import describe_contents, find_videos_below, first_existing, list_folders
from fer.prepare.layout import NAMED_TWICE, SourceVideo, Splits, find_class, require_usable_items

FOLDS = 5
_ORIGINALS = 'original'
_FACES = ('clip_224x224', 'clip_224x224_16f')


def find_videos(source: str | Path, fold: int = 1) -> Splits[SourceVideo]:
    """Finds the videos of a fold's train and test lists, in their order.

    Raises:
      InputError: the fold's lists or the clips are missing, or a line is malformed.
    """
    source = Path(source)
    lists = {split: _find_list(source, split, fold) for split in ('train', 'test')}
    clips = _find_clips(source)
    splits: Splits[SourceVideo] = Splits()
    for split, path in lists.items():
        splits[split] = _read_list(path, source, clips, splits)
    require_usable_items(splits, ' and '.join(map(str, lists.values())))
    return splits


def _read_list(path: Path, source: Path, clips: dict[int, Path], splits: Splits[SourceVideo]) -> list[SourceVideo]:
    videos: dict[str, SourceVideo] = {}
    for line, fields in read_table(path, ('video_name', 'label')):
        number = parse_whole_number(fields['video_name'], path, line, 'a video_name')
        code = parse_whole_number(fields['label'], path, line, 'a label from 1 to 7')
        video_id = f'{number:05d}'
        if video_id in videos:
            splits.left_out[NAMED_TWICE] += 1
            continue
        label, _ = find_class(emotions.DFEW_CODES, code)
        problem = ''
        if label is None:
            problem = f'unknown label {code} ({path.name}:{line})'
        elif number not in clips:
            problem = f'no such video ({path.name}:{line})'
        clip = clips.get(number, source / 'Clip' / video_id)
        videos[video_id] = SourceVideo(video_id, label, clip, f'DFEW/{video_id}', problem)
    if not videos:
        raise InputError(f'{path}: no lines below the header; expected a video a line')
    return list(videos.values())


def _find_clips(source: Path) -> dict[int, Path]:
    """Returns the path of each clip by its number: the originals, or folders of faces if there are no originals."""
    clips = source / 'Clip'
    for name in (_ORIGINALS, *_FACES):
        paths = find_videos_below(clips / name) if name == _ORIGINALS else _list_face_folders(clips, name)
        found = {int(path.stem): path for path in reversed(paths) if path.stem.isdecimal()}
        if found:
            return found
    raise InputError(
        f'{clips}: expected videos such as {_ORIGINALS}/1.mp4, or folders of faces such as {_FACES[0]}/00001; '
        f'found {describe_contents(clips)}'
    )


def _list_face_folders(clips: Path, name: str) -> list[Path]:
    """Returns the folders of an archive's clips, in its own folder and in those of its parts."""
    parts = f'{name}_part_*'
    parents = [clips / name, *sorted((clips / name).glob(parts)), *sorted(clips.glob(parts))]
    return [path for parent in parents if parent.is_dir() for path in list_folders(parent)]


def _find_list(source: Path, split: str, fold: int) -> Path:
    folders = [f'EmoLabel_DataSplit/{split}{suffix}' for suffix in ('(single-labeled)', '(single_labeled)', '')]
    return first_existing(
        source, [f'{folder}/{prefix}set_{fold}.csv' for folder in folders for prefix in ('', f'{split}_')]
    )
