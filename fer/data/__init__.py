"""From manifests to packed batches: file checks, windows, and the `tf.data` pipeline."""
