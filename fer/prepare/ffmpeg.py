"""The ffmpeg binary, and what is asked of it: decode frames, decode sound.

The binary comes inside the imageio-ffmpeg wheel, so nothing needs root or a system package; ffmpeg-python and pydub
are told to use it here and nowhere else.
"""

import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # pydub looks for an ffmpeg on the PATH before it can be told where one is
    from pydub import AudioSegment

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
AudioSegment.converter = FFMPEG

FRAMES_PER_SECOND = 25  # AFEW's rate; the dissertation's frames and sound clips are 0.04 s apart (2.2.2)


class MediaError(Exception):
    """ffmpeg cannot read a file; the message is its own first complaint."""


def read_frames(path: str | Path) -> Iterator[np.ndarray]:
    """Decodes a video to 25 frames/s, whatever its container and rate; rotation metadata is applied.

    Args:
      path: any file that ffmpeg reads.

    Yields:
      uint8 [H, W, 3] RGB, one frame each 0.04 s.

    Raises:
      MediaError: not a single frame can be decoded. A file that breaks off later yields what it has.
    """
    # start_time: where the pictures begin after the sound, the first is repeated, so that frame k is at k x 0.04 s.
    # PPM images state their own size, which only ffmpeg knows once it has rotated them.
    stream = ffmpeg.input(f'file:{path}').filter('fps', fps=FRAMES_PER_SECOND, start_time=0)
    stream = stream.output('pipe:', format='image2pipe', vcodec='ppm', loglevel='error')
    # Not a pipe: a badly damaged file complains more than a pipe holds while nobody reads it.
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            ffmpeg.compile(stream, cmd=FFMPEG), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints
        )
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
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        if not count:
            complaints.seek(0)
            raise MediaError(_first_line(complaints.read()) or 'no video frames')


def extract_wav(path: str | Path, wav: str | Path) -> float:
    """Writes the sound of a media file as mono 16-bit wav at its own sample rate (dissertation 5.1.2).

    Returns:
      Its length in seconds; 0 where there is no sound track, and then no file.

    Raises:
      MediaError: there is a sound track, but it cannot be decoded or written.
    """
    wav = Path(wav)
    stream = ffmpeg.input(f'file:{path}').audio.output(
        f'file:{wav}', format='wav', acodec='pcm_s16le', ac=1, loglevel='error', fflags='+bitexact'
    )
    done = subprocess.run(
        ffmpeg.compile(stream, cmd=FFMPEG, overwrite_output=True), stdin=subprocess.DEVNULL, capture_output=True
    )
    if done.returncode != 0:
        wav.unlink(missing_ok=True)
        if b'matches no streams' in done.stderr:
            return 0.0
        raise MediaError(_first_line(done.stderr))
    return AudioSegment.from_wav(wav).duration_seconds


def _first_line(text: bytes) -> str:
    return text.decode(errors='replace').strip().partition('\n')[0]
