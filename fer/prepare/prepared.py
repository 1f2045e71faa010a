"""What preparation leaves of one video or image, and the manifests and ledgers that a split's items become."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from fer import emotions
from fer.files import atomic_files
from fer.manifest import LedgerRow, ledger_path, write_ledger, write_manifest
from fer.sample_rates import rates_path, write_rates

FRAMES_FILE = 'frames.csv'  # beside a video's faces: a row per frame
KEPT, HELD, REUSED_BOX = 'kept', 'held', 'reused_box'  # what it says of frames that are in the manifest
MIN_FRAMES = 2  # a video with fewer faces is no sequence; its ledger row says no_face

# A split's manifests beside <split>.txt, the faces: what they are called, and what one of their lines is.
CLIPS = '{}_clips.txt'  # the openSMILE CSV of a kept frame's 0.04 s of sound
AUDIOVISUAL = '{}_audiovisual.txt'  # the same, and that frame's face
FUNCTIONALS = '{}_functionals.txt'  # the openSMILE CSV of a whole video's sound
MANIFESTS = ('{}.txt', CLIPS, AUDIOVISUAL, FUNCTIONALS)


class Prepared(NamedTuple):
    """What came of one video or image. Names are of files below the output folder."""

    row: LedgerRow  # its row in the ledger of faces
    frames: list[str]  # its face images, in time order
    clips: list[str]  # the CSV of each frame's sound; empty without sound
    functionals: str  # the CSV of all its sound; '' without sound
    statuses: dict[str, int]  # the frames of a video, by what frames.csv says of them
    sound: dict[str, int]  # clips of `clips` that are silent, or padded because the sound ends earlier
    problem: str  # why it cannot be used, or only in part; '' if nothing is wrong
    facts: dict[str, str]  # what the file has two of, and which was taken, by kind
    sample_rate: int | None = None  # of its audio, in Hz; None without audio


def without_sound(row: LedgerRow, frames: list[str], problem: str) -> Prepared:
    """What came of an item that has no sound, or of which nothing can be used."""
    return Prepared(row, frames, [], '', {}, {}, problem, {})


def write_split(
    split: str, prepared: Sequence[Prepared], output: Path, audio: Sequence[str] = (), faces: bool = True
) -> None:
    """Writes the manifests of a split, each with a ledger of every official item, and audio's with its sampling rates.

    Args:
      split: its name.
      prepared: its items, in the manifests' order.
      output: the folder that the manifests go to.
      audio: which audio manifests are wanted beside the faces': `clips` (then the audio-visual one too) and
        `functionals`.
      faces: whether there are pictures, and with them the manifests that have faces.
    """
    with atomic_files(output) as files:  # manifests and ledgers that do not fit each other are refused
        if faces:
            _write(files / f'{split}.txt', [(done.row, [(frame,) for frame in done.frames]) for done in prepared])
        if 'clips' in audio:
            rows = [_heard(done.row, len(done.clips), done.row.gap or 'no_audio') for done in prepared]
            clips = [[(clip,) for clip in done.clips] for done in prepared]
            _write(files / CLIPS.format(split), zip(rows, clips, strict=True))
            if faces:
                # Where there is sound, every frame has a clip.
                both = [list(zip(done.clips, done.frames, strict=bool(done.clips))) for done in prepared]
                _write(files / AUDIOVISUAL.format(split), zip(rows, both, strict=True))
        if 'functionals' in audio:
            _write(files / FUNCTIONALS.format(split), [_whole(done) for done in prepared])
        for form in (CLIPS, AUDIOVISUAL, FUNCTIONALS):
            if (manifest := files / form.format(split)).exists():
                write_rates(rates_path(manifest), count_rates(prepared))


def count_rates(prepared: Iterable[Prepared]) -> Counter[int]:
    """Returns how many items have audio of each sampling rate in Hz."""
    return Counter(done.sample_rate for done in prepared if done.sample_rate)


def _whole(done: Prepared) -> tuple[LedgerRow, list[tuple[str]]]:
    """The row and the line of a whole video's sound, which needs no face."""
    gap = 'no_audio' if done.row.gap in ('', 'no_face') else done.row.gap
    kept = int(done.functionals != '')
    return _heard(done.row, kept, gap), [(done.functionals,)]


def _heard(row: LedgerRow, kept: int, gap: str) -> LedgerRow:
    return row._replace(frames_kept=kept, gap='' if kept else gap)


def _write(manifest: Path, items: Iterable[tuple[LedgerRow, Sequence[tuple[str, ...]]]]) -> None:
    """Writes each item's lines, unless its row has a gap, and every item's row."""
    items = list(items)
    lines: list[tuple[str, ...]] = []
    for row, names in items:
        label = () if row.label is None else (emotions.to_one_hot(row.label),)
        lines += [(*line, *label) for line in names if not row.gap]
    write_ledger(ledger_path(manifest), (row for row, _ in items))
    write_manifest(manifest, lines)
