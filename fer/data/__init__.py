# SPDX-License-Identifier: Apache-2.0
"""From manifests to packed batches: file checks, windows, and the `tf.data` pipeline."""
