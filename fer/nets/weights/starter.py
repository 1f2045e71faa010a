# SPDX-License-Identifier: Apache-2.0
"""The starter set: trained networks that the package brings. `--init_from=starter:face` names one.

A network of the set is a folder that a run folder is turned into (fer/starter/build.py). It has the small files of the
run, `weights.safetensors` with float16 values instead of a checkpoint, and `card.json`. The card describes the network
and has the SHA-256 of every other file, which is compared before anything is read. A folder of this form may lie
anywhere, and --init_from takes its path too.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fer.errors import InputError
from fer.files import read_object
from fer.installation import PACKAGE
from fer.nets.weights.safetensors_file import open_safetensors
from fer.nets.weights.tensors import STARTER, Tensors
from fer.runs.names import FLAGS_FILE, STARTER_PREFIX
from fer.runs.provenance import digest

NAMES = ('face', 'voice')
SET = PACKAGE / 'starter'
CARD_FILE, WEIGHTS_FILE = 'card.json', 'weights.safetensors'
FORMAT_VERSION = 1


def find_starter(init_from: str, flag: str = '--init_from') -> Path | None:
    """Returns the folder of a network of the starter set, or None for the name of other weights.

    Args:
      init_from: value of the flag.
      flag: that names the weights.

    Raises:
      InputError: no network of the set has this name, or this copy of the package does not bring it.
    """
    if not init_from.startswith(STARTER_PREFIX):
        is_network = all(os.path.isfile(os.path.join(init_from, name)) for name in (CARD_FILE, WEIGHTS_FILE))
        return Path(init_from) if is_network else None
    if (name := init_from.removeprefix(STARTER_PREFIX)) not in NAMES:
        known = ', '.join(f'{STARTER_PREFIX}{name}' for name in NAMES)
        raise InputError(f'{flag}={init_from}: the starter set has no {name!r}; expected one of {known}')
    folder = SET / name
    if not os.path.isfile(folder / CARD_FILE):
        raise InputError(
            f'{flag}={init_from}: {folder / CARD_FILE} is missing; install the package again, or build the '
            'network with python -m fer.starter build'
        )
    return folder


def read_card(folder: Path) -> dict[str, Any]:
    """Returns the card of a network, after comparing every file with its checksum.

    Raises:
      InputError: the card or a file is missing or damaged, or the card is of another format version.
    """
    path = folder / CARD_FILE
    try:
        card = read_object(path)
        version = card['format_version']
        if version != FORMAT_VERSION:
            raise InputError(
                f'{path}: format version {version!r}, but this fer reads version {FORMAT_VERSION}; use the fer that '
                'wrote it, or the starter set of this one'
            )
        sums = {str(name): str(about['sha256']) for name, about in card['files'].items()}
        if {WEIGHTS_FILE, FLAGS_FILE} - set(sums) or any(Path(name).name != name for name in sums):
            raise ValueError(f'files {", ".join(sums)}')
        if not all(isinstance(card[name], str) for name in ('name', 'notice', 'summary')):
            raise ValueError('name, notice and summary are texts')
        if not isinstance(card['recipe']['step'], int):
            raise ValueError('the step of the recipe is a whole number')
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f'{type(error).__name__}: {error}'
        raise InputError(f'{path}: {reason}; expected the card that python -m fer.starter build wrote') from None
    for name, expected in sums.items():
        _check_file(folder / name, expected)
    return card


def _check_file(path: Path, expected: str) -> None:
    try:
        found = digest(path)
    except (OSError, ValueError) as error:  # ValueError for a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f'{path}: {reason}; install the starter network again') from None
    if found != expected:
        raise InputError(
            f'{path}: damaged: {path.stat().st_size} bytes with SHA-256 {found[:16]}..., expected {expected[:16]}... '
            f'({CARD_FILE}); install the starter network again'
        )


def open_starter(folder: Path) -> Tensors:
    """Opens the weights of a network of the starter set.

    Raises:
      InputError: as `read_card`.
    """
    read_card(folder)
    return open_safetensors(str(folder / WEIGHTS_FILE))._replace(kind=STARTER)


def describe_starters(opened: Iterable[Tensors]) -> list[str]:
    """Returns a line about the origin and the terms of each network of the starter set among opened files."""
    cards = [read_card(Path(tensors.path).parent) for tensors in opened if tensors.kind == STARTER]
    return [f'{card["summary"]}; {card["notice"]}' for card in cards]
