"""How tf.data works: on several threads, a fixed number, without TensorFlow's tuning.

AUTOTUNE measures from a thread that sleeps ever longer, and whatever begins a dataset anew waits until that thread
wakes: epochs of 12 and 13 s were followed by 7 to 9 s in which nothing ran. And of epochs with short steps it read
some at half the speed (TensorFlow 2.15.1, two cores).
"""

from collections.abc import Callable

from fer.cpus import count_cpus
from fer.tf1 import tf

_AHEAD = 2  # elements that are ready before they are asked for


def map_in_parallel(dataset: tf.data.Dataset, function: Callable, threads: int = 0) -> tf.data.Dataset:
    """`dataset.map(function)`, several elements at a time; their order stays.

    Args:
      dataset: of any elements.
      function: of an element, as tensors.
      threads: elements at a time; 0 for as many as the process has CPUs.
    """
    return dataset.map(function, num_parallel_calls=threads or count_cpus())


def read_ahead(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """A dataset as it is to be iterated: the next elements are got ready meanwhile, and nothing is tuned."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(_AHEAD).with_options(options)
