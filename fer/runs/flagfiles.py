# SPDX-License-Identifier: Apache-2.0
"""Flagfiles of runs: their places, the names of their runs, and their settings.

A flagfile `<section>-<words>/<table>-<words>/<run>.flags` describes the run `<section>-<table>-<run>`:
`6.2-finetune/t1-vgg_face/r13.flags` describes run 6.2-t1-r13. `defaults.flags` beside the tables describes no run.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from fer.errors import InputError
from fer.installation import find_config


def find_runs(folder: str | Path) -> list[tuple[str, Path]]:
    """Returns (name, flagfile) of each run below a folder, in the order of sections, tables and runs.

    The list is empty if the folder does not exist.
    """
    paths = sorted(find_config(folder).glob('*/*/*.flags'), key=lambda path: _natural(str(path)))
    return [('-'.join([*(part.split('-')[0] for part in path.parts[-3:-1]), path.stem]), path) for path in paths]


def read_settings(path: str | Path) -> dict[str, str]:
    """Returns {flag: text} of a flagfile and of the files that it includes.

    If a flag is repeated, the last one counts. A flag without a value has the text `True`.

    Raises:
      InputError: a file cannot be read or includes itself, or a line is not a flag.
    """
    settings: dict[str, str] = {}
    for line in _read_lines(str(path), ()):
        name, is_valued, value = line.lstrip('-').partition('=')
        if not line.startswith('-') or not name:
            raise InputError(f'{path}: {line!r}; expected --flag=value')
        settings[name] = value if is_valued else 'True'
    return settings


def expand_flagfiles(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments of a command. The lines of the file replace each `--flagfile`.

    absl could do this too. But it would read /dev/zero until the memory is full, and it finds included files only in
    the working folder.

    Raises:
      InputError: a file cannot be read or includes itself, or `--flagfile` has no value.
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
    """Returns the lines of a flagfile, with those of included files in their place.

    Args:
      name: path of the file.
      including: paths of the files that include it, the outermost first.
    """
    path = find_config(os.path.expanduser(name.strip()))
    if path in including:
        raise InputError(f'{including[-1]}: --flagfile={name}: the file includes itself; remove the line')
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
    """Returns a key that sorts r2 before r10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', text)]
