"""openSMILE's emo_large features of a wav (dissertation 5.1.2), computed in-process.

A whole sound is 6,552 functionals; a frame of it is 112 values, 56 low-level descriptors (LLD) and their 56 first
deltas. What is computed is in `configs/opensmile/*.conf`, written for this project; the numbers are openSMILE's own
floats, taken from its memory instead of from a file that rounds them.

Sounds are 16-bit PCM wav files, as `fer.prepare.media.extract_wav` writes them. Several channels are mixed down to
their mean, by openSMILE. Nothing is resampled: a sound is analysed at its own rate, 8,000 samples/s or more. Features
of sounds of different rates are not comparable, because spectral ones reach up to half the rate; below 16,000
samples/s the mel bands, meant to end at 8,000 Hz, end there too.
"""

import contextlib
import ctypes
import functools
import importlib.util
import os
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer import installation
from fer.errors import InputError
from fer.files import atomic_write, naming
from fer.prepare.ffmpeg import AudioSegment

CONFIGS = installation.CONFIGS / 'opensmile'
FORMATS = ('csv', 'arff')
CONTEXTS = ('isolated', 'contextual')

CLIP_SECONDS = 0.04  # the dissertation's sound clips, one a video frame at 25 frames/s
LOWEST_RATE = 8000  # the highest fixed band of the set ends at 4,000 Hz
SHORTEST_FRAME = 0.01  # shorter ones have fewer spectral lines than there are mel bands, and openSMILE writes zeros
LONGEST_FRAME = (
    32768  # in samples; a Fourier transform of more than 65,536 overruns openSMILE's memory and kills Python
)
FUNCTIONALS_FRAME = 0.025  # what configs/opensmile/lld.inc says where nobody asks for another

# A lone frame has no neighbours: it is left unsmoothed and its deltas are 0. The smoother itself would take in
# zeros on one side and write two lines.
LONE_FRAME = {'smaWin': 1, 'deltaWin': 0, 'frameCenter': 'left'}


class Sound(NamedTuple):
    """A decoded wav: int16 samples [length, channels] and its rate in samples/s."""

    path: Path
    samples: np.ndarray
    rate: int


class Clips(NamedTuple):
    """Features of a video's 40 ms clips.

    `values` is float32 [num_clips, 112], columns named by `names`; the last `padded` rows repeat the row before them,
    because the sound ended earlier. `silent` is bool [num_clips]: every sample of the clip is 0. Such a clip has
    features like any other, those that openSMILE finds in silence; a padded one is not called silent.
    """

    names: list[str]
    values: np.ndarray
    padded: int
    silent: np.ndarray


def functionals(wav: str | Path) -> tuple[list[str], np.ndarray]:
    """Summarises a whole sound: 39 functionals of 56 LLD, of their first and of their second deltas.

    Frames are 25 ms long, 10 ms apart. openSMILE summarises as the sound ends, before the last five lines of `lld`
    are written, so functionals are of the lines before these.

    Returns:
      The 6,552 names and their values, float32 [6552].

    Raises:
      InputError: not a 16-bit PCM wav of one frame or more.
    """
    sound = read_sound(wav)
    _check_frame(sound, FUNCTIONALS_FRAME)
    names, values = _run('functionals.conf', sound, {})
    return names, values[0]


def lld(wav: str | Path, frame_size: float = 0.025, frame_step: float = 0.010) -> tuple[list[str], np.ndarray]:
    """Describes a sound frame by frame: 56 LLD, smoothed over 3 frames, and their first deltas.

    Frame k is centred on k * frame_step, as the set has it, and openSMILE repeats the first sample where the first
    frame begins before the sound. The smoother writes one line more than there are frames. A sound that has room for
    a single frame, such as a 40 ms clip with 40 ms frames, is described as a clip alone: one line, the frame begins
    with the sound, nothing is smoothed and the deltas are 0.

    Args:
      wav: a 16-bit PCM wav.
      frame_size: length of a frame in seconds, at least 0.01, at most 32,768 samples.
      frame_step: from one frame to the next in seconds.

    Returns:
      The 112 names and their values, float32 [frames + 1, 112] ([1, 112] for a single frame).

    Raises:
      InputError: not a 16-bit PCM wav of one frame or more, or frame lengths that make no sense.
    """
    sound = read_sound(wav)
    if not (SHORTEST_FRAME <= frame_size < np.inf):
        raise InputError(f'frame_size={frame_size}: expected {SHORTEST_FRAME} seconds or more')
    if not (1 / sound.rate <= frame_step < np.inf):
        raise InputError(f'frame_step={frame_step}: expected seconds, one sample (1/{sound.rate}) or more')
    _check_frame(sound, frame_size)
    return _lld(sound, {'frameSize': frame_size, 'frameStep': frame_step})


