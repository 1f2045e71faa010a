# SPDX-License-Identifier: Apache-2.0
"""Checks that each kept frame and its audio clip are of one instant: python -m tests.benchmarks.alignment [--clips=DIR]

Prepares real clips with `python -m fer.prepare`, then checks every line of the audio-visual manifest.

The time of a frame does not come from its number. The source is decoded without a change of rate, and the source frame
with the same pixels is found. Its own time stamps give the time for which it is on the screen. The time of a clip is
where its 0.04 s lie in the wav. There openSMILE must compute the features that are in the clip's CSV.

Prints a row per video with the largest offset: from the beginning of a clip to the time its frame is on the screen.
Exits with 1 if it is more than half a frame, of the source or of 25 frames/s, whichever is longer.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from fer import cli
from fer.errors import InputError
from fer.manifest import read_ledger, read_manifest
from fer.prepare.datasets.source_files import VIDEO_SUFFIXES
from fer.prepare.ffmpeg import FFMPEG
from fer.prepare.media import FRAMES_PER_SECOND, read_frames
from fer.prepare.smile.extract import clip_features
from tests.realmedia import find_realdata

flags.DEFINE_string('clips', None, 'Folder of clips, searched at any depth. Default: that of the tests (FER_REALDATA).')
flags.DEFINE_enum('detector', 'mtcnn', ['mtcnn', 'none'], 'Face detector. none keeps every frame, and is fast.')


class Row(NamedTuple):
    """The offsets of a video."""

    rate: float  # of the source, frames/s
    decoded: int
    kept: int
    gap: str
    offsets: np.ndarray  # float [kept], seconds between the clip's beginning and the time its frame is on the screen


def main() -> int:
    args = flags.FLAGS
    folder = Path(args.clips) if args.clips else find_realdata()
    found = sorted(path for path in folder.rglob('*') if path.suffix in VIDEO_SUFFIXES) if folder else []
    if not found:
        raise InputError(f'--clips={folder}: expected a folder with videos (or one named by FER_REALDATA)')
    with tempfile.TemporaryDirectory(prefix='fer-alignment-') as temporary:
        rows = measure({path.stem: path for path in found}, Path(temporary), args.detector)
    print('clip        source frames/s  decoded  kept  gap          largest offset  within half a frame')
    bad = 0
    for name, row in rows.items():
        half = 0.5 / min(row.rate, FRAMES_PER_SECOND)
        far = int((row.offsets > half + 1e-4).sum())  # stamps have at least four decimals
        largest = f'{1000 * row.offsets.max():.1f} of {1000 * half:.1f} ms' if row.kept else '-'
        share = f'{row.kept - far} of {row.kept}' if row.kept else '-'
        counts = f'{row.rate:15.3f}  {row.decoded:7d}  {row.kept:4d}  {row.gap or "-":8s}'
        print(f'{name:10.10s}  {counts}  {largest:>17s}  {share:>19s}')
        bad += far
    return 1 if bad else 0


def measure(clips: dict[str, Path], folder: Path, detector: str) -> dict[str, Row]:
    """Prepares clips, by name, as one split, and compares the time of each kept frame with that of its clip."""
    for name, path in clips.items():
        target = folder / 'raw' / 'Val_AFEW' / 'Neutral' / f'{name}{path.suffix}'
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path.resolve())
    data = folder / 'data'
    command = ['python', '-m', 'fer.prepare', '--dataset=afew', f'--source={folder / "raw"}', f'--output={data}']
    print(f'$ {" ".join(command)} --detector={detector} --audio_features=clips', flush=True)
    subprocess.run([sys.executable, *command[1:], f'--detector={detector}', '--audio_features=clips'], check=True)
    manifest = read_manifest(data / 'val_audiovisual.txt')
    lines = {video.video_id: video for video in manifest.videos}
    rows = {}
    for row in read_ledger(manifest):
        times, rate, shown = source_times(clips[row.video_id])
        offsets = []
        if row.video_id in lines:
            video = lines[row.video_id]
            wav = next((data / 'wav').rglob(f'{row.video_id}.wav'))
            expected = clip_features(wav, len(shown), 'contextual').values
            for clip, face in zip(video.audio, video.frames, strict=True):
                values = np.loadtxt(clip, np.float32, delimiter=',', skiprows=1)
                number = int(Path(clip).stem)
                assert np.array_equal(values, expected[number - 1]), f'{clip}: the features of another instant'
                begin, end = times[shown[int(Path(face).stem) - 1]]
                clip_time = (number - 1) / FRAMES_PER_SECOND
                offsets.append(max(begin - clip_time, clip_time - end, 0.0))
        rows[row.video_id] = Row(rate, row.frames_decoded or 0, row.frames_kept, row.gap, np.array(offsets))
    return rows


def source_times(path: Path) -> tuple[np.ndarray, float, list[int]]:
    """Returns what a video shows and when, by the source's own frames.

    Returns:
      The seconds from which and to which each source frame is on the screen, float [frames, 2]. Their rate. For each
      frame at 25 frames/s, the index of its source frame.
    """
    command = [FFMPEG, '-nostdin', '-threads', '1', '-i', str(path), '-map', '0:v:0', '-vf', 'showinfo']
    command += ['-fps_mode', 'passthrough', '-f', 'rawvideo', '-pix_fmt', 'rgb24', 'pipe:']
    done = subprocess.run(command, capture_output=True, check=True)
    stamps = np.array(re.findall(rb'pts_time:\s*([0-9.]+)', done.stderr), np.float64)
    last = float(re.findall(rb'duration_time:\s*([0-9.]+)', done.stderr)[-1])
    source = np.frombuffer(done.stdout, np.uint8).reshape(len(stamps), -1)
    shown: list[int] = []
    for image in read_frames(path):
        # Of several frames with the same pixels, the nearest in time is taken.
        pixels, time, start = image.ravel(), len(shown) / FRAMES_PER_SECOND, shown[-1] if shown else 0
        alike = [k for k in range(start, min(start + 12, len(source))) if np.array_equal(source[k], pixels)]
        assert alike, f'{path}: frame {len(shown) + 1} is not in the source'
        shown.append(min(alike, key=lambda k: abs(stamps[k] - time)))
    times = np.stack([stamps, np.append(stamps[1:], stamps[-1] + last)], axis=1)
    return times, float(1 / np.median(np.diff(stamps))), shown


if __name__ == '__main__':
    cli.run(main)
