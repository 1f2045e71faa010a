# SPDX-License-Identifier: Apache-2.0
"""Checks that a flash and a beep stay together in every kind of file: python -m tests.benchmarks.instants

Writes small films with the ffmpeg binary, in which a white flash and a beep share a known instant. The films differ in
container, codec and rate. In some, a stream begins late, the form changes, or recordings are joined. Reads them like
preparation. Prints a row per flash with the times of the flash and the beep as prepared. Exits with 1 if they are more
than half a frame apart.
"""

import subprocess
import tempfile
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer import cli
from fer.prepare.ffmpeg import FFMPEG
from fer.prepare.media import FRAMES_PER_SECOND, Findings, extract_wav, read_frames

FLASH = 0.4  # seconds
HALF_FRAME = 0.5 / FRAMES_PER_SECOND
# By name: the container, and the options of the encoders.
CODECS = {
    'avi, MPEG-4 with B-frames': ('avi', '-c:v mpeg4 -bf 2 -c:a pcm_s16le'),
    'avi, H.264 with B-frames': ('avi', '-c:v libx264 -bf 3 -c:a pcm_s16le'),
    'avi, MJPEG': ('avi', '-c:v mjpeg -c:a pcm_s16le'),
    'mp4, H.264, AAC': ('mp4', '-c:v libx264 -c:a aac'),
    'mp4, H.265, MP3': ('mp4', '-c:v libx265 -x265-params log-level=error -c:a libmp3lame'),
    'mov, ProRes': ('mov', '-c:v prores -c:a pcm_s16be'),
    'mkv, VP9, FLAC': ('mkv', '-c:v libvpx-vp9 -c:a flac'),
    'webm, VP8, Opus': ('webm', '-c:v libvpx -c:a libopus'),
    'ogv, Theora, Vorbis': ('ogv', '-c:v libtheora -c:a libvorbis'),
    'ts, H.264, AAC': ('ts', '-c:v libx264 -c:a aac'),
    'm2ts, H.264, AC-3': ('m2ts', '-c:v libx264 -c:a ac3'),
    'mpg, MPEG-1': ('mpg', '-c:v mpeg1video -c:a mp2'),
    'vob, MPEG-2': ('vob', '-c:v mpeg2video -c:a mp2'),
    'flv, H.264, AAC': ('flv', '-c:v libx264 -c:a aac'),
    'wmv': ('wmv', '-c:v wmv2 -c:a wmav2'),
    '3gp, H.263': ('3gp', '-c:v h263 -s 176x144 -c:a aac'),
    'mxf, MPEG-2': ('mxf', '-c:v mpeg2video -c:a pcm_s16le'),
    'rm, RV10, AC-3': ('rm', '-c:v rv10 -c:a ac3'),
}
H264 = '-c:v libx264 -c:a aac'


class Row(NamedTuple):
    """A flash as prepared. Seconds."""

    name: str
    expected: float
    flash: float
    beep: float

    @property
    def apart(self) -> float:
        return abs(self.flash - self.beep)


def main() -> int:
    rows: list[Row] = []
    print('file                            instant   flash    beep  apart (ms)')
    with tempfile.TemporaryDirectory(prefix='fer-instants-') as folder:
        for name, path, instants in make_films(Path(folder)):
            found = measure(name, path, instants)
            for row in found:
                late = 'too far' if row.apart > HALF_FRAME else ''
                times = f'{row.expected:7.2f} {row.flash:7.2f} {row.beep:7.3f}'
                print(f'{row.name:30s}  {times}  {1000 * row.apart:10.1f} {late}'.rstrip(), flush=True)
            rows += found
    far = sum(row.apart > HALF_FRAME for row in rows)
    print(f'{len(rows)} flashes, {len(rows) - far} within {1000 * HALF_FRAME:.0f} ms of their beep')
    return 1 if far else 0


