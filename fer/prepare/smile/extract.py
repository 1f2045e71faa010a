# SPDX-License-Identifier: Apache-2.0
"""openSMILE's emo_large features of a wav (dissertation 5.1.2), computed in this process.

The whole audio gives 6,552 functionals. Each frame of it gives 112 values: 56 low-level descriptors (LLD) and their 56
first deltas. `configs/opensmile/*.conf`, written for this project, define them. The functionals of other sets have
configurations in the opensmile package. The numbers are openSMILE's own floats, read from its memory, because its files
would round them.

Input is 16-bit PCM wav, as `fer.prepare.media.extract_wav` writes it. openSMILE mixes several channels down to their
mean. Audio is not resampled: it is analysed at its own rate, 8,000 samples/s or more. Features at different rates are
not comparable, because spectral features reach up to half the rate. The mel bands are meant to end at 8,000 Hz, but
below 16,000 samples/s they end at half the rate, too.
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
from fer.prepare.smile.sets import EMO_LARGE, SETS

CONFIGS = installation.CONFIGS / 'opensmile'
FORMATS = ('csv', 'arff')
CONTEXTS = ('isolated', 'contextual')

CLIP_SECONDS = 0.04  # the dissertation's audio clips, one per video frame at 25 frames/s
LOWEST_RATE = 8000  # the highest fixed band of the set ends at 4,000 Hz
SHORTEST_FRAME = 0.01  # seconds. Shorter frames have fewer spectral lines than mel bands, and openSMILE writes zeros
# In samples. A Fourier transform of more than 65,536 writes beyond openSMILE's memory and kills Python.
LONGEST_FRAME = 32768
FUNCTIONALS_FRAME = 0.025  # seconds, the default of configs/opensmile/lld.inc

# A single frame has no neighbours, so it is not smoothed and its deltas are 0. The smoother would include zeros on one
# side and write two lines.
LONE_FRAME = {'smaWin': 1, 'deltaWin': 0, 'frameCenter': 'left'}


class Wav(NamedTuple):
    """A decoded wav."""

    path: Path
    samples: np.ndarray  # int16 [length, channels]
    rate: int  # samples/s


class Clips(NamedTuple):
    """Features of a video's 40 ms clips."""

    names: list[str]  # of the columns
    values: np.ndarray  # float32 [num_clips, 112]
    padded: int  # the last rows, which repeat the row before them because the audio ended earlier
    # bool [num_clips], every sample of the clip is 0. Such a clip has the features that openSMILE finds in silence.
    # Padded clips do not count as silent.
    silent: np.ndarray


def functionals(wav: str | Path | Wav, opensmile_set: str = EMO_LARGE) -> tuple[list[str], np.ndarray]:
    """Summarises the whole audio. emo_large has 39 functionals of 56 LLD, of their first and of their second deltas.

    Frames of emo_large are 25 ms long and 10 ms apart. openSMILE summarises when the audio ends, before it writes the
    last five lines of `lld`. So functionals do not include these lines.

    Args:
      wav: a 16-bit PCM wav, or what `read_wav` returns of it.
      opensmile_set: one of `fer.prepare.smile.sets.SETS`.

    Returns:
      The D names and their values, float32 [D]. D is 6,552 for emo_large.

    Raises:
      InputError: the file is not a 16-bit PCM wav of one frame or more.
    """
    audio = wav if isinstance(wav, Wav) else read_wav(wav)
    _check_frame(audio, FUNCTIONALS_FRAME)
    own = opensmile_set == EMO_LARGE
    names, values = _run('configs/functionals.conf' if own else f'package/{SETS[opensmile_set]}', audio, {})
    return names, values[0]


def lld(wav: str | Path, frame_size: float = 0.025, frame_step: float = 0.010) -> tuple[list[str], np.ndarray]:
    """Computes the LLD of each frame: 56 values, smoothed over 3 frames, and their first deltas.

    Frame k is centred on k * frame_step, as emo_large defines. If the first frame begins before the audio, openSMILE
    repeats the first sample. The smoother writes one line more than there are frames.

    Audio with room for only one frame, such as a 40 ms clip with 40 ms frames, is treated like an isolated clip. It
    gives one line, and the frame begins with the audio. Nothing is smoothed and the deltas are 0.

    Args:
      wav: a 16-bit PCM wav.
      frame_size: length of a frame in seconds, at least 0.01. At most 32,768 samples.
      frame_step: seconds from one frame to the next, one sample or more.

    Returns:
      The 112 names and their values, float32 [frames + 1, 112] ([1, 112] for a single frame).

    Raises:
      InputError: the file is not a 16-bit PCM wav of one frame or more, or the frame lengths are out of range.
    """
    audio = read_wav(wav)
    if not (SHORTEST_FRAME <= frame_size < np.inf):
        raise InputError(f'frame_size={frame_size}: expected {SHORTEST_FRAME} seconds or more')
    if not (1 / audio.rate <= frame_step < np.inf):
        raise InputError(f'frame_step={frame_step}: expected seconds, one sample (1/{audio.rate}) or more')
    _check_frame(audio, frame_size)
    return _lld(audio, {'frameSize': frame_size, 'frameStep': frame_step})


