"""The ffmpeg binary, and what is asked of it: decode frames, decode sound, both from the same moment on.

The binary comes inside the imageio-ffmpeg wheel, so nothing needs root or a system package; ffmpeg-python and pydub
are told to use it here and nowhere else.
"""

import os
import re
import subprocess
import tempfile
import warnings
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import ffmpeg
import imageio_ffmpeg
import numpy as np

from fer.files import atomic_write

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # pydub looks for an ffmpeg on the PATH before it can be told where one is
    from pydub import AudioSegment

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
AudioSegment.converter = FFMPEG

FRAMES_PER_SECOND = 25  # AFEW's rate; the dissertation's frames and sound clips are 0.04 s apart (2.2.2)
_HALF_FRAME = 0.5 / FRAMES_PER_SECOND
_LONGEST_LEAD = 1_000_000 // FRAMES_PER_SECOND  # microseconds
_CHUNK = 1 << 16  # samples of sound in memory at a time
_FILE = 'file'  # stands for the input while a command is made
_NO_STREAM = 'matches no streams'  # how ffmpeg says that there is no sound track


class MediaError(Exception):
    """ffmpeg cannot read a file; the message is its own first complaint."""


def read_frames(path: str | Path, complaints: list[str] | None = None) -> Iterator[np.ndarray]:
    """Decodes a video to 25 frames/s by presentation time, whatever its container and rate.

    Frame k is the frame of the source whose time stamp is nearest to k x 0.04 s; but where the source pauses, none is
    shown more than 0.04 s before its time. Time 0 is the file's start, for pictures and for sound (`extract_wav`):
    where the pictures begin later, the first is repeated. Rotation metadata is applied, and pixels that are not square
    are made so by their width.

    Args:
      path: any file that ffmpeg reads.
      complaints: gets ffmpeg's first complaint about the file, if any, once the last frame has been read.

    Yields:
      uint8 [H, W, 3] RGB, one frame each 0.04 s.

    Raises:
      MediaError: not a single frame can be decoded. A file that breaks off later yields what it has.
    """
    # One thread: several conceal damage differently each time, and the corpus already fills the cores.
    stream = ffmpeg.input(_FILE, threads=1)
    # A frame takes over half-way from the one before it. The fps filter then shows, at each of our times, the last
    # frame that has taken over; stamps are in microseconds, so that half-way is not rounded to either frame.
    half_way = f'if(isnan(PREV_INPTS),PTS,PTS-min((PTS-PREV_INPTS)/2,{_LONGEST_LEAD}))'
    stream = stream.filter('settb', '1/1000000').filter('setpts', half_way)
    stream = stream.filter('fps', fps=FRAMES_PER_SECOND, start_time=0, round='up')
    stream = stream.filter('scale', 'iw*sar', 'ih').filter('setsar', 1)
    # PPM images state their own size, which only ffmpeg knows once it has rotated them; 8 bits a value, also where the
    # source has more.
    stream = stream.output('pipe:', format='image2pipe', vcodec='ppm', pix_fmt='rgb24', loglevel='error')
    with tempfile.TemporaryFile() as errors, _start(stream, path, errors) as process:
        assert process.stdout is not None
        count = 0
        try:
            while process.stdout.readline() == b'P6\n':
                width, height = (int(text) for text in process.stdout.readline().split())
                process.stdout.readline()  # the largest value, 255
                pixels = process.stdout.read(height * width * 3)
                if len(pixels) < height * width * 3:
                    break
                yield np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
                count += 1
            process.stdout.close()  # else ffmpeg, if it has more to say than pictures, waits for a reader
            process.wait()
        finally:
            process.kill()  # where the reader has had enough
        complaint = _cut_short(path) or _first_complaint(errors)
        if not count:
            raise MediaError(complaint or 'no video frames')
        if complaint and complaints is not None:
            complaints.append(complaint)


def extract_wav(path: str | Path, wav: str | Path) -> float:
    """Writes the sound of a media file as mono 16-bit wav at its own sample rate (dissertation 5.1.2).

    The wav begins at the file's time 0, as `read_frames` does: where the sound begins later, or has a gap, it is
    silent there.

    Returns:
      Its length in seconds; 0 where there is no sound track, and then no file.

    Raises:
      MediaError: there is a sound track, but it cannot be decoded.
    """
    wav = Path(wav)
    # A gap of less than min_hard_comp is left out, and what follows it comes that much too early.
    aligned = {'async': 1, 'min_hard_comp': _HALF_FRAME, 'first_pts': 0}
    stream = ffmpeg.input(_FILE, threads=1).audio.filter('aresample', **aligned)
    # To a pipe, because ffmpeg would call a full disk damage of the input.
    stream = stream.output('pipe:', format='wav', acodec='pcm_s16le', ac=1, loglevel='error', fflags='+bitexact')
    with tempfile.TemporaryFile() as errors, _start(stream, path, errors) as process:
        assert process.stdout is not None
        try:
            seconds = _copy_wav(process.stdout, wav)
        except BaseException:
            process.kill()
            raise
        process.wait()
        complaint = _first_complaint(errors)
    if not seconds and complaint and _NO_STREAM not in complaint:
        raise MediaError(complaint)
    return seconds


def _start(stream, path: str | Path, errors: IO[bytes]) -> subprocess.Popen:
    # The name comes in here, because ffmpeg-python takes none that is not UTF-8; with its protocol before it, since it
    # may begin as an option or another protocol does. No shell sees it.
    # Errors go to a file: a badly damaged input complains more than a pipe holds while nobody reads it.
    command = [f'file:{path}' if part == _FILE else part for part in ffmpeg.compile(stream, cmd=FFMPEG)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)


def _copy_wav(stream: IO[bytes], path: Path) -> float:
    """Copies a mono 16-bit wav, which on a pipe does not know its length; seconds, 0 where there is no sample."""
    try:
        with wave.open(stream, 'rb') as source:
            samples = source.readframes(_CHUNK)
            if not samples:
                return 0.0
            # No record of the video is believed whose files have not these bytes, so they need no sync.
            with atomic_write(path, 'wb', durable=False) as file, wave.open(file, 'wb') as target:
                target.setparams((1, 2, source.getframerate(), 0, 'NONE', ''))
                while samples:
                    target.writeframesraw(samples)
                    samples = source.readframes(_CHUNK)
                return target.tell() / source.getframerate()
    except (EOFError, wave.Error):  # ffmpeg has written no header
        return 0.0


def _first_complaint(errors: IO[bytes]) -> str:
    errors.seek(0)
    line = errors.read().decode(errors='replace').strip().partition('\n')[0]
    return re.sub(r'^(\[[^]]*\] )+', '', line)  # which part of ffmpeg says it, and its address in memory


def _cut_short(path: str | Path) -> str:
    """Says so where a file's end is missing and ffmpeg does not mind: none at all, or less than an AVI declares."""
    with open(path, 'rb') as file:
        start = file.read(8)
        size = os.fstat(file.fileno()).st_size
    if not size:
        return 'an empty file'
    declared = int.from_bytes(start[4:8], 'little') + 8
    return f'breaks off at {size} of {declared} bytes' if start[:4] == b'RIFF' and declared > size else ''
