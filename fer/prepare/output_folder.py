# SPDX-License-Identifier: Apache-2.0
"""The output folder of a preparation: its settings, and what is written or removed beside the splits."""

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path

from fer.errors import InputError
from fer.files import atomic_write, remove_temporaries
from fer.manifest import ledger_path
from fer.prepare.layout import SPLITS
from fer.prepare.prepared import FUNCTIONALS, MANIFESTS
from fer.prepare.records import FOLDER as RECORDS
from fer.prepare.stills import FOLDER as STILLS
from fer.prepare.stills import LINK
from fer.prepare.summary import PROBLEMS
from fer.prepare_flags import FILE as PREPARE_FLAGS
from fer.sample_rates import rates_path

SUBJECTS_FILE = 'split_subjects.csv'
STATISTICS = 'statistics'


def open_output(output: Path, recorded: str, source: str, *, overwrite: bool) -> None:
    """Makes the folder, accepts an earlier preparation with the same settings, or removes it. Writes the settings.

    Args:
      output: the folder.
      recorded: the flags that decide what is written, as lines of a flagfile.
      source: value of --source, which may differ from an earlier one because data may move.
      overwrite: True to remove an earlier preparation.

    Raises:
      InputError: the folder holds other files, or a preparation with different settings.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f'--output={output}: a file; expected a folder')
    # Hidden files are ignored, because the job of another shard may be writing the settings at this moment.
    if output.exists() and any(not path.name.startswith('.') for path in output.iterdir()):
        if not (output / PREPARE_FLAGS).exists():
            raise InputError(f'--output={output}: holds files but no {PREPARE_FLAGS}; expected a new or empty folder')
        earlier = (output / PREPARE_FLAGS).read_text(encoding='utf-8', errors='replace').splitlines()
        changed = sorted(set(earlier).symmetric_difference(recorded.splitlines()))
        changed = [line for line in changed if not line.startswith('--source=')]
        if changed and not overwrite:
            raise InputError(
                f'--output={output}: holds a preparation with other settings ({" ".join(changed)}); --overwrite '
                'replaces it'
            )
        if overwrite:
            _remove_preparation(output)
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / PREPARE_FLAGS) as file:
        file.write(recorded + f'--source={source}\n')


def _remove_preparation(output: Path) -> None:
    """Removes the files that preparation writes, and no others."""
    for name in ('faces', 'wav', 'clips', *FUNCTIONALS, STILLS, RECORDS, STATISTICS):
        shutil.rmtree(output / name, ignore_errors=True)  # removes links, not what they point to
    for name in (LINK, SUBJECTS_FILE):
        (output / name).unlink(missing_ok=True)
    for folder in output.glob('fold[0-9]*'):
        if (folder / PREPARE_FLAGS).exists():
            shutil.rmtree(folder)
    for split in SPLITS:  # all of them, because a split may no longer be in the source
        (output / PROBLEMS.format(split)).unlink(missing_ok=True)
        for name in MANIFESTS:
            manifest = output / name.format(split)
            manifest.unlink(missing_ok=True)
            ledger_path(manifest).unlink(missing_ok=True)
            rates_path(manifest).unlink(missing_ok=True)


def write_subjects(output: Path, subjects: Mapping[str, str]) -> None:
    """Writes the split of each subject."""
    with atomic_write(output / SUBJECTS_FILE) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(('subject', 'split'))
        writer.writerows(sorted(subjects.items()))


def write_all_statistics(output: Path) -> None:
    """Writes the statistics of every finished split, and again if another job finishes a split meanwhile."""
    # Imported here, because matplotlib would load in every worker.
    from fer.prepare.statistics.write import write_statistics

    def find_splits() -> list[str]:
        return [split for split in SPLITS if (output / f'{split}.txt').exists()]

    written: list[str] = []
    while written != (splits := find_splits()):
        write_statistics(output, output / STATISTICS, splits)
        written = splits


def remove_leftovers(output: Path, *, alone: bool) -> None:
    """Removes half-written files of killed jobs. Call it when all videos are finished.

    Args:
      output: the folder.
      alone: True if no other job writes to OUTPUT. Only then are the files directly in it and its statistics cleaned.
    """
    for name in (RECORDS, STILLS, 'wav', *FUNCTIONALS):
        for folder in (output / name).glob('**/'):
            remove_temporaries(folder)
    if alone:
        remove_temporaries(output)
        remove_temporaries(output / STATISTICS)
