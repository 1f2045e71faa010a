"""What several test files share: a small corpus of painted faces, and a way to run the commands."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import ffmpeg
import numpy as np
import pytest

from fer import emotions
from fer.manifest import LedgerRow, write_ledger, write_manifest
from fer.prepare.ffmpeg import FFMPEG

ROOT = Path(__file__).resolve().parents[1]


class Finished(NamedTuple):
    """A command that ended."""

    code: int
    out: str
    err: str


def run(*arguments: object, ok: bool = True, timeout: float = 600) -> Finished:
    """Runs `python ARGUMENTS` in the repository's root; with `ok`, insists on exit code 0."""
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    if ok:
        assert process.returncode == 0, process.stderr[-3000:]
    return Finished(process.returncode, process.stdout, process.stderr)


def make_clip(path, rate, seconds, sound=True, **options):
    """Writes a test picture that changes with time, 64x48, with a tone."""
    streams = [ffmpeg.input(f'testsrc=size=64x48:rate={rate}:duration={seconds}', f='lavfi')]
    if sound:
        streams.append(ffmpeg.input(f'sine=frequency=440:duration={seconds}', f='lavfi'))
    output = ffmpeg.output(*streams, str(path), loglevel='error', **options)
    output.run(cmd=FFMPEG, overwrite_output=True)


def paint_split(folder: Path, split: str, lengths: list[int], seed: int, size: int = 32) -> Path:
    """Writes JPEG faces whose class shows as a bright bar, a manifest and a ledger with one video more, faceless.

    Video k has class k % 7; its frames are mostly noise, so that no two are alike.
    """
    rng = np.random.default_rng(seed)
    rows, ledger = [], []
    for index, length in enumerate(lengths):
        label, video_id = index % 7, f'{split}{index:03d}'
        frames = folder / 'faces' / video_id
        frames.mkdir(parents=True)
        for frame in range(1, length + 1):
            image = rng.integers(0, 90, (size, size, 3)).astype(np.uint8)
            image[:, label * size // 7 : (label + 1) * size // 7] += 150
            cv2.imwrite(str(frames / f'{frame:05d}.jpg'), image)
            rows.append((f'faces/{video_id}/{frame:05d}.jpg', emotions.to_one_hot(label)))
        ledger.append(LedgerRow(video_id, label, length, length, None, ''))
    ledger.insert(1, LedgerRow(f'{split}_faceless', 0, 12, 0, None, 'no_face'))
    manifest = folder / f'{split}.txt'
    write_manifest(manifest, rows)
    write_ledger(folder / f'{split}.ledger.csv', ledger)
    return manifest


@pytest.fixture(scope='session')
def painted(tmp_path_factory) -> Path:
    """A folder with train.txt and val.txt: 14 and 9 videos of 2 to 23 frames, 32x32 pixels."""
    folder = tmp_path_factory.mktemp('painted')
    rng = np.random.default_rng(1)
    paint_split(folder, 'train', rng.integers(2, 24, 14).tolist(), seed=2)
    paint_split(folder, 'val', rng.integers(2, 24, 9).tolist(), seed=3)
    return folder


def tiny_flags(data: Path) -> list[str]:
    """Flags of train.py for a run of seconds on the painted faces."""
    return [
        f'--train_manifest={data / "train.txt"}',
        f'--val_manifest={data / "val.txt"}',
        '--image_size=32',
        '--width=0.05',
        '--seq_len=7',
        '--learning_rate=1e-3',
        '--train_epochs=1,2',
    ]


def find_realdata() -> Path | None:
    """The folder of real clips: FER_REALDATA, or `realdata` within a folder beside the checkout."""
    beside = sorted(ROOT.parent.glob('*/realdata'))
    folder = Path(os.environ.get('FER_REALDATA', beside[0] if beside else ROOT / 'realdata'))
    return folder if folder.is_dir() else None


def realdata() -> Path:
    """The folder of real clips; skips without it."""
    folder = find_realdata()
    if folder is None:
        pytest.skip('no folder of real clips (FER_REALDATA)')
    return folder
