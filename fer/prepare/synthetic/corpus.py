# SPDX-License-Identifier: Apache-2.0
"""The clips of all splits, as .avi files in AFEW's folders."""

import csv
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2
import ffmpeg

from fer.emotions import AFEW_SPELLING, EMOTIONS
from fer.errors import InputError
from fer.files import atomic_write, error_in, naming
from fer.prepare.ffmpeg import FFMPEG
from fer.prepare.media import FRAMES_PER_SECOND
from fer.prepare.synthetic.frames import draw_frames
from fer.prepare.synthetic.identity import SPLITS
from fer.prepare.synthetic.plan import ClipPlan, clip_rng, plan_split
from fer.prepare.synthetic.script import IMAGE_HEIGHT, IMAGE_WIDTH, write_script
from fer.prepare.synthetic.voice import SAMPLE_RATE, speak
from fer.progress import progress

LABELS_FILE = 'Test_AFEW_labels.csv'

# One thread, and no version strings of the encoder in the file, so that the same input gives the same bytes.
_BIT_EXACT = {'fflags': '+bitexact', 'flags:v': '+bitexact', 'flags:a': '+bitexact', 'threads': 1}
_QUALITY = 4  # mpeg4 quantiser, from 1 (best) to 31. At 4 a clip looks like a ripped DVD


def write_corpus(output: str | Path, sizes: dict[str, int], seed: int, jobs: int, *, overwrite: bool = False) -> None:
    """Writes all clips, several at a time, with a progress bar.

    Args:
      output: the corpus's folder. It is made if it is missing.
      sizes: number of clips of each of `SPLITS`.
      seed: of everything random.
      jobs: number of processes. It changes only how long this takes.
      overwrite: replace an earlier corpus in `output`. Other files there stay.

    Raises:
      InputError: `output` contains other files, or it contains a synthetic corpus and `overwrite` is False.
    """
    output = Path(output)
    _clear(output, overwrite)
    output.mkdir(parents=True, exist_ok=True)
    plans = [plan for split in SPLITS for plan in plan_split(split, sizes[split], seed)]
    for plan in plans:
        clip_path(output, plan).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / LABELS_FILE) as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(['video_id', 'label'])
        rows.writerows(sorted((plan.video_id, EMOTIONS[plan.emotion]) for plan in plans if plan.split == 'Test'))
    _write_clips(output, plans, seed, jobs)


def _clear(output: Path, overwrite: bool) -> None:
    """Removes an earlier corpus. Raises InputError if `output` contains anything that must stay."""
    if output.exists() and not output.is_dir():
        raise InputError(f'{output}: expected a folder')
    if output.is_dir() and any(output.iterdir()):
        if not (output / LABELS_FILE).exists():
            raise InputError(
                f'{output}: contains files but no {LABELS_FILE}; expected an earlier corpus, or an empty folder'
            )
        if not overwrite:
            raise InputError(f'{output}: contains a synthetic corpus already; --overwrite replaces it')
        for split in SPLITS:
            shutil.rmtree(output / f'{split}_AFEW', ignore_errors=True)


def _write_clips(output: Path, plans: Sequence[ClipPlan], seed: int, jobs: int) -> None:
    """Writes the clips in several processes. An error in one of them stops the others."""
    # New processes (spawn) instead of copies (fork), because a copy of a process with threads may hang.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        clips = [pool.submit(write_clip, output, plan, seed) for plan in plans]
        try:
            for clip in progress(as_completed(clips), total=len(clips), unit='clip', label='synthetic corpus'):
                clip.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def clip_path(output: Path, plan: ClipPlan) -> Path:
    """Returns the path of a clip. In the hold-out, it does not reveal the emotion."""
    folder = output / f'{plan.split}_AFEW'
    if plan.split != 'Test':
        folder /= AFEW_SPELLING[plan.emotion]
    return folder / f'{plan.video_id}.avi'


def write_clip(output: Path, plan: ClipPlan, seed: int) -> None:
    """Writes one clip, complete or not at all."""
    script = write_script(plan, seed)
    frames = draw_frames(script, clip_rng(plan, seed, purpose=1))
    audio = speak(script, clip_rng(plan, seed, purpose=2))
    path = clip_path(output, plan)
    partial = path.with_suffix('.partial')
    with tempfile.TemporaryDirectory() as scratch:
        audio_path = os.path.join(scratch, 'audio.raw')
        with naming(audio_path):
            Path(audio_path).write_bytes(audio.astype('<i2').tobytes())  # NumPy's tofile would hide why it fails
        try:
            ffmpeg.run(_encoder(audio_path, partial), cmd=FFMPEG, input=frames.tobytes(), quiet=True)
        except ffmpeg.Error as error:  # this class cannot be sent between processes
            partial.unlink(missing_ok=True)
            messages = error.stderr.decode(errors='replace')
            last = messages.strip().rpartition('\n')[2]
            raise error_in(messages, path) or OSError(f'{path}: ffmpeg failed: {last}') from None
    os.replace(partial, path)


def _encoder(audio_path: str, path: Path) -> ffmpeg.nodes.OutputStream:
    """Returns the ffmpeg command that writes an .avi from raw audio and the frames at its standard input."""
    frames = ffmpeg.input(
        'pipe:', format='rawvideo', pix_fmt='rgb24', s=f'{IMAGE_WIDTH}x{IMAGE_HEIGHT}', r=FRAMES_PER_SECOND
    )
    audio = ffmpeg.input(f'file:{audio_path}', format='s16le', ar=SAMPLE_RATE, ac=1)
    options = {'format': 'avi', 'vcodec': 'mpeg4', 'pix_fmt': 'yuv420p', 'qscale:v': _QUALITY, 'acodec': 'pcm_s16le'}
    return ffmpeg.overwrite_output(ffmpeg.output(frames, audio, f'file:{path}', **options, **_BIT_EXACT))
