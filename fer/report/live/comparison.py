# SPDX-License-Identifier: Apache-2.0
"""Compares two runs: the settings that differ, and the scores on the videos that both have answered."""

from typing import NamedTuple

import numpy as np

from fer.report.live.folders import Root
from fer.report.live.listing import RunFolder, RunRow, describe_run, try_read
from fer.results.metrics import score
from fer.results.results_file import Results, read_results, take_rows
from fer.results.significance import PairedTest, compare
from fer.runs.config import find_differences, read_flagfile
from fer.runs.names import FLAGS_FILE


class SplitComparison(NamedTuple):
    """Two runs on the labelled videos that both have answered, N of them."""

    split: str
    first: dict  # metrics of `score` on the N videos
    second: dict
    test: PairedTest | None  # None without a video
    left_out: list[str]  # how many videos are left out, and why


class Comparison(NamedTuple):
    """Two runs side by side."""

    first: RunRow
    second: RunRow
    settings: dict[str, tuple[str, str]] | None  # {name: (first, second)} that differ. None if flags are unreadable
    splits: list[SplitComparison]
    others: list[str]  # splits that only one of them has
    problems: list[str]


def compare_runs(root: Root, first: RunFolder, second: RunFolder) -> Comparison:
    """Compares two runs. What is missing or damaged is left out, and is listed as a problem."""
    problems: list[str] = []
    configs = []
    for folder in (first, second):
        found: list[str] = []
        configs.append(try_read(found, root, folder.path, FLAGS_FILE, read_flagfile))
        problems += [f'{folder.name}: {problem}' for problem in found]
    both = set(first.splits()) & set(second.splits())
    splits = []
    for split in sorted(both):
        results = []
        for folder in (first, second):
            found = []
            results.append(try_read(found, root, folder.path, f'results_{split}.txt', read_results))
            problems += [f'{folder.name}: {problem}' for problem in found]
        if results[0] is not None and results[1] is not None:
            splits.append(compare_split(split, results[0], results[1]))
    return Comparison(
        describe_run(root, first),
        describe_run(root, second),
        find_differences(configs[0], configs[1]) if all(configs) else None,
        sorted(splits, key=lambda split: split.test is None),  # those without labels last
        sorted(set(first.splits()) ^ set(second.splits())),
        problems,
    )


def compare_split(split: str, first: Results, second: Results) -> SplitComparison:
    """Compares two results files on the labelled videos that both have."""
    row_of = {video_id: row for row, video_id in enumerate(second.video_ids)}
    pairs = [(row, row_of[video_id]) for row, video_id in enumerate(first.video_ids) if video_id in row_of]
    labels = [(int(first.labels[a]), int(second.labels[b])) for a, b in pairs]
    used = [pair for pair, (a, b) in zip(pairs, labels, strict=True) if a == b >= 0]
    unlabelled = sum(min(pair) < 0 for pair in labels)
    one, two = (take_rows(results, [pair[side] for pair in used]) for side, results in enumerate((first, second)))
    test = compare(one.labels, one.predictions, two.predictions) if used else None
    counts = {
        'only the first has': len(first.video_ids) - len(pairs),
        'only the second has': len(second.video_ids) - len(pairs),
        'have other labels in the two runs': len(pairs) - len(used) - unlabelled,
        'have no label': unlabelled,
    }
    return SplitComparison(
        split,
        score(np.asarray(one.labels, int), np.asarray(one.predictions, int)),
        score(np.asarray(two.labels, int), np.asarray(two.predictions, int)),
        test,
        [f'{count} that {reason}' for reason, count in counts.items() if count],
    )
