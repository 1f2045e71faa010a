# SPDX-License-Identifier: Apache-2.0
"""Finds the run folders and status lines below a folder, and reads them."""

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from fer.errors import InputError
from fer.report.seeds import SEED_FOLDER, SeedRun, read_seed
from fer.runs.flagfiles import find_runs, read_settings
from fer.runs.names import STATUS_FOLDER
from fer.runs.status import read_status

_RUN_ID = re.compile(r'\d+\.\d+[a-z]?-t\d+-r\d+')
_STATUS_LENGTH = 300  # characters of a status line that are shown


class FoundRuns(NamedTuple):
    """All runs below a folder."""

    seeds: dict[str, list[SeedRun]]  # by run id, seeds in ascending order
    unchecked: list[str]  # run ids that have a folder but no flagfile
    ignored: list[str]  # folders named <x>-seed<k> where <x> is not a run id, relative to the root


def read_seeds(root: Path, configs: Path) -> FoundRuns:
    """Reads every run below a folder. Links to folders are followed.

    A folder is a run if it is named after a run of chapter 6 or after a flagfile.

    Args:
      root: folder that holds runs, at any depth. Its folder `status` has a line for each run that a queue has tried.
      configs: folder of the flagfiles.

    Raises:
      InputError: the folder does not exist, two folders claim one run and seed, or a flagfile is malformed.
    """
    if not root.is_dir():
        raise InputError(f'--runs={root}: {"a file" if root.exists() else "not found"}; expected a folder of runs')
    flagfiles = dict(find_runs(configs))
    folders, ignored = _assign_folders(root, flagfiles)
    statuses = _read_statuses(root, flagfiles)
    run_ids = {run_id for run_id, _ in folders}
    settings = {run_id: read_settings(flagfiles[run_id]) for run_id in run_ids if run_id in flagfiles}
    seeds: dict[str, list[SeedRun]] = {}
    for key in sorted({*folders, *statuses}):
        run_id, number = key
        if key in folders:
            seed = read_seed(run_id, number, folders[key], settings.get(run_id), flagfiles.get(run_id))
            if not seed.finished:
                seed = seed._replace(status=statuses.get(key, ''))
        else:
            seed = SeedRun(run_id, number, None, {}, ['no run folder'], statuses[key], [], [], [])
        seeds.setdefault(run_id, []).append(seed)
    return FoundRuns(seeds, sorted(run_ids - set(flagfiles)), ignored)


def _assign_folders(root: Path, flagfiles: Collection[str]) -> tuple[dict[tuple[str, int], Path], list[str]]:
    """Returns the folder of each run id and seed, and the folders to ignore."""
    folders: dict[tuple[str, int], Path] = {}
    ignored = []
    for folder, key in _find_folders(root):
        if not _is_run(key[0], flagfiles):
            ignored.append(str(folder.relative_to(root)))
        elif key in folders:
            raise InputError(
                f'{folders[key]} and {folder}: both claim run {key[0]}, seed {key[1]}; rename or remove one'
            )
        else:
            folders[key] = folder
    return folders, ignored


def _is_run(run_id: str, flagfiles: Collection[str]) -> bool:
    return run_id in flagfiles or _RUN_ID.fullmatch(run_id) is not None


def _find_folders(root: Path) -> list[tuple[Path, tuple[str, int]]]:
    """Finds the folders named <x>-seed<k>, but not inside such folders. Splits their names into (x, k).

    A folder that is reached several times through links counts once, unless the links have different names. A link to a
    folder that contains the link is not followed.
    """
    found = []
    entered = {_identity(folder) for folder in root.resolve().parents}
    named = set()
    for place, names, _ in os.walk(root, followlinks=True):
        folder = Path(place)
        if _identity(folder) in entered:
            names.clear()
            continue
        entered.add(_identity(folder))
        inner = []
        for name in sorted(names):
            match = SEED_FOLDER.fullmatch(name)
            if match:
                key = match['run_id'], int(match['seed'])
                if (key, _identity(folder / name)) not in named:
                    named.add((key, _identity(folder / name)))
                    found.append((folder / name, key))
            elif not (name == STATUS_FOLDER and folder == root):
                inner.append(name)
        names[:] = inner
    return found


def _identity(folder: Path) -> tuple[int, int]:
    """Returns the device and inode of a folder. They are the same through every link."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _read_statuses(root: Path, flagfiles: Collection[str]) -> dict[tuple[str, int], str]:
    """Returns the state and message of each run that a queue has tried, by run id and seed."""
    statuses = {}
    for path in sorted((root / STATUS_FOLDER).glob('*.txt')):
        match = SEED_FOLDER.fullmatch(path.stem)
        status = read_status(root, path.stem) if match and _is_run(match['run_id'], flagfiles) else None
        if match and status:
            text = ': '.join(part for part in (status.state, status.text) if part)
            statuses[match['run_id'], int(match['seed'])] = text[:_STATUS_LENGTH]
    return statuses
