# SPDX-License-Identifier: Apache-2.0
"""Results files as members of an ensemble: joined by video, in one order, with one set of labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.emotions import EMOTIONS, NUM_CLASSES
from fer.errors import InputError
from fer.fusion.methods import Answers
from fer.results.results_file import UNKNOWN, Results, classes_of, read_results, take_rows
from fer.results.videos import prior_logits, read_class_counts

ON_MISSING = ('error', 'others', 'prior')
NOT_IN_FILE = 'not_in_file'  # fallback of a video that a member does not answer
SAME_VIDEOS = 0.1  # two splits count as the same videos if they share more than this part of their ids
MOST_FILES = 1000  # a greedy search among this many files takes minutes


class Members(NamedTuple):
    """M results files of the same V videos."""

    paths: list[str]
    results: list[Results]  # each with its videos in the order of the first
    labels: np.ndarray  # int [V], from any file that has them, -1 where no file has one
    notes: list[str]  # lines to print about the files

    @property
    def answers(self) -> Answers:
        answered = np.array([[reason != NOT_IN_FILE for reason in results.fallback] for results in self.results])
        return Answers(
            np.stack([results.logits for results in self.results]),
            np.stack([results.predictions for results in self.results]),
            self.labels,
            None if answered.all() else answered,
        )


def read_members(given: Sequence[str], flag: str, on_missing: str = 'error') -> Members:
    """Reads results files and joins them by video.

    Args:
      given: paths, or patterns such as `runs/*/*/*/results_val.txt` for their matches in sorted order.
      flag: the flag that gave them, for errors, such as `--results`.
      on_missing: how to handle a video that some files do not have, one of ON_MISSING. `error`: stop. `others`: the
        other files answer it. `prior`: the file answers with its run's class frequencies (class_counts.json).

    Raises:
      InputError: there are no files or too many, a file is given twice or malformed, or files disagree on videos or
        labels.
    """
    paths = _expand(given, flag)
    notes, results = [], []
    for path in paths:
        results.append(read_results(path))
        classes = classes_of(path)
        if classes != list(EMOTIONS):
            notes.append(f'{path}: its classes are in the order {", ".join(classes)}, so they were reordered by name')
    if on_missing != 'error':
        results = _complete(results, paths, on_missing, notes)
    results = [_in_order_of(results[0], paths[0], other, path) for other, path in zip(results, paths, strict=True)]
    return Members(paths, results, _merge_labels(results, paths), notes)


def _expand(given: Sequence[str], flag: str) -> list[str]:
    """Replaces patterns by their matches. Raises InputError for a file that is given twice, and for too many."""
    paths: list[str] = []
    for path in given:
        if not path:
            continue
        if '*' not in path or Path(path).exists():
            paths.append(path)
            continue
        root = Path(path).anchor
        matches = sorted(map(str, Path(root).glob(str(Path(path).relative_to(root)))))
        if not matches:
            raise InputError(f'{flag}={path}: no such files; expected results files')
        paths.extend(matches)
    if not paths:
        raise InputError(f'{flag}: no files; expected paths separated by commas')
    if len(paths) > MOST_FILES:
        raise InputError(f'{flag}: {len(paths)} files; expected at most {MOST_FILES}')
    files: set[Path] = set()
    for path in paths:
        if (file := Path(path).resolve()) in files:
            raise InputError(f'{flag}: {path} is given twice; expected each file once')
        files.add(file)
    return paths


def check_same_models(fitted: Sequence[str], applied: Sequence[str]) -> None:
    """Checks that the files of two splits are of the same models in the same order, by the names of their folders.

    Raises:
      InputError: the numbers of files differ, or the same folders are in another order.
    """
    if len(fitted) != len(applied):
        raise InputError(
            f'--apply_to: {len(applied)} files, --weights_from: {len(fitted)}; expected one for each model, '
            'in the same order'
        )
    folders = [[Path(path).resolve().parent for path in paths] for paths in (fitted, applied)]
    for index, (ours, theirs) in enumerate(zip(*folders, strict=True)):
        if theirs != ours and (theirs in folders[0] or ours in folders[1]):
            raise InputError(
                f'--apply_to: file {index + 1} is {applied[index]}, but that of --weights_from is {fitted[index]}; '
                'expected the same models in the same order'
            )


def _complete(results: list[Results], paths: list[str], on_missing: str, notes: list[str]) -> list[Results]:
    """Adds a row to each file for every video that only other files have. Adds the number of rows to the notes."""
    everything = list(dict.fromkeys(video_id for member in results for video_id in member.video_ids))
    completed = []
    for member, path in zip(results, paths, strict=True):
        known = set(member.video_ids)
        absent = [video_id for video_id in everything if video_id not in known]
        if not absent:
            completed.append(member)
            continue
        logits, reason = np.zeros(NUM_CLASSES), NOT_IN_FILE
        if on_missing == 'prior':
            logits, reason = prior_logits(read_class_counts(Path(path).parent)), 'prior'
        how = "answered by its run's class frequencies" if on_missing == 'prior' else 'answered by the other files'
        notes.append(f'{path}: {len(absent)} of {len(everything)} videos are missing, such as {absent[0]}; {how}')
        number = len(absent)
        completed.append(
            Results(
                [*member.video_ids, *absent],
                np.concatenate([member.logits, np.tile(logits, (number, 1))]),
                np.concatenate([member.predictions, np.full(number, logits.argmax())]),
                np.concatenate([member.labels, np.full(number, -1)]),
                np.concatenate([member.frames, np.zeros(number, int)]),
                [*member.fallback, *[reason] * number],
            )
        )
    return completed


def common_videos(source: Members, members: Members) -> set[str]:
    """Returns the ids that two splits share."""
    return set(source.results[0].video_ids) & set(members.results[0].video_ids)


def are_same_videos(source: Members, members: Members) -> bool:
    """Returns whether two splits have the same videos. A few ids of AFEW occur in two splits."""
    return len(common_videos(source, members)) > SAME_VIDEOS * len(members.results[0].video_ids)


def _in_order_of(first: Results, first_path: str, member: Results, path: str) -> Results:
    """Returns a member with its videos in the order of the first file."""
    if member.video_ids == first.video_ids:
        return member
    for source, source_path, other, other_path in (
        (first, first_path, member, path),
        (member, path, first, first_path),
    ):
        known = set(other.video_ids)
        absent = [video_id for video_id in source.video_ids if video_id not in known]
        if absent:
            raise InputError(
                f'{source_path}:{_line_of(source_path, absent[0])}: video {absent[0]} is not in {other_path} '
                f'({len(absent)} such videos); expected the same videos in every file'
            )
    row_of = {video_id: row for row, video_id in enumerate(member.video_ids)}
    return take_rows(member, [row_of[video_id] for video_id in first.video_ids])


def _line_of(path: str, video_id: str) -> int:
    """Returns the number of a video's line in a results file."""
    lines = Path(path).read_text(encoding='utf-8-sig').split('\n')
    return next(number for number, line in enumerate(lines, start=1) if video_id in line.split('\t'))


