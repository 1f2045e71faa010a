# SPDX-License-Identifier: Apache-2.0
"""Computes the openSMILE features of one audio file.

python -m fer.prepare.smile --features=functionals --wav=IN.wav --output=OUT.csv
    a line of 6,552 values, or those of another --opensmile_set
python -m fer.prepare.smile --features=lld --frame_size=0.025 --frame_step=0.010 --wav=IN.wav --output=OUT.csv
    112 values, a line per frame

The first line of OUT.csv has the names of the columns. IN.wav is any audio or video file that FFmpeg reads, of 8,000
samples/s or more. Channels are mixed down. Exit codes: 0 done, 2 bad input and nothing written.
"""

import contextlib
import functools
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from fer import cli
from fer.errors import InputError
from fer.prepare.media import MediaError, extract_wav
from fer.prepare.smile.extract import FORMATS, functionals, lld, write_features
from fer.prepare.smile.sets import EMO_LARGE, SETS

flags.DEFINE_enum(
    'features',
    'functionals',
    ['functionals', 'lld'],
    'Features to compute: functionals of the whole audio, or low-level descriptors (lld) of each frame.',
)
flags.DEFINE_enum('opensmile_set', EMO_LARGE, list(SETS), "Set of functionals. emo_large is the dissertation's.")
flags.DEFINE_string('wav', None, 'Audio to read: a wav, or any file that FFmpeg reads.', required=True)
flags.DEFINE_string('output', None, 'File to write.', required=True)
flags.DEFINE_enum('format', 'csv', FORMATS, 'Format of the output.')
flags.DEFINE_float('frame_size', 0.025, 'Length of a frame in seconds. For --features=lld only.')
flags.DEFINE_float('frame_step', 0.010, 'Seconds from one frame to the next. For --features=lld only.')


def main() -> None:
    args = flags.FLAGS
    output = Path(args.output)
    if not output.parent.is_dir():
        raise InputError(f'--output={output}: no folder {output.parent}; make it first')
    if output.is_dir():
        raise InputError(f'--output={output}: a folder; expected a file')
    if args.features == 'lld' and args['opensmile_set'].present:
        raise InputError('--opensmile_set: only for --features=functionals; low-level descriptors are emo_large')
    if args.features == 'functionals' and (args['frame_size'].present or args['frame_step'].present):
        raise InputError('--frame_size, --frame_step: only for --features=lld; functionals use 25 ms every 10 ms')
    with as_pcm(args.wav) as wav:
        if args.features == 'lld':
            names, values = lld(wav, args.frame_size, args.frame_step)
        else:
            names, values = functionals(wav, args.opensmile_set)
            values = values[None]
    write_features(output, names, values, args.format)


@contextlib.contextmanager
def as_pcm(path: str) -> Iterator[str | Path]:
    """Yields a 16-bit PCM wav of an audio file: the file itself, or a decoded copy that is removed afterwards."""
    try:
        with wave.open(path, 'rb') as file:
            is_pcm = file.getsampwidth() == 2
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}') from None
    except (EOFError, RuntimeError, wave.Error):  # another format, or a header that perhaps only FFmpeg can read
        is_pcm = False
    if is_pcm:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix='fer-smile-') as folder:
        copy = Path(folder) / 'audio.wav'
        try:
            if not extract_wav(path, copy):
                raise InputError(f'{path}: no audio stream')
        except MediaError as error:
            raise InputError(f'{path}: {error}') from None
        yield copy


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
