# SPDX-License-Identifier: Apache-2.0
"""Weights for tests of networks. They depend on a variable's name alone, not on the rest of the graph."""

import zlib

import numpy as np

from fer.tf1 import tf


def one_shot_session():
    """Returns a session for a graph that runs once or twice. Optimising the graph would take two thirds of the time.

    It seeds the default graph, so that fresh weights and dropout repeat and no test fails by chance.
    """
    tf.set_random_seed(0)
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return tf.Session(config=config)


def seeded_value(name, shape):
    """Returns float32 values that differ from the variable's start, at a scale at which activations stay finite."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    kind = name.rpartition('/')[2]
    if kind in ('gamma', 'moving_variance'):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if kind in ('beta', 'moving_mean', 'biases'):
        return rng.normal(0, 0.1, shape).astype(np.float32)
    fan_in = np.prod(shape[:2]) if kind == 'depthwise_weights' else np.prod(shape[:-1])
    # Gates are far from saturation, because saturated ones amplify rounding errors of a map.
    gain = 0.02 if '/se/' in name else 2
    return rng.normal(0, np.sqrt(gain / fan_in), shape).astype(np.float32)


def seeded_weights(variables):
    """Returns {name: value} of the variables."""
    return {v.op.name: seeded_value(v.op.name, v.shape.as_list()) for v in variables}


def load(session, values):
    """Gives each variable of {variable: value} its value in one session call."""
    variables = list(values)
    session.run([v.initializer for v in variables], {v.initializer.inputs[1]: values[v] for v in variables})


def load_seeded(session, scope):
    """Loads `seeded_weights` into the model variables under a scope and returns them by name."""
    variables = tf.get_collection(tf.GraphKeys.MODEL_VARIABLES, f'{scope}/')
    values = seeded_weights(variables)
    load(session, {v: values[v.op.name] for v in variables})
    return values


def random_images(size, number=2, seed=0):
    """Returns float32 [number, size, size, 3] in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (number, size, size, 3)).astype(np.float32)
