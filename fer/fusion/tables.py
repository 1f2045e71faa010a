# SPDX-License-Identifier: Apache-2.0
"""Tables about several models that the fusion commands print."""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.fusion.diversity import Diversity
from fer.fusion.members import read_members
from fer.fusion.requests import check_all_labelled
from fer.results.metrics import describe_interval
from fer.results.significance import compare

MOST_SHOWN = 20  # members in a printed matrix. The CSV has all.


def print_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table, its first column aligned left and the others right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = (
            f'{cell:<{width}}' if index == 0 else f'{cell:>{width}}'
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print('   '.join(cells).rstrip())


def print_diversity(diversity: Diversity, models: Sequence[int]) -> None:
    """Prints the recalls of some models, and how each pair of them differs."""
    shown = list(models)[:MOST_SHOWN]
    print(f'\noracle, right where any file is: {diversity.oracle:.1%}')
    print('recall of each emotion in percent (number of its videos that no other file answers correctly)')
    print_rows(
        ['', *EMOTIONS],
        [
            [
                f'[{model + 1}]',
                *(
                    '-' if np.isnan(recall) else f'{100 * recall:.0f} ({alone})'
                    for recall, alone in zip(diversity.recall[model], diversity.alone[model], strict=True)
                ),
            ]
            for model in shown
        ],
    )
    if len(shown) < 2:
        return
    _print_matrix('percent of videos answered differently', diversity.disagreement, shown, lambda x: f'{100 * x:.0f}')
    _print_matrix('Q statistic', diversity.q_statistic, shown, lambda x: '-' if np.isnan(x) else f'{x:.2f}')


def _print_matrix(title: str, values: np.ndarray, models: Sequence[int], spell: Callable[[float], str]) -> None:
    print(title)
    print_rows(
        ['', *(f'[{model + 1}]' for model in models[:-1])],
        [
            [f'[{row + 1}]', *(spell(values[row, column]) if column < row else '' for column in models[:-1])]
            for row in models[1:]
        ],
    )


def print_comparisons(paths: Sequence[str], seed: int) -> None:
    """Prints difference, McNemar's test and the paired bootstrap of each pair of results files.

    Raises:
      InputError: there are fewer than two files, files disagree, or a video has no label.
    """
    members = read_members(paths, '--results')
    if len(members.paths) < 2:
        raise InputError('--results: a single file; give two or more for --compare')
    answers, total = members.answers, len(members.labels)
    check_all_labelled(members, '--compare')
    for note in members.notes:
        print(note)
    print(f'{total} videos; one is {1 / total:.2%}')
    for index, path in enumerate(members.paths, start=1):
        right = int((answers.predictions[index - 1] == answers.labels).sum())
        print(f'[{index}] {right}/{total} = {right / total:.1%}  {path}')
    rows = []
    for first, second in combinations(range(len(members.paths)), 2):
        found = compare(answers.labels, answers.predictions[first], answers.predictions[second], seed)
        rows.append(
            [
                f'[{first + 1}] - [{second + 1}]',
                f'{found.first_only} : {found.second_only}',
                f'{100 * found.difference:+.1f}',
                describe_interval(found.interval_95, signed=True),
                f'{found.bootstrap:.3f}',
                f'{found.mcnemar:.3f}',
            ]
        )
    print()
    print_rows(['pair', 'right alone', 'difference', '95% bootstrap', 'its p', 'McNemar p'], rows)
    if len(rows) > 1:
        print(f'{len(rows)} comparisons: by chance alone, one in twenty has p < 0.05')
