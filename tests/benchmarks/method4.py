# SPDX-License-Identifier: Apache-2.0
"""Counts the answers in which method 4 differs from its relatives: python -m tests.benchmarks.method4

Random cases of models of two kinds: all logits of one scale, or each model's logits of another scale, as of different
networks. Method 4 is the plain formula of 4.4 and 6.5. 4-normalised divides each weight by the sum over the models
within the class. Each row compares two methods on the same answers.
"""

import numpy as np
from absl import flags

from fer import cli
from fer.fusion.methods import METHODS, Answers, apply, fit
from tests.ensembles import make_answers

PAIRS = (('4', '4-normalised'), ('4', '2'), ('4', '4-frequency'), ('4-rescaled', '4-normalised-rescaled'))
SCALES = (0.1, 1, 1, 5, 30)

flags.DEFINE_integer('cases', 200, 'Random cases of each kind.', lower_bound=1)
flags.DEFINE_integer('models', 5, 'Models of a case.', lower_bound=1)
flags.DEFINE_integer('videos', 200, 'Videos of a case.', lower_bound=1)


def count_differing(first: str, second: str, cases: list[Answers]) -> int:
    """Returns the number of videos that two methods answer differently."""
    count = 0
    for case in cases:
        ours, theirs = (apply(METHODS[name], case, fit(METHODS[name], case))[1] for name in (first, second))
        count += int(np.sum(ours != theirs))
    return count


def main() -> None:
    values = flags.FLAGS
    same = [make_answers(values.models, values.videos, seed) for seed in range(values.cases)]
    scales = np.resize(SCALES, values.models)[:, np.newaxis, np.newaxis]
    other = [case._replace(logits=case.logits * scales) for case in same]
    total = values.cases * values.videos
    print(f'{values.cases} cases of {values.models} models and {values.videos} videos of each kind, {total} answers')
    print(f'{"differing answers":<40}{"one scale":>16}{"other scales":>16}')
    for first, second in PAIRS:
        counts = [count_differing(first, second, cases) for cases in (same, other)]
        cells = ''.join(f'{count:>8} {count / total:>6.1%} ' for count in counts)
        print(f'{f"{first}, {second}":<40}{cells}'.rstrip())


if __name__ == '__main__':
    cli.run(main)