def clip_features(wav: str | Path, num_clips: int, context: str = 'isolated') -> Clips:
    """Computes the LLD of the 40 ms clips that belong to a video's frames. Clip k begins at k * 0.04 s.

    At the end, clips that the audio does not fill repeat the last full clip, as the dissertation pads sequences with
    their last frame (5.1.5). `Clips.padded` counts them. Audio beyond `num_clips` is left out.

    Args:
      wav: a 16-bit PCM wav.
      num_clips: the video's frames at 25 frames/s, 1 or more.
      context: `isolated` runs openSMILE on each clip alone, like the dissertation. Deltas, F0 and the F0 envelope are
        then always 0, because they need earlier frames. `contextual` is one pass over the whole audio with 40 ms
        frames, each beginning with its clip. Smoothing, deltas and pitch then use the neighbouring clips. This pass is
        many times faster.

    Raises:
      InputError: the file is not a 16-bit PCM wav of one clip or more.
    """
    if context not in CONTEXTS or num_clips < 1:
        raise ValueError(f'context={context!r}, num_clips={num_clips}: expected one of {CONTEXTS} and 1 or more')
    audio = read_wav(wav)
    _check_frame(audio, CLIP_SECONDS)
    filled = min(len(audio.samples) // _num_samples(CLIP_SECONDS, audio.rate), num_clips)
    clips = cut_clips(audio, filled)
    framing = {'frameSize': CLIP_SECONDS, 'frameStep': CLIP_SECONDS, 'frameCenter': 'left'}
    if context == 'contextual':
        names, values = _lld(audio, framing)
        values = values[:filled]  # the smoother's last line belongs to no clip
    else:
        rows = [_run('configs/lld.conf', clip, framing | LONE_FRAME) for clip in clips]
        names, values = rows[0][0], np.concatenate([row for _, row in rows])
    padded = num_clips - filled
    values = np.concatenate([values, np.repeat(values[-1:], padded, axis=0)])
    silent = np.array([not clip.samples.any() for clip in clips] + [False] * padded)
    return Clips(names, values, padded, silent)


def cut_clips(audio: Wav, num_clips: int) -> list[Wav]:
    """Returns the first clips of 40 ms, cut by pydub (dissertation 5.1.2). The audio must be long enough."""
    channels = audio.samples.shape[1]
    whole = AudioSegment(audio.samples.tobytes(), sample_width=2, frame_rate=audio.rate, channels=channels)
    # By samples, because at some rates a millisecond is not a whole number of them.
    length = _num_samples(CLIP_SECONDS, audio.rate)
    clips = (whole.get_sample_slice(k * length, (k + 1) * length) for k in range(num_clips))
    return [audio._replace(samples=np.frombuffer(clip.raw_data, '<i2').reshape(-1, channels)) for clip in clips]


def read_wav(wav: str | Path, begin: float = 0.0, end: float = np.inf) -> Wav:
    """Reads a 16-bit PCM wav of any number of channels. A truncated file gives the samples that are there.

    Args:
      wav: the file.
      begin: of the part to read, in seconds.
      end: of the part to read, in seconds.

    Raises:
      InputError: the file has another form, such as 8-bit, 24-bit or float samples, which are scaled differently.
    """
    wav = Path(wav)
    try:
        with wave.open(str(wav), 'rb') as file:
            channels, width, rate, length = file.getparams()[:4]
            first, last = (round(min(time * max(rate, 1), length)) for time in (begin, end))
            file.setpos(first)
            data = file.readframes(last - first)
    except OSError as error:
        raise InputError(f'{wav}: {error.strerror}') from error
    except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError has no message: a chunk ends outside the file
        raise InputError(f'{wav}: not a PCM wav ({str(error) or "breaks off"}); expected 16-bit PCM') from error
    if width != 2:
        raise InputError(f'{wav}: {8 * width}-bit samples; expected 16-bit PCM')
    if rate < LOWEST_RATE:
        raise InputError(f'{wav}: {rate} samples/s; expected {LOWEST_RATE} or more')
    whole = len(data) - len(data) % (2 * channels)
    return Wav(wav, np.frombuffer(data[:whole], '<i2').reshape(-1, channels), rate)


def write_features(
    path: str | Path, names: Sequence[str], values: np.ndarray, file_format: str = 'csv', *, durable: bool = True
) -> None:
    """Writes a header and a line per row, with enough digits to restore each float32 to the bit.

    Args:
      path: the file to write. Its folder must exist.
      names: of the columns.
      values: float32 [rows, columns].
      file_format: `csv`, a line of names and lines of values, separated by commas, or `arff`, for Weka.
      durable: whether the file survives a power cut. Preparation passes False, because it writes a file per clip and
        recognises damaged ones by their digest.
    """
    lines = [','.join(f'{value:.9g}' for value in row) for row in values]
    if file_format == 'arff':
        header = ['@relation openSMILE', '', *(f'@attribute {name} numeric' for name in names), '', '@data']
    else:
        header = [','.join(names)]
    with atomic_write(path, durable=durable) as file:
        file.writelines(f'{line}\n' for line in header + lines)


def _lld(audio: Wav, framing: dict[str, object]) -> tuple[list[str], np.ndarray]:
    """Returns the 112 names and their values, float32 [rows, 112]. `framing` has options of lld.conf."""
    names, values = _run('configs/lld.conf', audio, framing)
    if len(values) <= 2:  # one frame, and the smoother's extra line
        names, values = _run('configs/lld.conf', audio, framing | LONE_FRAME)
        values = values[:1]
    return names, values


def _run(config: str, audio: Wav, options: dict[str, object]) -> tuple[list[str], np.ndarray]:
    """Runs openSMILE on audio.

    openSMILE gets the samples in a new file, because it accepts only ASCII paths and trusts the lengths in wav headers.

    Args:
      config: path of the configuration, below `configs` for configs/opensmile or `package` for the opensmile package.
      audio: its input.
      options: of the configuration.

    Returns:
      The names and the values, float32 [rows, columns], that reach the configuration's sink.
    """
    rows: list[np.ndarray] = []
    engine = _load_opensmile()()
    with tempfile.TemporaryDirectory(prefix='fer-smile-') as folder:
        (Path(folder) / 'configs').symlink_to(CONFIGS)
        (Path(folder) / 'package').symlink_to(_opensmile_core() / 'config')
        copy = f'{folder}/audio.wav'
        if config.startswith('package/'):  # these leave open where audio comes from and where features go
            source = f'{folder}/package/shared/standard_wave_input.conf.inc'
            options = {'source': source, 'sink': f'{folder}/configs/sink.inc', **options}
        with naming(copy), wave.open(copy, 'wb') as file:
            file.setparams((audio.samples.shape[1], 2, audio.rate, len(audio.samples), 'NONE', ''))
            file.writeframes(audio.samples.tobytes())
        try:
            engine.initialize(f'{folder}/{config}', {'I': copy, **options}, loglevel=0)
            count = engine.external_sink_get_num_elements('sink')
            names = [engine.external_sink_get_element_name('sink', index) for index in range(count)]
            engine.external_sink_set_callback('sink', lambda row: rows.append(row.copy()))
            engine.run()
        finally:
            engine.free()
    values = np.array(rows, np.float32).reshape(-1, count)
    if not len(values) or not np.isfinite(values).all():
        raise InputError(f'{audio.path}: openSMILE finds no features, or some that are not finite')
    return names, values


@functools.cache
def _load_opensmile() -> type:
    """Returns the class OpenSMILE of opensmile.core.lib, loaded without its package and with its own symbols.

    The package would import pandas and more, which takes half a second in every process. The library has a Fourier
    transform named `rdft`. TensorFlow 2.21 exports a function of the same name, which computes in doubles. In a process
    that loaded TensorFlow first, openSMILE would call that function and crash.
    """
    core = _opensmile_core()
    for library in core.glob('bin/*/libSMILEapi.so'):
        with contextlib.suppress(OSError):  # built for another machine
            ctypes.CDLL(str(library), mode=getattr(os, 'RTLD_DEEPBIND', 0))
    spec = importlib.util.spec_from_file_location('opensmile_core_lib', core / 'lib.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.OpenSMILE


@functools.cache
def _opensmile_core() -> Path:
    """Returns the folder of the opensmile package that has its library and its configurations."""
    package = importlib.util.find_spec('opensmile')
    if package is None or package.origin is None:
        raise InputError('opensmile is not installed here; run make venv, or pip install opensmile')
    return Path(package.origin).parent / 'core'


def _check_frame(audio: Wav, seconds: float) -> None:
    """Raises InputError if a frame is too long for openSMILE, or longer than the audio."""
    samples = _num_samples(seconds, audio.rate)
    if samples > LONGEST_FRAME:
        longest = LONGEST_FRAME / audio.rate
        raise InputError(
            f'{audio.path}: frames of {seconds} s; expected {longest:.3f} s or less at {audio.rate} samples/s'
        )
    if len(audio.samples) < samples:
        duration = len(audio.samples) / audio.rate
        raise InputError(f'{audio.path}: {duration:.4f} s of audio; expected a frame of {seconds} s or more')


def _num_samples(seconds: float, rate: int) -> int:
    """Returns a number of samples, rounded like openSMILE: halves up."""
    return int(seconds * rate + 0.5)
