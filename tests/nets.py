"""Weights for tests of networks: from a variable's name alone, whatever else the graph holds."""

import zlib

import numpy as np

from fer.tf1 import tf


def one_shot_session():
    """A session for a graph that runs once or twice: optimising it first takes two thirds of the time."""
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return tf.Session(config=config)


def seeded_value(name, shape):
    """float32 [shape]: every kind of variable different from its start, at a scale that activations survive."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    kind = name.rpartition('/')[2]
    if kind in ('gamma', 'moving_variance'):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if kind in ('beta', 'moving_mean', 'biases'):
        return rng.normal(0, 0.1, shape).astype(np.float32)
    fan_in = np.prod(shape[:2]) if kind == 'depthwise_weights' else np.prod(shape[:-1])
    # Gates far from saturation: else a rounding error of one map becomes another gate.
    gain = 0.02 if '/se/' in name else 2
    return rng.normal(0, np.sqrt(gain / fan_in), shape).astype(np.float32)


def seeded_weights(variables):
    """{name: value} of the variables."""
    return {v.op.name: seeded_value(v.op.name, v.shape.as_list()) for v in variables}


def load(session, values):
    """Gives each variable of {variable: value} its value, in one step."""
    variables = list(values)
    session.run([v.initializer for v in variables], {v.initializer.inputs[1]: values[v] for v in variables})


def load_seeded(session, scope):
    """Loads `seeded_weights` into the model variables under a scope and returns them by name."""
    variables = tf.get_collection(tf.GraphKeys.MODEL_VARIABLES, f'{scope}/')
    values = seeded_weights(variables)
    load(session, {v: values[v.op.name] for v in variables})
    return values


def random_images(size, number=2, seed=0):
    """float32 [number, size, size, 3] in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (number, size, size, 3)).astype(np.float32)
