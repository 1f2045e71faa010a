# SPDX-License-Identifier: Apache-2.0
"""The result of preparing one video or image, and the manifests and ledgers that a split's results become."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from fer import emotions
from fer.files import atomic_files
from fer.manifest import LedgerRow, ledger_path, write_ledger, write_manifest
from fer.prepare.smile.sets import EMO_LARGE, SETS, name_functionals
from fer.sample_rates import rates_path, write_rates

FRAMES_FILE = 'frames.csv'  # beside a video's faces, with a row for each frame
KEPT, HELD, REUSED_BOX = 'kept', 'held', 'reused_box'  # statuses in FRAMES_FILE of frames that are in the manifest
MIN_FRAMES = 2  # a video with fewer faces is not a sequence, so its ledger row has the gap no_face

# File names of a split's manifests beside <split>.txt, which lists the faces.
CLIPS = '{}_clips.txt'  # lists the openSMILE CSV of each kept frame's 0.04 s of audio
AUDIOVISUAL = '{}_audiovisual.txt'  # lists the same CSV and that frame's face
# Each lists the openSMILE CSVs of whole videos' audio, by the name of the set's functionals.
FUNCTIONALS = {name: f'{{}}_{name}.txt' for name in map(name_functionals, SETS)}
MANIFESTS = ('{}.txt', CLIPS, AUDIOVISUAL, *FUNCTIONALS.values())


class Prepared(NamedTuple):
    """The result of preparing one video or image. Its paths are relative to the output folder.

    Records of finished videos store the fields by these names, so the names must not change.
    """

    row: LedgerRow  # its row in the ledger of faces
    frames: list[str]  # its face images, in time order
    clips: list[str]  # the CSV of each frame's audio, empty without audio
    functionals: str  # the CSV of all its audio with emo_large, '' without audio or without that set
    statuses: dict[str, int]  # how many frames of a video have each status of frames.csv
    sound: dict[str, int]  # how many of `clips` are silent, or padded because the audio ends earlier
    problem: str  # reason why it cannot be used, or only in part. '' if nothing is wrong.
    facts: dict[str, str]  # {unusual property: treatment}, as 'several audio streams': 'took audio stream 1 of 2'
    sample_rate: int | None = None  # of its audio, in Hz. None without audio.
    other_functionals: dict[str, str] = {}  # noqa: RUF012 (immutable)  {functionals_<set>: the CSV with that set}

    @property
    def all_functionals(self) -> dict[str, str]:
        """Returns the CSV of each set by the name of its functionals. Empty without audio."""
        emo_large = {name_functionals(EMO_LARGE): self.functionals} if self.functionals else {}
        return emo_large | self.other_functionals


def without_audio(row: LedgerRow, frames: list[str], problem: str) -> Prepared:
    """Returns the result for an item without audio, or for one that cannot be used at all."""
    return Prepared(row, frames, [], '', {}, {}, problem, {})


def write_split(
    split: str, prepared: Sequence[Prepared], output: Path, audio: Sequence[str] = (), *, faces: bool = True
) -> None:
    """Writes the manifests of a split, each with a ledger of every official item. Audio also gets its sampling rates.

    Args:
      split: its name.
      prepared: its items, in the manifests' order.
      output: the folder that the manifests are written to.
      audio: the audio manifests to write: `clips` and names of functionals. `clips` also writes the audio-visual
        manifest if `faces` is True.
      faces: True to write the manifests that list faces.
    """
    with atomic_files(output) as files:  # all at once, because manifests and ledgers that disagree are refused
        if faces:
            items = [(item.row, [(frame,) for frame in item.frames]) for item in prepared]
            _write_manifest_and_ledger(files / f'{split}.txt', items)
        if 'clips' in audio:
            rows = [_make_audio_row(item.row, len(item.clips), item.row.gap or 'no_audio') for item in prepared]
            clips = [[(clip,) for clip in item.clips] for item in prepared]
            _write_manifest_and_ledger(files / CLIPS.format(split), zip(rows, clips, strict=True))
            if faces:
                # An item with audio has a clip for every frame.
                pairs = [list(zip(item.clips, item.frames, strict=bool(item.clips))) for item in prepared]
                _write_manifest_and_ledger(files / AUDIOVISUAL.format(split), zip(rows, pairs, strict=True))
        for name in audio:
            if name in FUNCTIONALS:
                items_of_audio = [_make_functionals_item(item, name) for item in prepared]
                _write_manifest_and_ledger(files / FUNCTIONALS[name].format(split), items_of_audio)
        for name in MANIFESTS[1:]:
            if (manifest := files / name.format(split)).exists():
                write_rates(rates_path(manifest), count_rates(prepared))


def count_rates(prepared: Iterable[Prepared]) -> Counter[int]:
    """Returns how many items have audio of each sampling rate in Hz."""
    return Counter(item.sample_rate for item in prepared if item.sample_rate)


def _make_functionals_item(item: Prepared, name: str) -> tuple[LedgerRow, list[tuple[str]]]:
    """Returns the row in the ledger and the line in the manifest of a whole video's audio. They need no face."""
    gap = 'no_audio' if item.row.gap in ('', 'no_face') else item.row.gap
    path = item.all_functionals.get(name, '')
    return _make_audio_row(item.row, int(path != ''), gap), [(path,)]


def _make_audio_row(row: LedgerRow, kept: int, gap: str) -> LedgerRow:
    return row._replace(frames_kept=kept, gap='' if kept else gap)


def _write_manifest_and_ledger(manifest: Path, items: Iterable[tuple[LedgerRow, Sequence[tuple[str, ...]]]]) -> None:
    """Writes the lines of each item whose row has no gap to the manifest, and every item's row to its ledger."""
    items = list(items)
    lines: list[tuple[str, ...]] = []
    for row, names in items:
        label = () if row.label is None else (emotions.to_one_hot(row.label),)
        lines += [(*line, *label) for line in names if not row.gap]
    write_ledger(ledger_path(manifest), (row for row, _ in items))
    write_manifest(manifest, lines)
