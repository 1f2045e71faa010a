# SPDX-License-Identifier: Apache-2.0
"""Exhaustive search for an ensemble, against a loop over dictionaries: python -m tests.benchmarks.search

All 2^20 - 1 subsets of 20 models with methods 1 to 4 on 383 videos, as many as AFEW's validation set has. The loop
follows the dissertation's description (5.10): dictionaries of accuracies, predictions and logits, and a loop over the
models for each video. It is timed on random subsets. Both count the same videos right on all of these.
"""

import itertools
import resource
import statistics
import sys
import time

import numpy as np
from absl import flags

from fer import cli
from fer.errors import InputError
from fer.fusion.search import count_correct
from tests.ensembles import loop, make_answers, to_dictionaries

METHODS = ('1', '2', '3', '4')
GOAL_SECONDS, GOAL_GIGABYTES, GOAL_RATIO = 60, 2, 1000

flags.DEFINE_integer('models', 20, 'Results files to search among.', lower_bound=1, upper_bound=20)
flags.DEFINE_integer('videos', 383, 'Videos.', lower_bound=1)
flags.DEFINE_integer('rounds', 3, 'Repetitions of both.', lower_bound=1)
flags.DEFINE_integer('loop_subsets', 25, 'Random subsets that the loop is measured on, for each method.', lower_bound=1)


def main() -> None:
    values = flags.FLAGS
    answers = make_answers(values.models, values.videos)
    subsets = 2**values.models - 1
    rng = np.random.default_rng(1)
    dictionaries = to_dictionaries(answers)
    fast: dict[str, list[float]] = {method: [] for method in METHODS}
    slow: dict[str, list[float]] = {method: [] for method in METHODS}
    for _, method in itertools.product(range(values.rounds), METHODS):
        began = time.perf_counter()
        counts = count_correct(answers, method)
        fast[method].append(time.perf_counter() - began)
        numbers = rng.integers(1, subsets + 1, values.loop_subsets)
        members = [[m for m in range(values.models) if number >> m & 1] for number in numbers.tolist()]
        began = time.perf_counter()
        found = [loop(*dictionaries, method, subset) for subset in members]
        slow[method].append((time.perf_counter() - began) / len(members))
        if found != counts[numbers].tolist():
            raise InputError(f'method {method}: the search and the loop disagree')
    # Linux counts in kilobytes, macOS in bytes.
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / 1e9
    print(f'{values.models} models, {subsets} subsets, {values.videos} videos; medians of {values.rounds} rounds')
    print(f'{"":<12}{"search, s":>12}{"candidates/s":>16}{"loop, candidates/s":>20}{"ratio":>9}')
    for method in METHODS:
        speed, per_loop = subsets / statistics.median(fast[method]), 1 / statistics.median(slow[method])
        print(f'method {method:<5}{subsets / speed:>12.2f}{speed:>16,.0f}{per_loop:>20,.0f}{speed / per_loop:>9,.0f}')
    per_round = [[sum(times[method][r] for method in METHODS) for r in range(values.rounds)] for times in (fast, slow)]
    seconds, loop_seconds = statistics.median(per_round[0]), statistics.median(per_round[1])
    speed, per_loop = len(METHODS) * subsets / seconds, len(METHODS) / loop_seconds
    ratios = [b * subsets / a for a, b in zip(*per_round, strict=True)]
    print(f'{"all":<12}{seconds:>12.2f}{speed:>16,.0f}{per_loop:>20,.0f}{statistics.median(ratios):>9,.0f}')
    print(f'{"":<12}{f"goal: {GOAL_SECONDS}":>12}{"":>36}{f"goal: {GOAL_RATIO:,}":>9}')
    print(f'ratio within a round from {min(ratios):,.0f} to {max(ratios):,.0f}')
    print(f'peak memory of the process {gigabytes:.2f} GB, goal: {GOAL_GIGABYTES}')


if __name__ == '__main__':
    cli.run(main)
