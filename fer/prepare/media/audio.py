"""The audio of a media file as mono samples, each where it belongs in time."""

import itertools
import wave
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from fer.files import atomic_write
from fer.prepare.media.streams import HALF_FRAME, Findings, Plan, decode

_JITTER_WINDOW = 1.0  # seconds of audio that show whether late stamps stay late
_SHORT_WINDOW, _SHORT_JITTER = 0.2, 0.06  # seconds; near the end only later stamps than this make a gap
_CANCELS = 1e-3  # power of the mixed audio per power of its channels; 30 dB less


class _Sound(NamedTuple):
    """Samples of a stretch of audio, one after the other."""

    due: float | None  # seconds; None where the file does not say
    frame: av.audio.frame.AudioFrame
    offset: float  # of its piece of the file
    hole: float = 0.0  # seconds of silence before it; less than 0 where it overlaps what came before

    @property
    def lasts(self) -> float:
        return self.frame.samples / self.frame.sample_rate


def decode_audio(container: av.container.InputContainer, plan: Plan, complaints: list[str]) -> Iterator[_Sound]:
    for frame, seconds, offset in decode(container, plan, 'audio', complaints):
        if frame.samples:
            yield _Sound(seconds, frame, offset)


def place_audio(sounds: Iterator[_Sound]) -> Iterator[_Sound]:
    """Finds the holes: stamps that are late, or early, and stay so. Those that vary by some milliseconds are jitter."""
    window: deque[_Sound] = deque()
    at = 0.0  # seconds, the end of what was placed
    piece: float | None = None

    def place() -> _Sound:
        nonlocal at, piece
        expected, shifts = at, []
        for sound in window:
            shifts.append(0.0 if sound.due is None else sound.due - expected)
            expected += sound.lasts
        spans = expected - at
        hole = min(shifts) if min(shifts) > 0 else max(shifts) if max(shifts) < 0 else 0.0
        jitter = HALF_FRAME if spans > _SHORT_WINDOW else _SHORT_JITTER
        sound = window.popleft()
        if sound.offset == piece and abs(hole) <= jitter:  # the first of a piece is put where it belongs
            hole = 0.0
        at, piece = at + hole + sound.lasts, sound.offset
        return sound._replace(hole=hole)

    for sound in sounds:
        window.append(sound)
        while sum(sound.lasts for sound in window) > _JITTER_WINDOW:
            yield place()
    while window:
        yield place()


def write_wav(sounds: Iterator[_Sound], end: float, path: Path, sample_rate: int | None, findings: Findings) -> float:
    """Writes audio as mono 16-bit wav, with silence where there are holes. Returns its length in seconds."""
    begun = next(sounds, None)
    if begun is None:
        return 0.0
    rate = sample_rate or begun.frame.sample_rate
    forms: dict[str, None] = {}
    form: tuple | None = None
    resampler: av.AudioResampler | None = None
    surplus = 0  # samples to leave out
    last = np.zeros(0, '<i2')  # samples that are not written yet
    power = _Power()
    # A record of the video is believed only if its files hold these bytes, so they need no sync.
    with atomic_write(path, 'wb', durable=False) as file, wave.open(file, 'wb') as target:
        target.setparams((1, 2, rate, 0, 'NONE', ''))

        def write(frames: Iterable[av.audio.frame.AudioFrame]) -> None:
            nonlocal surplus, last
            for frame in frames:
                samples = frame.to_ndarray().ravel()
                power.add_mixed(samples, rate)
                target.writeframesraw(last.tobytes())
                last = samples[surplus:].astype('<i2')
                surplus = max(0, surplus - len(samples))

        for sound in itertools.chain([begun], sounds):
            frame = sound.frame
            now = (frame.sample_rate, frame.layout.name, frame.format.name)
            if now != form or sound.hole:
                write(resampler.resample(None) if resampler else [])
                resampler, form = av.AudioResampler('s16', 'mono', rate), now
                forms[f'{frame.sample_rate} Hz {frame.layout.name}'] = None
            hole = round(sound.hole * rate)
            surplus += max(0, -hole)
            if hole > 0:
                target.writeframesraw(last.tobytes() + bytes(2 * hole))
                last = last[:0]
            power.add_channels(frame)
            frame.pts = None  # else the resampler would look for holes as well
            assert resampler is not None
            write(resampler.resample(frame))
        assert resampler is not None
        write(resampler.resample(None))
        # The last packet of a codec that has frames of one size is filled up; the container says how far it is used.
        padding = target.tell() + len(last) - end * rate
        target.writeframesraw(last[: len(last) - round(padding) if 0 < padding < len(last) else None].tobytes())
        seconds = target.tell() / rate
    if len(forms) > 1:
        findings.facts['audio changes'] = ', then '.join(forms)
    if power.cancels():
        findings.add_problem('the channels of the audio cancel out when they are mixed down to mono')
    return seconds


class _Power:
    """Power of the channels, and of their mixture."""

    def __init__(self) -> None:
        self._channels = self._mixed = 0.0

    def add_channels(self, frame: av.audio.frame.AudioFrame) -> None:
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
        return self._mixed < _CANCELS * self._channels
