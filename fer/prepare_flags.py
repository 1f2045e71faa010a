# SPDX-License-Identifier: Apache-2.0
"""The flags that a manifest was prepared with.

`python -m fer.prepare` writes its flags to prepare_flags.txt beside its manifests. Training keeps them in the run
folder, so that evaluation and the report find how the data were made. A manifest that was made elsewhere has no such
file, so its flags are unknown.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from fer.errors import InputError
from fer.files import atomic_write, read_object

FILE = 'prepare_flags.txt'
ISOLATED = 'isolated'  # value of --clip_context in section 5.1.2

PrepareFlags = Mapping[str, Mapping[str, str]]  # {manifest: {flag: text}}, {} for unknown flags


def read_prepare_flags(manifest: str | Path) -> dict[str, str]:
    """Returns {flag: text} of a manifest's preparation. Empty if unknown.

    Raises:
      InputError: the file cannot be read, or a line is not a flag. The message names the line.
    """
    path = Path(manifest).parent / FILE
    try:
        text = path.read_text(encoding='utf-8')
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: {error}; expected the flags of fer.prepare') from None
    flags = {}
    recorded, has_source, source = text.partition('\n--source=')  # it is last, because a path may hold line breaks
    for number, line in enumerate(recorded.split('\n'), start=1):
        name, is_valued, value = line.removeprefix('--').partition('=')
        if line and not (line.startswith('--') and name and is_valued):
            raise InputError(f'{path}:{number}: found {line[:100]!r}; expected --flag=value, as fer.prepare writes it')
        if line:
            flags[name] = value
    if has_source:
        flags['source'] = source.removesuffix('\n')
    return flags


def write_run_prepare_flags(path: Path, prepare_flags: PrepareFlags) -> None:
    """Writes the file of a run folder."""
    with atomic_write(path) as file:
        json.dump(prepare_flags, file, indent=1)


def read_run_prepare_flags(path: Path) -> PrepareFlags:
    """Reads the file of a run folder. Empty if the file is missing.

    Raises:
      InputError: the file is damaged.
    """
    try:
        found = read_object(path)
        for manifest, flags in found.items():
            if not isinstance(flags, dict) or not all(isinstance(text, str) for text in flags.values()):
                raise ValueError(f'found {str(flags)[:100]!r} for {manifest[:100]!r}')
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f'{path}: {error}; expected the flags that the data of the run were prepared with') from None
    return found


def clip_contexts(prepare_flags: PrepareFlags) -> set[str]:
    """Returns the values of --clip_context, which decides openSMILE's features of clips. Empty if unknown."""
    return {flags['clip_context'] for flags in prepare_flags.values() if 'clip_context' in flags}


def compare_clip_contexts(parts: Mapping[str, Collection[str]]) -> str:
    """Returns a line that names the values of --clip_context if there are several, or ''.

    Args:
      parts: the values of each part, such as `training` and `validation`.
    """
    if len({context for contexts in parts.values() for context in contexts}) < 2:
        return ''
    text = ', '.join(f'{name} {" and ".join(sorted(contexts))}' for name, contexts in parts.items() if contexts)
    return (
        f'--clip_context differs: {text}; audio clips of different contexts are not comparable, so prepare all data '
        'with one'
    )


def compare_cuts(own: PrepareFlags, learned: PrepareFlags, margins: Collection[float]) -> str:
    """Returns text that names how two sets of faces are cut, the second in brackets, or '' if alike or unknown.

    Published faces that came cut out have no detector. Faces cut by a detector are like them with a certain --margin.

    Args:
      own: how faces were prepared.
      learned: how the faces of a network's training were prepared.
      margins: the --margin values that equal the cut of the network's published faces. Empty: it had none.
    """
    found, theirs = (
        {name: {flags[name] for flags in prepared.values() if name in flags} for name in ('detector', 'margin')}
        for prepared in (own, learned)
    )
    if margins and found['detector'] and 'none' not in found['detector']:
        theirs = {'margin': {str(margin) for margin in margins}}
    return ', '.join(
        f'--{name}={" and ".join(sorted(found[name]))} ({" and ".join(sorted(texts))})'
        for name, texts in theirs.items()
        if found[name] and texts and found[name] != texts
    )
