"""What prepared splits hold: lengths of their videos, their classes, and what was left out and why.

The breakdown of dissertation 2.2.2 (figures 2.1 to 2.5), for any prepared dataset. A length is the number of frames
that face detection kept, not the video's own. Everything comes from manifests, their ledgers and the frames.csv beside
the faces of each video; no image is opened.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from fer.emotions import EMOTIONS, FOLDER_CODES
from fer.errors import InputError
from fer.files import atomic_write
from fer.manifest import GAPS, UNKNOWN, LedgerRow, Manifest, existing_ledger, read_ledger, read_manifest
from fer.prepare.layout import SPLITS
from fer.prepare.prepared import FRAMES_FILE, HELD, KEPT, REUSED_BOX

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ITEMS = ('frame', 'video', 'still')  # what a line of a manifest can be, in the words of fer.manifest.read_manifest
BIN = 10  # frames to a bin of lengths, as in the dissertation's figures: 1 to 10, 11 to 20, ...
UNSTATED = 'unstated'  # the manifest lacks a video, and the ledger has no gap for it
REASONS = (*GAPS[1:], UNSTATED)
NOT_KEPT = 'frame_not_kept'  # a frame without a face, in a video that has others
SUMMARY = 'summary.csv'
_QUANTILES = {'shortest': 0, 'q05': 0.05, 'q25': 0.25, 'median': 0.5, 'q75': 0.75, 'q95': 0.95, 'longest': 1}


class Split(NamedTuple):
    name: str
    item: str  # one of ITEMS
    with_ledger: bool  # without one, what was left out is not known
    videos: list[LedgerRow]  # what the split officially has
    lines: dict[str, int]  # of each item that the manifest has, by id
    tables: list[Path]  # where frames.csv of each video with frames would be

    @property
    def lengths(self) -> np.ndarray:
        """int64 [videos with frames]; empty where a line is a whole video's sound, or an image."""
        return np.array(list(self.lines.values()) if self.item == 'frame' else [], np.int64)

    def reason(self, row: LedgerRow) -> str:
        """Why the manifest lacks a video, one of REASONS; '' if it has it."""
        return '' if row.video_id in self.lines else row.gap or UNSTATED


def find_splits(data: Path) -> list[str]:
    """Names of the manifests in a folder: its .txt files but those of flags; train, val and test come first.

    Raises:
      InputError: there is no such folder, or no manifest in it.
    """
    if not data.is_dir():
        raise InputError(f'--data={data}: {"a file" if data.exists() else "not found"}; expected a prepared folder')
    names = [path.stem for path in data.glob('*.txt') if not path.stem.endswith('flags') and path.name[0] != '.']
    if not names:
        raise InputError(f'--data={data}: no manifest (<split>.txt); expected a prepared folder')
    return sorted(names, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))


def read_split(manifest: Path, item: str | None = None) -> Split:
    """Reads a manifest and its ledger.

    Args:
      manifest: its path.
      item: what a line is, one of ITEMS. None finds the reading whose ids are the ledger's. Without a ledger, lines are
        frames, unless their folders are called after classes: these hold whole sounds, or images.

    Raises:
      InputError: either file is malformed, or they do not go together.
    """
    ledger = read_ledger(Manifest(str(manifest), []))
    if item:
        candidates: tuple[str, ...] = (item,)
    elif any('/' in row.video_id for row in ledger):  # only an image's id is a path
        candidates = ('still',)
    else:
        candidates = ('frame', 'video', 'still') if ledger else ('frame',)
    item_read, found, rows = _first_that_agrees(manifest, candidates)
    if not item and not ledger and all(video.video_id.lower() in FOLDER_CODES for video in found.videos):
        each = 'still' if found.videos[0].frames else 'video'
        item_read, found, rows = _first_that_agrees(manifest, (each,))
    split = Split(
        manifest.stem,
        item_read,
        bool(ledger),
        rows,
        lines={video.video_id: len(video.lines) for video in found.videos},
        tables=[Path(video.frames[0]).with_name(FRAMES_FILE) for video in found.videos if video.frames],
    )
    if item_read == 'frame':
        for row in rows:
            if not 0 <= row.frames_kept <= (np.inf if row.frames_decoded is None else row.frames_decoded):
                raise InputError(
                    f'{existing_ledger(str(manifest))}: {row.frames_kept} of {row.frames_decoded} frames of video '
                    f'{row.video_id} were kept; expected no more than there are'
                )
    return split


