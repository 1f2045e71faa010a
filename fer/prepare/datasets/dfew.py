"""DFEW, single-labelled: EmoLabel_DataSplit/<train|test>(single-labeled)/set_<fold>.csv with video_name,label.

Video 7 is Clip/original/7.mp4, in some archives in part_<n> folders; without the originals, the published face images
Clip/clip_224x224/00007/*.jpg are taken as they are. Their eleven archives leave folders of 1,600 videos each,
clip_224x224_part_1/00007 and so on, in Clip/clip_224x224 or in Clip. Only without these the 16 interpolated frames of
each video, Clip/clip_224x224_16f, are taken. Five folds, each with its own train and test split.
"""

from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.prepare.layout import (
    SourceVideo,
    Splits,
    class_of,
    contents,
    first_existing,
    folders_in,
    insist_on_some,
    number,
    read_table,
    videos_below,
)

FOLDS = 5
_ORIGINALS = 'original'
_FACES = ('clip_224x224', 'clip_224x224_16f')


def find_videos(source: str | Path, seed: int = 0, fold: int = 1) -> Splits[SourceVideo]:
    """The videos of a fold's train and test lists, in their order; the set's own folds need no `seed`.

    Raises:
      InputError: the fold's lists or the clips are not there, or a line is malformed.
    """
    source = Path(source)
    lists = {split: _list_of(source, split, fold) for split in ('train', 'test')}
    path_of = _clips(source)
    splits: Splits[SourceVideo] = Splits()
    for split, path in lists.items():
        videos: dict[str, SourceVideo] = {}
        for line, fields in read_table(path, ('video_name', 'label')):
            name = number(fields['video_name'], path, line, 'a video_name')
            code = number(fields['label'], path, line, 'a label from 1 to 7')
            video_id = f'{name:05d}'
            if video_id in videos:
                splits.left_out['named twice (the first line counts)'] += 1
                continue
            label, _ = class_of(emotions.DFEW_CODES, code)
            problem = ''
            if label is None:
                problem = f'unknown label {code} ({path.name}:{line})'
            elif name not in path_of:
                problem = f'no such video ({path.name}:{line})'
            clip = path_of.get(name, source / 'Clip' / video_id)
            videos[video_id] = SourceVideo(video_id, label, clip, f'DFEW/{video_id}', problem)
        if not videos:
            raise InputError(f'{path}: no lines below the header; expected a video a line')
        splits[split] = list(videos.values())
    insist_on_some(splits, ' and '.join(map(str, lists.values())))
    return splits


def _clips(source: Path) -> dict[int, Path]:
    """The path of each clip by its number: the originals, or else folders of faces."""
    clips = source / 'Clip'
    for name in (_ORIGINALS, *_FACES):
        paths = videos_below(clips / name)[0] if name == _ORIGINALS else _faces(clips, name)
        found = {int(path.stem): path for path in reversed(paths) if path.stem.isdecimal()}
        if found:
            return found
    raise InputError(
        f'{clips}: expected videos such as {_ORIGINALS}/1.mp4, or folders of faces such as {_FACES[0]}/00001; '
        f'found {contents(clips)}'
    )


def _faces(clips: Path, name: str) -> list[Path]:
    """The folders of an archive's clips, in its own folder and in those of its parts."""
    parts = f'{name}_part_*'
    places = [clips / name, *sorted((clips / name).glob(parts)), *sorted(clips.glob(parts))]
    return [path for place in places if place.is_dir() for path in folders_in(place)]


def _list_of(source: Path, split: str, fold: int) -> Path:
    folders = [f'EmoLabel_DataSplit/{split}{suffix}' for suffix in ('(single-labeled)', '(single_labeled)', '')]
    return first_existing(
        source, [f'{folder}/{prefix}set_{fold}.csv' for folder in folders for prefix in ('', f'{split}_')]
    )
