# SPDX-License-Identifier: Apache-2.0
"""Results files, metrics and plots: one answer per official video, and its score. Never imports TensorFlow."""
