# SPDX-License-Identifier: Apache-2.0
"""Settings of tf.data: a fixed number of threads, without TensorFlow's tuning.

AUTOTUNE measures from a thread that sleeps ever longer, and each start of a dataset waits until that thread wakes:
epochs of 12 and 13 s were followed by 7 to 9 s in which nothing ran. Some epochs with short steps were read at half the
speed (TensorFlow 2.15.1, two cores).
"""

from collections.abc import Callable

from fer.cpus import count_cpus
from fer.tf1 import tf

_AHEAD = 2  # elements that are prepared in advance


def map_in_parallel(dataset: tf.data.Dataset, function: Callable, threads: int = 0) -> tf.data.Dataset:
    """Applies a function to several elements of a dataset at a time, and keeps their order.

    Args:
      dataset: of any elements.
      function: takes and returns an element as tensors.
      threads: elements at a time, 0 for as many as the process has CPUs.
    """
    return dataset.map(function, num_parallel_calls=threads or count_cpus())


def read_ahead(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Makes a dataset prepare the next elements in advance, without tuning. The last step before iteration."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(_AHEAD).with_options(options)
