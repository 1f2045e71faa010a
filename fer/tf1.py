"""The only place TensorFlow is imported: `from fer.tf1 import tf, slim`.

`tf` is `tensorflow.compat.v1` in graph mode, `slim` is tf-slim with a working `batch_norm`. Logs are quiet, because
a run's output is ours; set TF_CPP_MIN_LOG_LEVEL or TF_ENABLE_ONEDNN_OPTS yourself and they are left alone.
"""

import importlib
import os
import sys
import warnings

# 3 rather than 2: TensorFlow 2.15 reports the absence of CUDA libraries on CPU machines as errors.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

# Grouped convolutions have gradients on a CPU in oneDNN only, which TensorFlow turns on by itself on newer CPUs.
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')

with warnings.catch_warnings():
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

    # AutoGraph spares `keras` but not its new name, and would rewrite that layer at every use, at a second each.
    autograph.CONVERSION_RULES = (autograph.DoNotConvert('tf_keras'), *autograph.CONVERSION_RULES)

warnings.filterwarnings('ignore', module=r'(tensorflow|tf_slim|tf_keras)\b')
tf.disable_eager_execution()
tf.logging.set_verbosity(tf.logging.ERROR)

__all__ = ['slim', 'tf']
