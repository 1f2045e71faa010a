# SPDX-License-Identifier: Apache-2.0
"""The videos of prepared splits: those of the official split, and those in its manifest."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.emotions import FOLDER_CODES
from fer.errors import InputError
from fer.manifest import GAPS, LedgerRow, Manifest, existing_ledger, read_ledger, read_manifest
from fer.prepare.layout import SPLITS
from fer.prepare.prepared import FRAMES_FILE

ITEMS = ('frame', 'video', 'still')  # meanings of a manifest's line, as in fer.manifest.read_manifest
UNSTATED = 'unstated'  # reason of a video without a line in the manifest and without a gap in the ledger
REASONS = (*GAPS[1:], UNSTATED)


class SplitContents(NamedTuple):
    """The videos of a prepared split, by its manifest and ledger."""

    name: str
    item: str  # one of ITEMS
    with_ledger: bool  # without a ledger, it is not known what was left out
    videos: list[LedgerRow]  # of the official split
    lines: dict[str, int]  # by id, the number of lines of each video in the manifest
    tables: list[Path]  # path of frames.csv of each video with frames, which may not exist

    @property
    def lengths(self) -> np.ndarray:
        """Lengths in frames, int64 [videos with frames]. Empty if a line is a whole video's audio or an image."""
        return np.array(list(self.lines.values()) if self.item == 'frame' else [], np.int64)

    def reason(self, row: LedgerRow) -> str:
        """Returns why the manifest has no line of a video, one of REASONS. '' if it has one."""
        return '' if row.video_id in self.lines else row.gap or UNSTATED


def find_splits(data: Path) -> list[str]:
    """Returns the names of the manifests in a folder, train, val and test first.

    Manifests are all .txt files except those whose names end in `flags`.

    Raises:
      InputError: the folder does not exist, or contains no manifest.
    """
    if not data.is_dir():
        raise InputError(f'--data={data}: {"a file" if data.exists() else "not found"}; expected a prepared folder')
    names = [path.stem for path in data.glob('*.txt') if not path.stem.endswith('flags') and path.name[0] != '.']
    if not names:
        raise InputError(f'--data={data}: no manifest (<split>.txt); expected a prepared folder')
    return sorted(names, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))


def read_split(manifest: Path, item: str | None = None) -> SplitContents:
    """Reads a manifest and its ledger.

    Args:
      manifest: its path.
      item: what a line is, one of ITEMS. None takes the first meaning by which the ids equal those of the ledger.
        Without a ledger, lines are frames, unless their folders are named after classes. Then they are images, or the
        audio of whole videos.

    Raises:
      InputError: either file is malformed, or they do not belong together.
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
    if item_read == 'frame':
        _check_frame_counts(manifest, rows)
    return SplitContents(
        manifest.stem,
        item_read,
        bool(ledger),
        rows,
        lines={video.video_id: len(video.lines) for video in found.videos},
        tables=[Path(video.frames[0]).with_name(FRAMES_FILE) for video in found.videos if video.frames],
    )


def _first_that_agrees(path: Path, items: Sequence[str]) -> tuple[str, Manifest, list[LedgerRow]]:
    """Returns the first of `items` by which the manifest and its ledger agree, with the manifest and the ledger.

    Raises:
      InputError: no item makes them agree. The error is that of the first item.
    """
    problems = []
    for item in items:
        try:
            manifest = read_manifest(path, item=item, min_frames=1)
            return item, manifest, read_ledger(manifest)
        except InputError as error:
            problems.append(error)
    raise problems[0]


def _check_frame_counts(manifest: Path, rows: Sequence[LedgerRow]) -> None:
    for row in rows:
        if not 0 <= row.frames_kept <= (np.inf if row.frames_decoded is None else row.frames_decoded):
            raise InputError(
                f'{existing_ledger(str(manifest))}: {row.frames_kept} of {row.frames_decoded} frames of video '
                f'{row.video_id} were kept; expected no more than were decoded'
            )