def clip_features(wav: str | Path, num_clips: int, context: str = 'isolated') -> Clips:
    """Describes the 40 ms clips that go with a video's frames: clip k is the sound from k * 0.04 s on.

    Clips that the sound does not fill, at its end, repeat the last one that it does fill, as the dissertation pads
    sequences with their last frame (5.1.5); `Clips.padded` counts them. Sound beyond `num_clips` is left out.

    Args:
      wav: a 16-bit PCM wav.
      num_clips: the video's frames at 25 frames/s, 1 or more.
      context: `isolated` runs openSMILE on each clip alone, as the dissertation does: deltas, F0 and the F0 envelope
        are then always 0, because they need earlier frames. `contextual` is one pass over the whole sound with 40 ms
        frames, each beginning with its clip: smoothing, deltas and pitch see the clips around, and it is many times
        faster.

    Raises:
      InputError: not a 16-bit PCM wav of one clip or more.
    """
    if context not in CONTEXTS or num_clips < 1:
        raise ValueError(f'context={context!r}, num_clips={num_clips}: expected one of {CONTEXTS} and 1 or more')
    sound = read_sound(wav)
    _check_frame(sound, CLIP_SECONDS)
    length = _samples(CLIP_SECONDS, sound.rate)
    complete = len(sound.samples) // length
    filled = min(complete, num_clips)
    clips = cut_clips(sound, filled)
    framing = {'frameSize': CLIP_SECONDS, 'frameStep': CLIP_SECONDS, 'frameCenter': 'left'}
    if context == 'contextual':
        names, values = _lld(sound, framing)
        values = values[:filled]  # the smoother's last line is no clip
    else:
        rows = [_run('lld.conf', clip, framing | LONE_FRAME) for clip in clips]
        names, values = rows[0][0], np.concatenate([row for _, row in rows])
    padded = num_clips - filled
    values = np.concatenate([values, np.repeat(values[-1:], padded, axis=0)])
    silent = np.array([not clip.samples.any() for clip in clips] + [False] * padded)
    return Clips(names, values, padded, silent)


def cut_clips(sound: Sound, num_clips: int) -> list[Sound]:
    """The first clips of 40 ms, as pydub cuts them (dissertation 5.1.2); the sound must be long enough."""
    channels = sound.samples.shape[1]
    whole = AudioSegment(sound.samples.tobytes(), sample_width=2, frame_rate=sound.rate, channels=channels)
    length = _samples(CLIP_SECONDS, sound.rate)  # by samples, not milliseconds: not every rate has whole ones
    clips = (whole.get_sample_slice(k * length, (k + 1) * length) for k in range(num_clips))
    return [sound._replace(samples=np.frombuffer(clip.raw_data, '<i2').reshape(-1, channels)) for clip in clips]


def read_sound(wav: str | Path) -> Sound:
    """Reads a 16-bit PCM wav of any number of channels; a file that breaks off has the frames that are there.

    Raises:
      InputError: anything else, such as 8-bit, 24-bit or float samples, which are not scaled as 16-bit ones are.
    """
    wav = Path(wav)
    try:
        with wave.open(str(wav), 'rb') as file:
            channels, width, rate, length = file.getparams()[:4]
            data = file.readframes(length)
    except OSError as error:
        raise InputError(f'{wav}: {error.strerror}') from error
    except (
        wave.Error,
        EOFError,
        RuntimeError,
    ) as error:  # the last: a chunk that ends outside the file, without a word
        raise InputError(f'{wav}: not a PCM wav ({str(error) or "breaks off"}); expected 16-bit PCM') from error
    if width != 2:
        raise InputError(f'{wav}: {8 * width}-bit samples; expected 16-bit PCM')
    if rate < LOWEST_RATE:
        raise InputError(f'{wav}: {rate} samples/s; expected {LOWEST_RATE} or more')
    whole = len(data) - len(data) % (2 * channels)
    return Sound(wav, np.frombuffer(data[:whole], '<i2').reshape(-1, channels), rate)


