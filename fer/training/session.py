"""How every session of this project is configured."""

from fer.tf1 import tf


def open_session() -> tf.Session:
    """A session that takes GPU memory as it needs it rather than all at once."""
    return tf.Session(config=tf.ConfigProto(gpu_options=tf.GPUOptions(allow_growth=True)))
