# SPDX-License-Identifier: Apache-2.0
"""Splits by subject, for datasets without splits of their own: no person is in two splits."""

import hashlib
from collections.abc import Iterable

from fer.errors import InputError
from fer.prepare.layout import SPLITS, Item, Splits

FEW_SUBJECTS = 5  # with fewer, one subject is held out at a time
_HELD_OUT = 0.1  # share of the subjects, for val and for test each


def split_by_subject(subjects: Iterable[str], seed: int) -> dict[str, str]:
    """Returns the split of each subject: a tenth in val, a tenth in test, at least one in each, and the rest in train.

    A hash orders the subjects, so a seed gives the same split on every machine and with every Python version.

    Raises:
      InputError: there are fewer than three subjects.
    """
    order = sorted(set(subjects), key=lambda subject: hashlib.sha256(f'{seed}:{subject}'.encode()).digest())
    if len(order) < len(SPLITS):
        raise InputError(f'found subjects {order}; expected at least {len(SPLITS)}, to hold out two')
    held_out = max(1, round(len(order) * _HELD_OUT))
    parts = (order[2 * held_out :], order[:held_out], order[held_out : 2 * held_out])
    return {subject: split for split, part in zip(SPLITS, parts, strict=True) for subject in sorted(part)}


def split_items_by_subject(items: Iterable[tuple[str, Item]], seed: int) -> Splits[Item]:
    """Splits (subject, item) pairs by subject, as `split_by_subject` does."""
    items = list(items)
    return _group_items(items, split_by_subject((subject for subject, _ in items), seed), SPLITS)


def hold_out_subjects(items: Iterable[tuple[str, Item]], seed: int, fold: int) -> Splits[Item]:
    """Splits (subject, item) pairs by subject. With fewer than FEW_SUBJECTS, one is for val and there is no test split.

    Args:
      items: (subject, item) pairs.
      seed: chooses the subjects of val and test. Not used with few subjects.
      fold: number of the subject who is held out if there are few, from 1 in the order of their names.

    Raises:
      InputError: the fold does not exist, or there is a single subject.
    """
    items = list(items)
    names = sorted({subject for subject, _ in items})
    if len(names) >= FEW_SUBJECTS:
        return split_items_by_subject(items, seed)
    if not 1 <= fold <= len(names) or len(names) < 2:
        raise InputError(f'--fold={fold}: found {len(names)} subjects; expected at least 2, and a fold of each')
    held_out = names[fold - 1]
    splits = _group_items(items, {name: 'val' if name == held_out else 'train' for name in names}, ('train', 'val'))
    splits.notes.append(f'{len(names)} subjects: fold {fold} holds out {held_out} for val, and there is no test split')
    return splits


def _group_items(items: Iterable[tuple[str, Item]], subjects: dict[str, str], names: Iterable[str]) -> Splits[Item]:
    splits: Splits[Item] = Splits({name: [] for name in names})
    for subject, item in items:
        splits[subjects[subject]].append(item)
        splits.people[item] = subject
    splits.subjects = subjects
    return splits
