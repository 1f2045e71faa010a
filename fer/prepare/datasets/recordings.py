# SPDX-License-Identifier: Apache-2.0
"""Finds the recordings of corpora whose file names give the speaker and the emotion.

None of these corpora has splits, so people are held out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.prepare.datasets.source_files import describe_contents, find_recordings_below
from fer.prepare.datasets.subjects import hold_out_subjects, split_items_by_subject
from fer.prepare.layout import SourceVideo, Splits, require_usable_items


class RecordingName(NamedTuple):
    """The parts of a recording's file name."""

    subject: str
    video_id: str
    label: int | None  # class index, None if unknown
    folder: str  # where its frames go below OUTPUT/faces
    problem: str = ''  # reason why the recording cannot be used, '' if it can
    left_out: str = ''  # reason why it is left out, such as a class beyond the seven. '' if it is not left out.


def find_named_recordings(
    source: Path,
    title: str,
    example: str,
    read_name: Callable[[Path, bool], RecordingName | None],
    seed: int,
    fold: int,
) -> Splits[SourceVideo]:
    """Finds the videos of each split, or the audio files if there are no videos, sorted by path.

    Args:
      source: folder of the corpus, searched at any depth.
      title: name of the corpus, for messages.
      example: a path in the corpus, for messages.
      read_name: returns the parts of a path's file name, or None if the name does not belong to the corpus. Its second
        argument is True if only audio is used.
      seed: chooses the people of val and test.
      fold: for audio of fewer than five people, the number of the person who is held out, from 1.

    Raises:
      InputError: no file has such a name, or there are too few people.
    """
    found: dict[str, tuple[str, SourceVideo]] = {}  # (subject, video) by id
    left_out: list[str] = []
    problems = []
    paths, audio_only, others = find_recordings_below(source, lambda path: read_name(path, True) is not None)
    for path in paths:
        name = read_name(path, audio_only)
        if name is None:
            problems.append(f'{path}: not a name of {title}, such as {Path(example).name}')
        elif name.left_out:
            left_out.append(name.left_out)
        elif name.video_id in found:
            left_out.append('second copy')
        else:
            video = SourceVideo(name.video_id, name.label, path, name.folder, name.problem, audio_only)
            found[name.video_id] = name.subject, video
    if not found:
        raise InputError(f'--source={source}: expected files such as {example}; found {describe_contents(source)}')
    items = found.values()
    splits = hold_out_subjects(items, seed, fold) if audio_only else split_items_by_subject(items, seed)
    splits.left_out.update(left_out)
    splits.left_out.update(others)
    splits.problems = problems
    require_usable_items(splits, f'--source={source}')
    return splits
