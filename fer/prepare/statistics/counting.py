# SPDX-License-Identifier: Apache-2.0
"""Counts of a split: lengths, classes, what was left out, and one row that summarises them."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.manifest import UNKNOWN
from fer.prepare.prepared import HELD, KEPT, REUSED_BOX
from fer.prepare.statistics.splits import REASONS, SplitContents

BIN = 10  # frames to a bin of lengths, as in the dissertation's figures: 1 to 10, 11 to 20, ...
NOT_KEPT = 'frame_not_kept'  # a frame without a face, in a video that has frames with a face
_QUANTILES = {'shortest': 0, 'q05': 0.05, 'q25': 0.25, 'median': 0.5, 'q75': 0.75, 'q95': 0.95, 'longest': 1}


def count_lengths(lengths: np.ndarray) -> pd.DataFrame:
    """Counts the videos in each bin of lengths.

    Args:
      lengths: int [videos], each 1 or more.

    Returns:
      `frames_from, frames_to, videos`: a row per bin from 1 to the longest, including empty bins. Both bounds belong to
      the bin.
    """
    videos = np.bincount((lengths - 1) // BIN)
    first = BIN * np.arange(len(videos)) + 1
    return pd.DataFrame({'frames_from': first, 'frames_to': first + BIN - 1, 'videos': videos})


def count_classes(split: SplitContents) -> pd.DataFrame:
    """Counts the videos and frames of each class.

    Returns:
      `class, videos, with_frames`, a column for each of REASONS, `frames`: a row per class, and the row `-` for
      unlabelled videos. `videos` counts those of the official split, `with_frames` those in the manifest, and `frames`
      the lines of the manifest.
    """
    table = pd.DataFrame(
        0, [*EMOTIONS, UNKNOWN], pd.Index(['videos', 'with_frames', *REASONS, 'frames'], name='class'), np.int64
    )
    counts: Counter[tuple[str, str]] = Counter()
    for row in split.videos:
        name = UNKNOWN if row.label is None else EMOTIONS[row.label]
        counts[name, 'videos'] += 1
        counts[name, split.reason(row) or 'with_frames'] += 1
        counts[name, 'frames'] += split.lines.get(row.video_id, 0)
    for (name, column), count in counts.items():
        table.loc[name, column] = count
    if not table.loc[UNKNOWN, 'videos']:
        table = table.drop(index=UNKNOWN)
    elif table.loc[UNKNOWN, 'videos'] == len(split.videos):
        table = table.loc[[UNKNOWN]]
    return table.rename_axis(index='class', columns=None).reset_index()


def count_skipped(split: SplitContents) -> pd.DataFrame:
    """Counts the videos and frames that were left out, by the ledger.

    Returns:
      `reason, videos, frames`. A row for each of REASONS counts whole videos and all frames decoded from them. Frames
      are `-` if the ledger has no count. If a line is a frame, the row `frame_not_kept` counts videos that lost some of
      their frames, and the lost frames. If frames.csv exists, each reason in it has a row as well, such as
      `frame_no_face` and `frame_other_person`.
    """
    rows: list[tuple[str, int, int | str]] = []
    for reason in REASONS:
        videos = [row for row in split.videos if split.reason(row) == reason]
        known = [row.frames_decoded for row in videos if row.frames_decoded is not None]
        rows.append((reason, len(videos), sum(known) if known or not videos else UNKNOWN))
    if split.item == 'frame':
        lost = _lost_frames(split)
        rows.append((NOT_KEPT, sum(1 for count in lost if count), sum(lost)))
        statuses = [_count_statuses(path) for path in split.tables if path.exists()]
        for status in sorted(set().union(*statuses) - {KEPT, HELD, REUSED_BOX}):
            counts = [counter[status] for counter in statuses if counter[status]]
            rows.append((f'frame_{status}', len(counts), sum(counts)))
    return pd.DataFrame(rows, columns=['reason', 'videos', 'frames'])


def _lost_frames(split: SplitContents) -> list[int]:
    """Returns how many decoded frames were not kept, for each video with frames and with a count in the ledger."""
    return [
        row.frames_decoded - row.frames_kept
        for row in split.videos
        if not split.reason(row) and row.frames_decoded is not None
    ]


def _count_statuses(path: Path) -> Counter[str]:
    """Counts the frames of a frames.csv by their status."""
    try:
        with open(path, encoding='utf-8', newline='') as file:
            header, *rows = csv.reader(file)
        column = header.index('status')
        return Counter(row[column] for row in rows)
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise InputError(f'{path}: {error}; expected what preparation wrote, with a column status') from None


def summarise(split: SplitContents) -> dict[str, str]:
    """Returns a row of summary.csv, with `-` for a value that is not known or does not apply.

    Skewness is the adjusted Fisher-Pearson coefficient. Below 0, most videos are long and a few are much shorter.
    """
    classes, lengths = count_classes(split), split.lengths
    summary: dict[str, object] = {
        'split': split.name,
        'item': split.item,
        'ledger': 'yes' if split.with_ledger else 'no',
        'videos': len(split.videos),
        'with_frames': len(split.lines),
    }
    summary |= {reason: classes[reason].sum() if split.with_ledger else UNKNOWN for reason in REASONS}
    videos = dict(zip(classes['class'], classes['videos'], strict=True))
    summary |= {name: videos.get(name, UNKNOWN) for name in EMOTIONS}
    summary['unlabelled'] = videos.get(UNKNOWN, 0)
    summary['frames'] = sum(split.lines.values())
    known = split.item == 'frame' and split.with_ledger
    summary[NOT_KEPT] = sum(_lost_frames(split)) if known else UNKNOWN
    for name, share in _QUANTILES.items():
        summary[name] = f'{np.quantile(lengths, share):g}' if len(lengths) else UNKNOWN
    summary['mean'] = f'{lengths.mean():.2f}' if len(lengths) else UNKNOWN
    summary['skewness'] = f'{pd.Series(lengths).skew():.3f}' if len(lengths) > 2 else UNKNOWN
    return {name: str(value) for name, value in summary.items()}
