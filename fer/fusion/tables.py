"""What the fusion commands print about several models."""

from collections.abc import Sequence
from itertools import combinations

from fer.errors import InputError
from fer.fusion.members import read_members
from fer.fusion.significance import compare


def print_comparisons(paths: Sequence[str], seed: int) -> None:
    """Every pair of results files: difference, McNemar's test and the paired bootstrap.

    Raises:
      InputError: fewer than two files, files that disagree, or a video without a label.
    """
    members = read_members(paths, '--results')
    if len(members.paths) < 2:
        raise InputError('--results: a single file; --compare needs two or more')
    answers, total = members.answers, len(members.labels)
    if (members.labels < 0).any():
        video_id = members.results[0].video_ids[int((members.labels < 0).argmax())]
        raise InputError(f'{members.paths[0]}: video {video_id} has no label in any file; --compare needs them')
    for note in members.notes:
        print(note)
    print(f'{total} videos; one is {1 / total:.2%}')
    for index, path in enumerate(members.paths, start=1):
        right = int((answers.predictions[index - 1] == answers.labels).sum())
        print(f'[{index}] {right}/{total} = {right / total:.1%}  {path}')
    print(f'\n{"pair":<12}{"right alone":>13}{"difference":>12}{"95% bootstrap":>18}{"p":>8}{"McNemar p":>11}')
    for first, second in combinations(range(len(members.paths)), 2):
        found = compare(answers.labels, answers.predictions[first], answers.predictions[second], seed)
        low, high = found.interval_95
        print(
            f'{f"[{first + 1}] - [{second + 1}]":<12}{f"{found.first_only} : {found.second_only}":>13}'
            f'{100 * found.difference:>+12.1f}{f"[{100 * low:+.1f}, {100 * high:+.1f}]":>18}'
            f'{found.bootstrap:>8.3f}{found.mcnemar:>11.3f}'
        )
    pairs = len(members.paths) * (len(members.paths) - 1) // 2
    if pairs > 1:
        print(f'{pairs} comparisons: by chance alone one of them in twenty has p < 0.05')
