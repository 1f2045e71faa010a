"""Flagfiles of runs: where they lie, what the runs are called, and what they say.

A run is a flagfile `<section>-<words>/<table>-<words>/<run>.flags` and is called `<section>-<table>-<run>`:
`6.2-finetune/t1-vgg_face/r13.flags` is run 6.2-t1-r13. `defaults.flags` beside the tables is no run.
"""

import os
import re
from pathlib import Path

from absl import flags

from fer.errors import InputError


def find_runs(folder: str | Path) -> list[tuple[str, Path]]:
    """Name and flagfile of each run below a folder, in the order of sections, tables and runs; none where it is not."""
    paths = sorted(Path(folder).glob('*/*/*.flags'), key=lambda path: _natural(str(path)))
    return [('-'.join([*(part.split('-')[0] for part in path.parts[-3:-1]), path.stem]), path) for path in paths]


def read_settings(path: str | Path) -> dict[str, str]:
    """{flag: value} of a flagfile and of those that it includes, by absl's own reading; the last of equal flags counts.

    A flag without a value is `True`. An included file is looked for in the working folder.

    Raises:
      InputError: a file that cannot be read, or a line that is no flag.
    """
    check_includes(path)
    try:
        lines = flags.FlagValues().read_flags_from_files([f'--flagfile={path}'], force_gnu=False)
    except flags.Error as error:
        raise InputError(f'{path}: {" ".join(str(error).split())}') from None
    except UnicodeDecodeError:
        raise InputError(f'{path}: not UTF-8 text; expected a flagfile') from None
    settings: dict[str, str] = {}
    for line in lines:
        name, is_valued, value = line.lstrip('-').partition('=')
        if not line.startswith('-') or not name:
            raise InputError(f'{path}: {line!r}; expected --flag=value')
        settings[name] = value if is_valued else 'True'
    return settings


def check_includes(path: str | Path) -> None:
    """Looks at what a flagfile includes, before absl reads it, which would read /dev/zero to the end of all memory.

    Raises:
      InputError: it includes something that is there and no file.
    """
    seen, waiting = set(), [str(path)]
    while waiting:
        name = waiting.pop()
        if name in seen or not os.path.isfile(name) or not os.access(name, os.R_OK):  # absl says so
            continue
        seen.add(name)
        with open(name, encoding='utf-8', errors='replace') as file:
            for line in map(str.strip, file):
                if line.startswith(('--flagfile=', '-flagfile=')):
                    included = os.path.expanduser(line.partition('=')[2].strip())  # as absl does
                    if os.path.exists(included) and not os.path.isfile(included):
                        raise InputError(f'{name}: {line}; expected a file')
                    waiting.append(included)


def _natural(text: str) -> list:
    """A key that sorts r2 before r10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', text)]
