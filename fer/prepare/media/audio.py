# SPDX-License-Identifier: Apache-2.0
"""The audio of a media file as mono samples, each at its place in time."""

import itertools
import wave
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from fer.files import atomic_write
from fer.prepare.media.streams import HALF_FRAME, Findings, ReadingPlan, decode

_JITTER_WINDOW = 1.0  # seconds of audio that show whether late stamps stay late
_SHORT_WINDOW, _SHORT_JITTER = 0.2, 0.06  # seconds. With at most 0.2 s of audio left, shifts up to 0.06 s are jitter
_CANCELS = 1e-3  # channels cancel out if the mixed audio has less than this share of their power (30 dB less)


class _Chunk(NamedTuple):
    """A stretch of audio, decoded as one frame."""

    due: float | None  # seconds, None if the file has no time stamp for it
    frame: av.audio.frame.AudioFrame
    offset: float  # seconds, the same for all chunks of one piece of the file
    gap: float = 0.0  # seconds of silence before it, negative if it overlaps the audio before it

    @property
    def duration(self) -> float:
        return self.frame.samples / self.frame.sample_rate


def decode_audio(container: av.container.InputContainer, plan: ReadingPlan, errors: list[str]) -> Iterator[_Chunk]:
    """Yields the audio in the order of the file, without empty chunks."""
    for frame, seconds, offset in decode(container, plan, 'audio', errors):
        if frame.samples:
            yield _Chunk(seconds, frame, offset)


def find_gaps(chunks: Iterator[_Chunk]) -> Iterator[_Chunk]:
    """Yields the chunks with their gaps. A gap is where the stamps become late, or early, and stay so.

    Stamps that vary by some milliseconds are jitter.
    """
    window: deque[_Chunk] = deque()
    end = 0.0  # seconds, of the audio that was placed
    piece: float | None = None

    def place_first() -> _Chunk:
        nonlocal end, piece
        expected, shifts = end, []
        for chunk in window:
            shifts.append(0.0 if chunk.due is None else chunk.due - expected)
            expected += chunk.duration
        spans = expected - end
        gap = min(shifts) if min(shifts) > 0 else max(shifts) if max(shifts) < 0 else 0.0
        jitter = HALF_FRAME if spans > _SHORT_WINDOW else _SHORT_JITTER
        chunk = window.popleft()
        if chunk.offset == piece and abs(gap) <= jitter:  # the first chunk of a piece is put at its own time
            gap = 0.0
        end, piece = end + gap + chunk.duration, chunk.offset
        return chunk._replace(gap=gap)

    for chunk in chunks:
        window.append(chunk)
        while sum(chunk.duration for chunk in window) > _JITTER_WINDOW:
            yield place_first()
    while window:
        yield place_first()


def write_wav(chunks: Iterator[_Chunk], end: float, path: Path, sample_rate: int | None, findings: Findings) -> float:
    """Writes audio as mono 16-bit wav, with silence in its gaps.

    Args:
      chunks: the audio, from time 0 on.
      end: seconds, where the container ends the audio. Infinite if it does not declare an end.
      path: the file to write. Without any audio, no file is written.
      sample_rate: of the wav, in Hz. None keeps the rate of the first chunk.
      findings: receives changes of rate or channels, and a problem if the channels cancel out.

    Returns:
      The length of the wav in seconds.
    """
    first = next(chunks, None)
    if first is None:
        return 0.0
    rate = sample_rate or first.frame.sample_rate
    forms: dict[str, None] = {}
    form: tuple | None = None
    resampler: av.AudioResampler | None = None
    power = _Power()
    # The record of a video counts only if its files have the same bytes, so the file needs no sync.
    with atomic_write(path, 'wb', durable=False) as file, wave.open(file, 'wb') as target:
        target.setparams((1, 2, rate, 0, 'NONE', ''))
        writer = _SampleWriter(target, rate, power)
        for chunk in itertools.chain([first], chunks):
            frame = chunk.frame
            now = (frame.sample_rate, frame.layout.name, frame.format.name)
            if now != form or chunk.gap:
                writer.write(resampler.resample(None) if resampler else [])
                resampler, form = av.AudioResampler('s16', 'mono', rate), now
                forms[f'{frame.sample_rate} Hz {frame.layout.name}'] = None
            writer.add_gap(round(chunk.gap * rate))
            power.add_channels(frame)
            frame.pts = None  # otherwise the resampler would fill gaps as well
            assert resampler is not None
            writer.write(resampler.resample(frame))
        assert resampler is not None
        writer.write(resampler.resample(None))
        writer.finish(end)
        seconds = target.tell() / rate
    if len(forms) > 1:
        findings.facts['audio changes'] = ', then '.join(forms)
    if power.cancels():
        findings.add_problem('the channels of the audio cancel out when they are mixed down to mono')
    return seconds


class _SampleWriter:
    """Writer of int16 samples. It keeps the last samples back, so that the padding of a codec can be removed.

    Args:
      target: the wav.
      rate: of the wav, in Hz.
      power: receives the power of the samples.
    """

    def __init__(self, target: wave.Wave_write, rate: int, power: '_Power') -> None:
        self._target, self._rate, self._power = target, rate, power
        self._surplus = 0  # samples to leave out, because they overlap
        self._last = np.zeros(0, '<i2')

    def write(self, frames: Iterable[av.audio.frame.AudioFrame]) -> None:
        for frame in frames:
            samples = frame.to_ndarray().ravel()
            self._power.add_mixed(samples, self._rate)
            self._target.writeframesraw(self._last.tobytes())
            self._last = samples[self._surplus :].astype('<i2')
            self._surplus = max(0, self._surplus - len(samples))

    def add_gap(self, samples: int) -> None:
        """Writes silence, or leaves out the next samples if `samples` is negative."""
        self._surplus += max(0, -samples)
        if samples > 0:
            self._target.writeframesraw(self._last.tobytes() + bytes(2 * samples))
            self._last = self._last[:0]

    def finish(self, end: float) -> None:
        """Writes the samples that were kept back, up to `end` seconds.

        A codec with frames of a fixed size pads its last packet. The container declares where the audio ends in it.
        """
        last = self._last
        padding = self._target.tell() + len(last) - end * self._rate
        self._target.writeframesraw(last[: len(last) - round(padding) if 0 < padding < len(last) else None].tobytes())


class _Power:
    """Power of the channels, and of their mixture."""

    def __init__(self) -> None:
        self._channels = self._mixed = 0.0

    def add_channels(self, frame: av.audio.frame.AudioFrame) -> None:
        """Adds the mean power of a frame's channels, if it has several."""
        channels = frame.layout.nb_channels
        if channels > 1:
            samples = frame.to_ndarray()
            values = samples.astype(np.float64)
            if samples.dtype.kind in 'iu':
                values = values / np.iinfo(samples.dtype).max - (samples.dtype.kind == 'u') * 0.5
            self._channels += float(np.sum(values**2)) / channels / frame.sample_rate

    def add_mixed(self, samples: np.ndarray, rate: int) -> None:
        """Adds int16 samples of the mixture."""
        self._mixed += float(np.sum((samples / 32768.0) ** 2)) / rate

    def cancels(self) -> bool:
        """Returns whether the mixture has lost almost all of the power."""
        return self._mixed < _CANCELS * self._channels