def make_films(folder: Path) -> Iterator[tuple[str, Path, list[float]]]:
    """Yields the name of each film, its file, and when it flashes."""
    for name, (container, options) in CODECS.items():
        yield name, film(folder / f'{len(name)}{abs(hash(name))}.{container}', options), [1.0]
    for rate in ('24000/1001', '30000/1001', '50', '60'):
        yield f'mp4, {rate} frames/s', film(folder / 'rate.mp4', H264, rate=rate), [1.0]
    yield (
        'mkv, variable rate',
        film(folder / 'vfr.mkv', f'{H264} -fps_mode passthrough', select='not(eq(mod(n,5),3))'),
        [1.0],
    )
    for container in ('avi', 'mkv', 'mp4', 'ts'):
        options = '-c:v mpeg4 -bf 2 -c:a pcm_s16le' if container == 'avi' else H264
        for late in ('video', 'audio') if container != 'avi' else ('video',):  # FFmpeg writes no late audio to AVI
            path = film(folder / f'late_{late}.{container}', options, **{f'{late}_late': 0.6})
            yield f'{container}, {late} 0.6 s late', path, [1.0]
    first, second = (film(folder / f'{n}.ts', H264, instant=n) for n in (1.0, 0.6))
    far = film(folder / 'far.ts', f'{H264} -output_ts_offset 2000', instant=0.6)
    large = film(folder / 'large.ts', f'{H264} -ac 2', instant=0.6, size='128x96', sample_rate=44100)
    for name, parts in (('again', (first, second)), ('far ahead', (first, far)), ('of another form', (first, large))):
        yield f'ts, joined, {name}', join(folder / 'joined.ts', parts), [1.0, 3.6]
    yield 'ts, three joined', join(folder / 'three.ts', (first, second, first)), [1.0, 3.6, 7.0]
    for container, options in (('vob', '-c:v mpeg2video -c:a mp2'), ('webm', '-c:v libvpx -c:a libopus')):
        parts = [film(folder / f'part{n}.{container}', options, instant=n) for n in (1.0, 0.6)]
        yield f'{container}, joined', join(folder / f'joined.{container}', parts), [1.0, 3.6]


def film(
    path: Path,
    options: str,
    instant: float = 1.0,
    rate: str = '25',
    size: str = '64x64',
    sample_rate: int = 48000,
    select: str = '',
    video_late: float = 0.0,
    audio_late: float = 0.0,
) -> Path:
    """Writes a black film of 3 s, white and loud for FLASH seconds from `instant` on."""

    def gate(late: float) -> str:
        return f'between(t,{instant - late},{instant - late + FLASH})'.replace(',', '\\,')

    video = f'color=black:size={size}:rate={rate}:duration={3 - video_late},geq=lum=255*{gate(video_late)}'
    video = video.replace('between(t', 'between(T') + ':cb=128:cr=128' + (f",select='{select}'" if select else '')
    audio = f'aevalsrc=0.8*sin(2*PI*1000*t)*{gate(audio_late)}:s={sample_rate}:d={3 - audio_late}'
    inputs = ['-itsoffset', str(video_late), '-f', 'lavfi', '-i', video]
    inputs += ['-itsoffset', str(audio_late), '-f', 'lavfi', '-i', audio]
    subprocess.run([FFMPEG, '-y', '-v', 'error', *inputs, *options.split(), str(path)], check=True)
    return path


def join(path: Path, parts: Sequence[Path]) -> Path:
    """Writes the bytes of files, one after the other, to `path`."""
    path.write_bytes(b''.join(part.read_bytes() for part in parts))
    return path


def measure(name: str, path: Path, instants: Sequence[float]) -> list[Row]:
    """Finds each flash and each beep of a film."""
    wav = path.with_suffix('.wav')
    bright = np.array([image.mean() > 100 for image in read_frames(path, findings=Findings())])
    extract_wav(path, wav)
    with wave.open(str(wav)) as file:
        loud = np.abs(np.frombuffer(file.readframes(file.getnframes()), '<i2').astype(int)) > 3000
        beeps = begins(loud, file.getframerate())
    flashes = begins(bright, FRAMES_PER_SECOND)
    assert len(flashes) == len(beeps) == len(instants), f'{name}: flashes at {flashes}, beeps at {beeps}'
    return [Row(name, *times) for times in zip(instants, flashes, beeps, strict=True)]


def begins(on: np.ndarray, rate: int) -> list[float]:
    """Returns when stretches begin, in seconds. A pause of less than 0.2 s does not end a stretch."""
    indices = np.flatnonzero(on)
    starts = indices[np.diff(indices, prepend=-rate) > 0.2 * rate]
    return [float(start) / rate for start in starts]


if __name__ == '__main__':
    cli.run(main)