def _first_that_agrees(path: Path, items: Sequence[str]) -> tuple[str, Manifest, list[LedgerRow]]:
    """The first of `items` by which manifest and ledger go together, and both; raises what the first one raises."""
    problems = []
    for item in items:
        try:
            manifest = read_manifest(path, item=item, min_frames=1)
            return item, manifest, read_ledger(manifest)
        except InputError as error:
            problems.append(error)
    raise problems[0]


def count_lengths(lengths: np.ndarray) -> pd.DataFrame:
    """`frames_from, frames_to, videos`: how many videos have a length within each bin, both bounds included.

    Args:
      lengths: int [videos], each 1 or more. Bins go from 1 to the longest, empty ones as well.
    """
    videos = np.bincount((lengths - 1) // BIN)
    first = BIN * np.arange(len(videos)) + 1
    return pd.DataFrame({'frames_from': first, 'frames_to': first + BIN - 1, 'videos': videos})


def count_classes(split: Split) -> pd.DataFrame:
    """`class, videos, with_frames`, a column for each of REASONS, `frames`: one row a class; `-` are unlabelled.

    `videos` is what the split officially has, `with_frames` those in the manifest, `frames` its lines.
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


def count_skipped(split: Split) -> pd.DataFrame:
    """`reason, videos, frames`: what was left out, by the ledger.

    A row for each of REASONS counts whole videos and all frames decoded from them, `-` where the ledger knows of none.
    Where lines are frames, `frame_not_kept` counts the videos that have frames but lost some, and those lost; then, as
    far as there are frames.csv, a row for each reason, such as `frame_no_face` and `frame_other_person`.
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


def _lost_frames(split: Split) -> list[int]:
    """How many frames were decoded and not kept, of each video that has frames and of which the ledger knows."""
    return [
        row.frames_decoded - row.frames_kept
        for row in split.videos
        if not split.reason(row) and row.frames_decoded is not None
    ]


def _count_statuses(path: Path) -> Counter[str]:
    try:
        with open(path, encoding='utf-8', newline='') as file:
            header, *rows = csv.reader(file)
        column = header.index('status')
        return Counter(row[column] for row in rows)
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise InputError(f'{path}: {error}; expected what preparation wrote, with a column status') from None


def summarise(split: Split) -> dict[str, str]:
    """A row of summary.csv; `-` is what cannot be known or does not apply.

    Skewness is the adjusted Fisher-Pearson coefficient: below 0, most videos are long and a few short ones trail.
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


def write_statistics(data: Path, output: Path, splits: Sequence[str], item: str | None = None) -> list[dict[str, str]]:
    """Writes the tables and pictures of prepared splits.

    Of each split: `classes_<split>.csv` and, unless nothing is labelled, its .png; `lengths_<split>.csv` and .png where
    it has lengths; `skipped_<split>.csv` where it has a ledger. And `summary.csv`, a row a split. Files of these names
    that do not apply any more are taken away.

    Args:
      data: folder of `<split>.txt` and their ledgers.
      output: folder to write to, made if need be.
      splits: their names.
      item: as in `read_split`.

    Returns:
      The rows of summary.csv, for `format_summaries`.

    Raises:
      InputError: a manifest or ledger is missing or malformed; nothing is written then.
    """
    read = [read_split(data / f'{name}.txt', item) for name in splits]
    output.mkdir(parents=True, exist_ok=True)
    for split in read:
        lengths, classes = split.lengths, count_classes(split)
        labelled = classes[classes['class'] != UNKNOWN]
        tables = {'classes': classes}
        pictures = {} if labelled.empty else {'classes': draw_classes(labelled, split.name)}
        if len(lengths):
            tables['lengths'] = count_lengths(lengths)
            pictures['lengths'] = draw_lengths(tables['lengths'], float(np.median(lengths)), split.name)
        if split.with_ledger:
            tables['skipped'] = count_skipped(split)
        for kind in ('classes', 'lengths', 'skipped'):
            path = output / f'{kind}_{split.name}.csv'
            if kind in tables:
                _write_table(path, tables[kind])
            else:
                path.unlink(missing_ok=True)
            picture = path.with_suffix('.png')
            if kind in pictures:
                with atomic_write(picture, 'wb') as file:
                    pictures[kind].savefig(file, format='png', dpi=100)
            else:
                picture.unlink(missing_ok=True)
    summaries = [summarise(split) for split in read]
    _write_table(output / SUMMARY, pd.DataFrame(summaries))
    return summaries


def format_summaries(summaries: Sequence[Mapping[str, str]]) -> str:
    """The rows of summary.csv side by side, a line a figure, and what they cannot say."""
    columns = [list(summaries[0]), *(list(summary.values()) for summary in summaries)]
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = [
        '  '.join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in zip(*columns, strict=True)
    ]
    notes = {
        'no ledger, so what was left out is not known': _names(summaries, 'ledger', ('no',)),
        'no labels': [s['split'] for s in summaries if s['unlabelled'] == s['videos']],
        'no video with frames, so no lengths': [
            s['split'] for s in summaries if s['item'] == 'frame' and s['with_frames'] == '0'
        ],
        'a line is a whole sound, so no lengths': _names(summaries, 'item', ('video',)),
        'a line is an image, so no lengths': _names(summaries, 'item', ('still',)),
    }
    return '\n'.join(lines + [f'{", ".join(names)}: {note}' for note, names in notes.items() if names])


def draw_lengths(table: pd.DataFrame, median: float, name: str) -> 'Figure':
    """Bars of `count_lengths` (figures 2.1 to 2.3)."""
    figure = _figure()
    axes = figure.subplots()
    axes.bar(table['frames_from'] - 0.5, table['videos'], width=BIN, align='edge', edgecolor='white', linewidth=0.5)
    axes.axvline(median, color='tab:orange', label=f'median, {median:g}')
    axes.set(xlabel=f'frames kept, bins of {BIN}', ylabel='videos')
    axes.set_title(f'{name}: lengths of {table["videos"].sum()} videos', parse_math=False)
    figure.legend(fontsize=8, loc='outside upper right')
    return figure


def draw_classes(table: pd.DataFrame, name: str) -> 'Figure':
    """Bars of the labelled rows of `count_classes` (figures 2.4 and 2.5): with frames, and above them without."""
    figure = _figure()
    axes = figure.subplots()
    without = table['videos'] - table['with_frames']
    axes.bar(table['class'], table['with_frames'], label='with frames')
    bars = axes.bar(table['class'], without, bottom=table['with_frames'], color='tab:gray', label='without')
    axes.bar_label(bars, [str(count) for count in table['videos']], fontsize=8)
    axes.set(ylabel='videos')
    axes.set_title(f'{name}: classes of {table["videos"].sum()} videos', parse_math=False)
    figure.legend(fontsize=8, loc='outside upper right')
    return figure


def _names(summaries: Iterable[Mapping[str, str]], column: str, values: Sequence[str]) -> list[str]:
    return [summary['split'] for summary in summaries if summary[column] in values]


def _figure() -> 'Figure':
    from matplotlib.figure import Figure  # here: it takes a third of a second, and --help imports this module

    return Figure(figsize=(7, 3.6), layout='constrained')


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with atomic_write(path) as file:
        table.to_csv(file, index=False, lineterminator='\n')
