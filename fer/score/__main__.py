# SPDX-License-Identifier: Apache-2.0
"""Scores the predictions of any program: python -m fer.score --predictions=FILE --ledger=LEDGER.csv --output=OUT

FILE is a CSV with a header. Its columns are found by their names: `id`, if there is one `label`, and either
`prediction` or all of `p_Neutral` to `p_Surprise`. Every video of the ledger counts. One without a prediction is lost
and counts as wrong. Writes OUT/score.json. Exit codes: 0 done, 2 bad input and nothing written.
"""

import functools
from pathlib import Path

from absl import flags

from fer import cli
from fer.errors import InputError
from fer.results.metrics import write_metrics
from fer.score.predictions import read_predictions
from fer.score.sheet import compare_predictions, describe_against, describe_sheet, score_predictions

flags.DEFINE_string('predictions', None, 'CSV of the predictions to score.')
flags.DEFINE_string('ledger', None, 'Ledger of the split, which names its videos and labels.')
flags.DEFINE_string('against', '', 'CSV of predictions of another program, for a paired comparison.')
flags.DEFINE_string('output', None, 'Folder to write score.json to.')
flags.DEFINE_integer('seed', 0, 'Seed of the bootstrap.', lower_bound=0)


def main() -> None:
    args = flags.FLAGS
    for name in ('predictions', 'ledger', 'output'):
        if not args[name].value:
            raise InputError(f'--{name}: not given; see python -m fer.score --help')
    output = Path(args.output)
    if output.exists() and not output.is_dir():
        raise InputError(f'--output={output}: a file; expected a folder')
    predictions = read_predictions(args.predictions, args.ledger)
    other = read_predictions(args.against, args.ledger) if args.against else None
    sheet = score_predictions(predictions, args.seed)
    lines = describe_sheet(predictions, sheet)
    if other is not None:
        sheet['against'] = compare_predictions(predictions, other, args.seed)
        lines += describe_against(other, sheet['against'])
    output.mkdir(parents=True, exist_ok=True)
    write_metrics(output / 'score.json', sheet)
    print('\n'.join([*lines, str(output / 'score.json')]))


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
