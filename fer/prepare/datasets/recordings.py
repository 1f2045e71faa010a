"""Corpora whose files say in their names who speaks and what is acted. None has splits, so people are held out."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.prepare.layout import (
    SourceVideo,
    Splits,
    contents,
    distribute,
    hold_out,
    insist_on_some,
    recordings_below,
)


class Named(NamedTuple):
    """A file's name, read."""

    subject: str
    video_id: str
    label: int | None
    folder: str  # where its frames go below OUTPUT/faces
    problem: str = ''  # why it cannot be used; '' if it can
    left_out: str = ''  # why it is left out, such as a class beyond the seven; '' if it is not


def find_named(
    source: Path, title: str, example: str, read: Callable[[Path, bool], Named | None], seed: int, fold: int
) -> Splits[SourceVideo]:
    """Finds the videos of each split, or the audio files where there is no video, sorted by path.

    Args:
      source: folder of the corpus, searched at any depth.
      title: name of the corpus, for what is printed.
      example: a path as the corpus has it.
      read: (path, whether only audio is taken) to what the name says; None where it is no name of the corpus.
      seed: chooses the people of val and test.
      fold: for audio of fewer than five people, which of them is held out.

    Raises:
      InputError: no file has such a name, or there are too few people.
    """
    found: dict[str, tuple[str, SourceVideo]] = {}  # with the subject, by id
    left_out: list[str] = []
    problems = []
    paths, audio_only, others = recordings_below(source, lambda path: read(path, True) is not None)
    for path in paths:
        named = read(path, audio_only)
        if named is None:
            problems.append(f'{path}: not a name of {title}, such as {Path(example).name}')
        elif named.left_out:
            left_out.append(named.left_out)
        elif named.video_id in found:
            left_out.append('second copy')
        else:
            video = SourceVideo(named.video_id, named.label, path, named.folder, named.problem, audio_only)
            found[named.video_id] = named.subject, video
    if not found:
        raise InputError(f'--source={source}: expected files such as {example}; found {contents(source)}')
    splits = hold_out(found.values(), seed, fold) if audio_only else distribute(found.values(), seed)
    splits.left_out.update(left_out)
    splits.left_out.update(others)
    splits.problems = problems
    insist_on_some(splits, f'--source={source}')
    return splits
