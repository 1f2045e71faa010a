# SPDX-License-Identifier: Apache-2.0
"""Finds which k of N videos a printed accuracy can be: python -m fer.report.counts --accuracy=55.13,46.0 --of=383,653

AFEW has 383 validation and 653 test videos. Every k is printed whose share of N is printed like the accuracy: rounded
half up, rounded half to even, or truncated. Where these differ, the line names those that fit. Without --accuracy,
every accuracy that chapters 6 and 7 print for AFEW's validation set is checked against the first number of --of, and
those that are no rounded k are listed. Exit codes: 0 done, 2 bad input.
"""

import functools

from absl import flags

from fer import cli
from fer.dissertation.chapter7 import read_comparisons
from fer.dissertation.entrants import read_entrants
from fer.dissertation.runs import read_runs
from fer.errors import InputError
from fer.results.counts import ROUNDINGS, nearest_count, possible_counts

flags.DEFINE_list('accuracy', [], 'Accuracies in percent, with the decimals that are printed. Empty: see above.')
flags.DEFINE_list('of', ['383'], 'Numbers of videos.')

MOST_VIDEOS = 10**6
MOST_COUNTS = 8  # on a line


def describe(accuracy: str, total: int) -> str:
    """Returns a line such as `55.13% of 653: 360/653 = 55.1302%`.

    Raises:
      InputError: the accuracy is not in percent.
    """
    try:
        counts = possible_counts(accuracy, total)
        nearest = nearest_count(accuracy, total)
    except ValueError as error:
        raise InputError(f'--accuracy={error}') from None
    head = f'{accuracy}% of {total}: '
    if not counts:
        return f'{head}none, nearest {nearest}/{total} = {100 * nearest / total:.4f}%'
    if len(counts) > MOST_COUNTS:
        return f'{head}{len(counts)} numbers, from {min(counts)}/{total} to {max(counts)}/{total}'
    texts = []
    for count, names in counts.items():
        only = '' if len(names) == len(ROUNDINGS) else f' ({", ".join(names)})'
        texts.append(f'{count}/{total} = {100 * count / total:.4f}%{only}')
    return head + ', '.join(texts)


def printed_accuracies() -> list[tuple[str, str]]:
    """Returns the place and the text of each accuracy that chapters 6 and 7 print for AFEW's validation set."""
    rows = [(run.run_id, run.afew_accuracy) for run in read_runs() if run.afew_accuracy is not None]
    rows += [(f'6.2 table 7, {row.paper} {row.model}', row.afew_val_acc) for row in read_entrants()]
    rows += [(f'7 table {row.table}, {row.entrant} {row.run}'.rstrip(), row.val_acc) for row in read_comparisons()]
    return [(place, f'{accuracy:.1f}') for place, accuracy in rows]


def unfit_accuracies(total: int) -> list[tuple[str, str]]:
    """Returns those of `printed_accuracies` that are no rounded k of `total`. Truncated ones may fit."""
    rounded = ('half up', 'half to even')
    return [
        (place, text)
        for place, text in printed_accuracies()
        if not any(name in names for names in possible_counts(text, total).values() for name in rounded)
    ]


def _read_totals() -> list[int]:
    totals = []
    for text in flags.FLAGS.of:
        if not text.isdecimal() or not 1 <= int(text) <= MOST_VIDEOS:
            raise InputError(f'--of={text}: expected numbers of videos from 1 to {MOST_VIDEOS}')
        totals.append(int(text))
    if not totals:
        raise InputError('--of: no numbers; expected some, such as 383,653')
    return totals


def main() -> None:
    totals, accuracies = _read_totals(), [text.strip().removesuffix('%') for text in flags.FLAGS.accuracy]
    if accuracies:
        print('\n'.join([describe(accuracy, total) for accuracy in accuracies for total in totals]))
        return
    unfit = unfit_accuracies(totals[0])
    print(f'{len(printed_accuracies())} printed accuracies, {len(unfit)} are no rounded k of {totals[0]}:')
    print('\n'.join(f'{place}: {describe(text, totals[0])}' for place, text in unfit))


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
