# SPDX-License-Identifier: Apache-2.0
"""Counts lengths, classes and losses of prepared splits: python -m fer.prepare.statistics --data=DATA [--output=DIR]

Reads each DATA/<split>.txt with its ledger, writes to DIR and prints the summary. DIR receives summary.csv, and for
each split lengths_<split>.csv (videos in bins of 10 frames), classes_<split>.csv and skipped_<split>.csv (what was left
out and why). The first two have a figure each. Exit codes: 0 done, 2 bad input and nothing written.
"""

import functools
from pathlib import Path

from absl import flags

from fer import cli
from fer.errors import InputError
from fer.prepare.statistics.splits import ITEMS, find_splits
from fer.prepare.statistics.write import format_summaries, write_statistics

flags.DEFINE_string('data', None, 'Folder that `python -m fer.prepare` wrote.', required=True)
flags.DEFINE_string('output', None, 'Folder to write to. Default: DATA/statistics.')
flags.DEFINE_list('splits', None, 'Names of the manifests to read. Default: all in DATA.')
flags.DEFINE_enum('item', None, ITEMS, 'Meaning of a line of a manifest. Default: found from its ledger, else a frame.')


def main() -> None:
    args = flags.FLAGS
    data = Path(args.data)
    found = find_splits(data)
    splits = args.splits or found
    for name in splits:
        if name not in found:
            raise InputError(f'--splits: found no {data / name}.txt; expected some of {", ".join(found)}')
    summaries = write_statistics(data, Path(args.output or data / 'statistics'), splits, args.item)
    print(format_summaries(summaries))


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