def _merge_labels(members: Sequence[Results], paths: Sequence[str]) -> np.ndarray:
    """Returns each video's label from any file that has one, int [V]. Raises InputError if files disagree."""
    labels = members[0].labels.copy()
    for member, path in zip(members, paths, strict=True):
        contradicting = np.flatnonzero((member.labels != labels) & (member.labels >= 0) & (labels >= 0))
        if contradicting.size:
            video_id = member.video_ids[contradicting[0]]
            raise InputError(
                f'{path}:{_line_of(path, video_id)}: video {video_id} has another label in an earlier file; correct it'
            )
        labels = np.maximum(labels, member.labels)
    return labels


def without_videos(results: Results, left_out: set[str]) -> Results:
    """Returns the answers for all videos except some."""
    return take_rows(results, [row for row, name in enumerate(results.video_ids) if name not in left_out])


def fuse_members(members: Members, logits: np.ndarray, predictions: np.ndarray) -> Results:
    """Returns fused answers. A video has a fallback only if every member's answer is a fallback."""
    fallback = [
        UNKNOWN if UNKNOWN in reasons else next(reason for reason in reasons if reason != NOT_IN_FILE)
        for reasons in zip(*(results.fallback for results in members.results), strict=True)
    ]
    return Results(
        members.results[0].video_ids,
        logits,
        predictions,
        members.labels,
        np.max([results.frames for results in members.results], axis=0),
        fallback,
    )
