"""The only place TensorFlow is imported: `from fer.tf1 import tf, slim`.

`tf` is `tensorflow.compat.v1` in graph mode, `slim` is tf-slim with a working `batch_norm`. Whatever differs between
the two stacks (`fer/stack.py`) is settled here. Logs are quiet, because a run's output is ours. If you set
TF_CPP_MIN_LOG_LEVEL or TF_ENABLE_ONEDNN_OPTS yourself, they are left alone.
"""

import importlib
import os
import sys
import warnings
from types import ModuleType

from fer.stack import find_stack, quiet_import

STACK = find_stack()  # before the import: NumPy of another stack makes TensorFlow's import crash

# Grouped convolutions have gradients on a CPU in oneDNN only, which TensorFlow turns on by itself on newer CPUs.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')

# `tf.keras` is tf-keras on both stacks, the Keras of tf-slim's layers. Keras 3 has no graph mode.
os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')

with quiet_import(), warnings.catch_warnings():
    warnings.simplefilter('ignore')  # deprecations inside TensorFlow and tf-slim are not ours to mend, here or later
    import tensorflow.compat.v1 as tf

    # slim.batch_norm looks its layer up at tf_keras.legacy_tf_layers, which tf-keras >= 2.14 moved.
    sys.modules.setdefault(
        'tf_keras.legacy_tf_layers.normalization',
        importlib.import_module('tf_keras.src.legacy_tf_layers.normalization'),
    )
    # tf-slim takes scikit-learn along, where there is one, for a loss that nobody here has: 0.7 s at every start.
    already = sys.modules.setdefault('sklearn.metrics', None)  # type: ignore[arg-type] # None lets an import fail
    import tf_slim as slim

    if already is None:
        del sys.modules['sklearn.metrics']
    from tensorflow.python.autograph.core import config as autograph

    # AutoGraph rewrites the source of whatever a graph calls, about a second per process. It spares `keras` but not
    # its new name, and our functions have no Python conditions or loops on tensors for it to rewrite.
    autograph.CONVERSION_RULES = (
        *(autograph.DoNotConvert(name) for name in ('tf_keras', 'fer')),
        *autograph.CONVERSION_RULES,
    )

warnings.filterwarnings('ignore', module=r'(tensorflow|tf_slim|tf_keras)\b')
tf.disable_eager_execution()
tf.logging.set_verbosity(tf.logging.ERROR)


def import_addons() -> ModuleType | None:
    """Returns `tensorflow_addons.image`, None on a stack without it.

    Imported when first needed, because a run without augmentation need not have it.
    """
    if not STACK.has_addons:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the addons announce their end of life
        try:
            from tensorflow_addons import image
        except ImportError:
            return None
    return image


__all__ = ['STACK', 'import_addons', 'slim', 'tf']
