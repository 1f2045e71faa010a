# SPDX-License-Identifier: Apache-2.0
"""Reads run folders and compares two of them, for several test files."""

import csv

from fer.runs.checkpoints import latest_checkpoint
from fer.runs.names import BEST_STATE
from fer.tf1 import tf


def weights(run_dir):
    reader = tf.train.load_checkpoint(str(run_dir))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def best_weights(run_dir):
    return weights(latest_checkpoint(run_dir, BEST_STATE))


def assert_same_run(first, second):
    """Asserts that two runs have the same variables (optimisers' too), losses and scores, to the bit."""
    expected, found = weights(first), weights(second)
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if (found[name] != expected[name]).any()] == []
    assert (second / 'val_log.csv').read_bytes() == (first / 'val_log.csv').read_bytes()
    assert losses(second) == losses(first)


def rows(run_dir, log):
    with open(run_dir / log) as file:
        return list(csv.DictReader(file))


def losses(run_dir):
    return [(row['step'], row['loss']) for row in rows(run_dir, 'train_log.csv')]
