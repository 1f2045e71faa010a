# SPDX-License-Identifier: Apache-2.0
"""Manifests of the folds of people, for cross-validation on a dataset without splits.

DATA/fold0/ and so on each have the manifests and ledgers of val, the people of that fold, and of train, all others. The
files that they name are those of the whole preparation.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from shutil import copyfile

from fer.errors import InputError
from fer.prepare.prepared import Prepared, write_split
from fer.prepare_flags import FILE as PREPARE_FLAGS


def number_folds(people: Collection[str], folds: int) -> dict[str, int]:
    """Returns the fold of each person, from 0.

    It is the person's number modulo `folds` if all are numbers, as in RAVDESS and CREMA-D, else the place in the order
    of names modulo `folds`.

    Raises:
      InputError: there are more folds than people.
    """
    names = sorted(people)
    if folds > len(names):
        raise InputError(f'--people_folds={folds}: found {len(names)} people; expected at most as many folds')
    numbers = [int(name) for name in names] if all(map(str.isdecimal, names)) else range(len(names))
    return {name: number % folds for name, number in zip(names, numbers, strict=True)}


def write_folds(
    output: Path,
    people: Sequence[tuple[str, Prepared]],
    numbers: Mapping[str, int],
    audio: Sequence[str],
    *,
    faces: bool,
) -> None:
    """Writes the manifests of every fold. They do not change while all items stay the same.

    Args:
      output: the folder of the whole preparation, which holds all files.
      people: the person and the result of each item.
      numbers: the fold of each person.
      audio: as `write_split` takes it.
      faces: True to write the manifests that list faces.
    """
    people = sorted(people, key=lambda pair: pair[1].row.video_id)
    for fold in sorted(set(numbers.values())):
        folder = output / f'fold{fold}'
        folder.mkdir(exist_ok=True)
        copyfile(output / PREPARE_FLAGS, folder / PREPARE_FLAGS)
        for split, is_val in (('train', False), ('val', True)):
            items = [_one_level_up(item) for person, item in people if (numbers[person] == fold) == is_val]
            write_split(split, items, folder, audio, faces=faces)


def _one_level_up(item: Prepared) -> Prepared:
    """Returns the result with paths relative to a folder inside the output folder."""
    return item._replace(
        frames=[f'../{name}' for name in item.frames],
        clips=[f'../{name}' for name in item.clips],
        functionals=item.functionals and f'../{item.functionals}',
        other_functionals={name: f'../{path}' for name, path in item.other_functionals.items()},
    )
