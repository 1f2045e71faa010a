"""Flagfiles of runs: where they lie, what the runs are called, and what they say.

A run is a flagfile `<section>-<words>/<table>-<words>/<run>.flags` and is called `<section>-<table>-<run>`:
`6.2-finetune/t1-vgg_face/r13.flags` is run 6.2-t1-r13. `defaults.flags` beside the tables is no run.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from fer.errors import InputError
from fer.installation import find_config


def find_runs(folder: str | Path) -> list[tuple[str, Path]]:
    """Name and flagfile of each run below a folder, in the order of sections, tables and runs; none where it is not."""
    paths = sorted(find_config(folder).glob('*/*/*.flags'), key=lambda path: _natural(str(path)))
    return [('-'.join([*(part.split('-')[0] for part in path.parts[-3:-1]), path.stem]), path) for path in paths]


def read_settings(path: str | Path) -> dict[str, str]:
    """Returns {flag: value} of a flagfile and of those that it includes. The last of equal flags counts.

    A flag without a value is `True`.

    Raises:
      InputError: a file that cannot be read, that includes itself, or a line that is not a flag.
    """
    settings: dict[str, str] = {}
    for line in _read_lines(str(path), ()):
        name, is_valued, value = line.lstrip('-').partition('=')
        if not line.startswith('-') or not name:
            raise InputError(f'{path}: {line!r}; expected --flag=value')
        settings[name] = value if is_valued else 'True'
    return settings


def expand_flagfiles(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments of a command with the lines of a file in place of each `--flagfile`, as absl does.

    absl itself would read /dev/zero until memory ends, and looks for included files in the working folder only.

    Raises:
      InputError: as `read_settings`, or no file is named.
    """
    expanded, waiting = [], list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name, is_valued, path = argument.partition('=')
        if name not in ('--flagfile', '-flagfile'):
            expanded.append(argument)
            continue
        if not is_valued and not waiting:
            raise InputError('--flagfile: no file; expected --flagfile=FILE')
        expanded += _read_lines(path if is_valued else waiting.pop(0), ())
    return expanded


def _read_lines(name: str, including: tuple[Path, ...]) -> list[str]:
    """Returns the flags of a file, those of included files in their place; `including` are the files around it."""
    path = find_config(os.path.expanduser(name.strip()))
    if path in including:
        raise InputError(f'{including[-1]}: --flagfile={name}: a file that includes itself')
    if not path.is_file():
        found = 'not a file' if path.exists() else 'no such file'
        by = f', included by {including[-1]}' if including else ''
        raise InputError(f'--flagfile={name}: {found}{by}; expected a flagfile')
    try:
        text = path.read_text(encoding='utf-8-sig')  # with or without a byte order mark
    except OSError as error:
        raise InputError(f'--flagfile={name}: {error.strerror}') from None
    except UnicodeDecodeError:
        raise InputError(f'{path}: not UTF-8 text; expected a flagfile') from None
    lines = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith(('--flagfile=', '-flagfile=')):
            lines += _read_lines(line.partition('=')[2], (*including, path))
        elif line and not line.startswith(('#', '//')):
            lines.append(line)
    return lines


def _natural(text: str) -> list:
    """A key that sorts r2 before r10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', text)]
