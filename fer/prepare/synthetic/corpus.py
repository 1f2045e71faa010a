"""Writes the clips of all splits as AFEW-shaped .avi files."""

import csv
import multiprocessing
import os
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2
import ffmpeg

from fer.emotions import AFEW_SPELLING, EMOTIONS
from fer.errors import InputError
from fer.files import atomic_write, error_in, naming
from fer.prepare.ffmpeg import FFMPEG
from fer.prepare.media import FRAMES_PER_SECOND
from fer.prepare.synthetic.face import draw_frames
from fer.prepare.synthetic.identity import SPLITS
from fer.prepare.synthetic.script import IMAGE_HEIGHT, IMAGE_WIDTH, Plan, clip_rng, plan_split, write_script
from fer.prepare.synthetic.voice import SAMPLE_RATE, speak
from fer.progress import progress

LABELS_FILE = 'Test_AFEW_labels.csv'

# Same input, same bytes: one thread, and no version strings of the encoder in the file.
_BIT_EXACT = {'fflags': '+bitexact', 'flags:v': '+bitexact', 'flags:a': '+bitexact', 'threads': 1}
_QUALITY = 4  # mpeg4 quantiser from 1 (best) to 31: about what a ripped DVD shows


def write_corpus(output: str | Path, sizes: dict[str, int], seed: int, jobs: int, overwrite: bool = False):
    """Draws all clips, several at a time, with a progress bar.

    Args:
      output: the corpus's folder; made if missing.
      sizes: clips of each of `SPLITS`.
      seed: of everything random.
      jobs: processes; they change the time this takes and nothing else.
      overwrite: replace an earlier corpus in `output`. Other files there stay.

    Raises:
      InputError: `output` has files in it that are no drawn corpus, or are one and `overwrite` is False.
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise InputError(f'{output}: expected a folder')
    if output.is_dir() and any(output.iterdir()):
        if not (output / LABELS_FILE).exists():
            raise InputError(f'{output}: holds files but no {LABELS_FILE}; expected a drawn corpus, or an empty folder')
        if not overwrite:
            raise InputError(f'{output}: holds a drawn corpus already; --overwrite replaces it')
        for split in SPLITS:
            shutil.rmtree(output / f'{split}_AFEW', ignore_errors=True)

    output.mkdir(parents=True, exist_ok=True)
    plans = [plan for split in SPLITS for plan in plan_split(split, sizes[split], seed)]
    for plan in plans:
        clip_path(output, plan).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / LABELS_FILE) as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(['video_id', 'label'])
        rows.writerows(sorted((plan.video_id, EMOTIONS[plan.emotion]) for plan in plans if plan.split == 'Test'))

    # Started afresh (spawn) instead of copied (fork): a copy of a process whose libraries run threads may hang.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        clips = [pool.submit(write_clip, output, plan, seed) for plan in plans]
        try:
            for clip in progress(as_completed(clips), total=len(clips), unit='clip', label='drawing'):
                clip.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def clip_path(output: Path, plan: Plan) -> Path:
    """Where a clip belongs; the hold-out's folder does not tell the emotion."""
    folder = output / f'{plan.split}_AFEW'
    if plan.split != 'Test':
        folder /= AFEW_SPELLING[plan.emotion]
    return folder / f'{plan.video_id}.avi'


def write_clip(output: Path, plan: Plan, seed: int):
    """Draws one clip and writes it whole or not at all."""
    script = write_script(plan, seed)
    frames = draw_frames(script, clip_rng(plan, seed, purpose=1))
    sound = speak(script, clip_rng(plan, seed, purpose=2))
    path = clip_path(output, plan)
    partial = path.with_suffix('.partial')
    with tempfile.TemporaryDirectory() as scratch:
        sound_path = os.path.join(scratch, 'sound.raw')
        with naming(sound_path):
            Path(sound_path).write_bytes(sound.astype('<i2').tobytes())  # NumPy's tofile would not say why it fails
        picture_input = ffmpeg.input(
            'pipe:', format='rawvideo', pix_fmt='rgb24', s=f'{IMAGE_WIDTH}x{IMAGE_HEIGHT}', r=FRAMES_PER_SECOND
        )
        sound_input = ffmpeg.input(f'file:{sound_path}', format='s16le', ar=SAMPLE_RATE, ac=1)
        clip = ffmpeg.output(
            picture_input,
            sound_input,
            f'file:{partial}',
            format='avi',
            vcodec='mpeg4',
            pix_fmt='yuv420p',
            **{'qscale:v': _QUALITY},
            acodec='pcm_s16le',
            **_BIT_EXACT,
        )
        try:
            ffmpeg.run(clip, cmd=FFMPEG, input=frames.tobytes(), quiet=True, overwrite_output=True)
        except ffmpeg.Error as error:  # which cannot travel between processes itself
            partial.unlink(missing_ok=True)
            complaints = error.stderr.decode(errors='replace')
            last = complaints.strip().rpartition('\n')[2]
            raise error_in(complaints, path) or OSError(f'{path}: ffmpeg failed: {last}') from None
    os.replace(partial, path)
