# SPDX-License-Identifier: Apache-2.0
"""Sampling rates of a manifest's audio: openSMILE features of different rates are not comparable.

Beside a manifest with audio, such as train_clips.txt, preparation writes `train_clips.rates.csv` with a row for each
sampling rate: `sample_rate,videos`. Training keeps the rates of the training set in the run folder, and evaluation
compares the rates of its own data with them. A manifest that was made elsewhere has no such file, and then nothing is
compared.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from fer.errors import InputError
from fer.files import atomic_write

COLUMNS = ('sample_rate', 'videos')

Rates = Mapping[int, int]  # videos by sampling rate in Hz


def rates_path(manifest_path: str | Path) -> Path:
    """Returns the path of a manifest's rates: train_clips.rates.csv beside train_clips.txt."""
    return Path(manifest_path).with_suffix('.rates.csv')


def write_rates(path: str | Path, rates: Rates) -> None:
    """Writes the file. The rate with the most videos comes first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(COLUMNS)
    writer.writerows(_most_first(rates))
    with atomic_write(path) as file:
        file.write(text.getvalue())


def read_rates(paths: Iterable[str | Path]) -> Counter[int]:
    """Returns the number of videos of each rate, summed over the files that exist.

    Raises:
      InputError: a file is malformed. The message names the line.
    """
    total: Counter[int] = Counter()
    for path in paths:
        try:
            lines = Path(path).read_text(encoding='utf-8-sig').splitlines()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f'{path}: {error}; expected sampling rates') from None
        if not lines or tuple(lines[0].split(',')) != COLUMNS:
            raise InputError(f'{path}:1: found {lines[:1]}; expected the columns {",".join(COLUMNS)}')
        for number, line in enumerate(lines[1:], start=2):
            fields = line.split(',')
            if len(fields) != 2 or not all(field.isdecimal() for field in fields):
                raise InputError(f'{path}:{number}: found {line!r}; expected a rate in Hz and a number of videos')
            total[int(fields[0])] += int(fields[1])
    return total


def compare_rates(parts: Mapping[str, Rates]) -> str:
    """Returns a line that names the rates if there are several, or ''.

    Args:
      parts: the rates of each part, such as `training` and `validation`. A part without rates is left out.
    """
    known = {name: rates for name, rates in parts.items() if rates}
    if len({rate for rates in known.values() for rate in rates}) < 2:
        return ''
    text = ', '.join(f'{name} {describe_rates(rates)}' for name, rates in known.items())
    return (
        f'sampling rates differ: {text}; features of different rates are not comparable, and '
        'python -m fer.prepare --sample_rate=16000 gives all videos one rate'
    )


def describe_rates(rates: Rates) -> str:
    """Returns `700 at 48000 Hz and 73 at 44100 Hz`."""
    return ' and '.join(f'{videos} at {rate} Hz' for rate, videos in _most_first(rates))


def _most_first(rates: Rates) -> list[tuple[int, int]]:
    return sorted(rates.items(), key=lambda item: (-item[1], item[0]))