def write_features(
    path: str | Path, names: Sequence[str], values: np.ndarray, file_format: str = 'csv', durable: bool = True
) -> None:
    """Writes a header and a line per row, with the digits that give each float32 back to the bit.

    Args:
      path: the file to write; its folder must exist.
      names: of the columns.
      values: float32 [rows, columns].
      file_format: `csv`, a line of names and lines of values, separated by commas; or `arff`, for Weka.
      durable: as in `atomic_write`; preparation, which writes a file a clip and knows them by their digest, need not.
    """
    lines = [','.join(f'{value:.9g}' for value in row) for row in values]
    if file_format == 'arff':
        header = ['@relation openSMILE', '', *(f'@attribute {name} numeric' for name in names), '', '@data']
    else:
        header = [','.join(names)]
    with atomic_write(path, durable=durable) as file:
        file.writelines(f'{line}\n' for line in header + lines)


def _lld(sound: Sound, framing: dict[str, object]) -> tuple[list[str], np.ndarray]:
    names, values = _run('lld.conf', sound, framing)
    if len(values) <= 2:  # one frame and the smoother's line more
        names, values = _run('lld.conf', sound, framing | LONE_FRAME)
        values = values[:1]
    return names, values


def _run(config: str, sound: Sound, options: dict[str, object]) -> tuple[list[str], np.ndarray]:
    """Runs a configuration over a sound: the names and values, float32 [rows, columns], that reach its sink.

    openSMILE gets the samples in a fresh file: it takes no path beyond ASCII and trusts the lengths in wav headers.
    """
    rows: list[np.ndarray] = []
    engine = _load_opensmile()()
    with tempfile.TemporaryDirectory(prefix='fer-smile-') as folder:
        (Path(folder) / 'configs').symlink_to(CONFIGS)
        with naming(f'{folder}/sound.wav'), wave.open(f'{folder}/sound.wav', 'wb') as file:
            file.setparams((sound.samples.shape[1], 2, sound.rate, len(sound.samples), 'NONE', ''))
            file.writeframes(sound.samples.tobytes())
        try:
            engine.initialize(f'{folder}/configs/{config}', {'I': f'{folder}/sound.wav', **options}, loglevel=0)
            count = engine.external_sink_get_num_elements('sink')
            names = [engine.external_sink_get_element_name('sink', index) for index in range(count)]
            engine.external_sink_set_callback('sink', lambda row: rows.append(row.copy()))
            engine.run()
        finally:
            engine.free()
    values = np.array(rows, np.float32).reshape(-1, count)
    if not len(values) or not np.isfinite(values).all():
        raise InputError(f'{sound.path}: openSMILE finds no features, or some that are not finite')
    return names, values


@functools.cache
def _load_opensmile() -> type:
    """Returns the class OpenSMILE of opensmile.core.lib, loaded without the package around it and on its own symbols.

    The package would import pandas and more, half a second in every process. The library's Fourier transform is called
    `rdft`. TensorFlow 2.21 exports a function of that name which computes in doubles, and openSMILE would call that
    one, and crash, in a process that loaded TensorFlow first.
    """
    package = importlib.util.find_spec('opensmile')
    if package is None or package.origin is None:
        raise InputError('opensmile is not installed here; run make venv, or pip install opensmile')
    core = Path(package.origin).parent / 'core'
    for library in core.glob('bin/*/libSMILEapi.so'):
        with contextlib.suppress(OSError):  # built for another machine
            ctypes.CDLL(str(library), mode=getattr(os, 'RTLD_DEEPBIND', 0))
    spec = importlib.util.spec_from_file_location('opensmile_core_lib', core / 'lib.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.OpenSMILE


def _check_frame(sound: Sound, seconds: float) -> None:
    if _samples(seconds, sound.rate) > LONGEST_FRAME:
        longest = LONGEST_FRAME / sound.rate
        raise InputError(
            f'{sound.path}: frames of {seconds} s; expected {longest:.3f} s or less at {sound.rate} samples/s'
        )
    if len(sound.samples) < _samples(seconds, sound.rate):
        duration = len(sound.samples) / sound.rate
        raise InputError(f'{sound.path}: {duration:.4f} s of sound; expected a frame of {seconds} s or more')


def _samples(seconds: float, rate: int) -> int:
    """Rounds as openSMILE does, halves up."""
    return int(seconds * rate + 0.5)
