# SPDX-License-Identifier: Apache-2.0
"""The only place that imports TensorFlow: `from fer.tf1 import tf, slim`.

`tf` is `tensorflow.compat.v1` in graph mode, and `slim` is tf-slim with a working `batch_norm`. This file handles all
differences between the two stacks (`fer/stack.py`). It silences TensorFlow's log, so that a run prints only its own
lines. It keeps TF_CPP_MIN_LOG_LEVEL and TF_ENABLE_ONEDNN_OPTS if you set them.
"""

import importlib
import os
import sys
import warnings
from types import ModuleType

from fer.stack import find_stack, quiet_import

STACK = find_stack()  # first, because the NumPy of another stack makes TensorFlow's import crash

# On a CPU only oneDNN has gradients of grouped convolutions. TensorFlow turns it on by itself on newer CPUs only.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')

# tf-slim's layers need tf-keras as `tf.keras` on both stacks. Keras 3 has no graph mode.
os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')

with quiet_import(), warnings.catch_warnings():
    warnings.simplefilter('ignore')  # deprecations inside TensorFlow and tf-slim, which we cannot repair
    import tensorflow.compat.v1 as tf

    # slim.batch_norm expects its layer in tf_keras.legacy_tf_layers, which tf-keras >= 2.14 moved.
    sys.modules.setdefault(
        'tf_keras.legacy_tf_layers.normalization',
        importlib.import_module('tf_keras.src.legacy_tf_layers.normalization'),
    )
    # tf-slim imports scikit-learn, if it is installed, for a loss that we do not use. That takes 0.7 s at every start.
    already = sys.modules.setdefault('sklearn.metrics', None)  # type: ignore[arg-type] # None lets an import fail
    import tf_slim as slim

    if already is None:
        del sys.modules['sklearn.metrics']
    from tensorflow.python.autograph.core import config as autograph

    # AutoGraph rewrites the source of all functions that a graph calls, which takes about a second per process. It
    # skips `keras` but not its new name. Our functions have no Python conditions or loops on tensors to rewrite.
    autograph.CONVERSION_RULES = (
        *(autograph.DoNotConvert(name) for name in ('tf_keras', 'fer')),
        *autograph.CONVERSION_RULES,
    )

warnings.filterwarnings('ignore', module=r'(tensorflow|tf_slim|tf_keras)\b')
tf.disable_eager_execution()
tf.logging.set_verbosity(tf.logging.ERROR)


def import_addons() -> ModuleType | None:
    """Returns `tensorflow_addons.image`, or None on a stack without it.

    The import happens at the first use, because only augmentation needs it.
    """
    if not STACK.has_addons:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the addons warn that they are no longer maintained
        try:
            from tensorflow_addons import image
        except ImportError:
            return None
    return image


__all__ = ['STACK', 'import_addons', 'slim', 'tf']
