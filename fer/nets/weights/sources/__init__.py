# SPDX-License-Identifier: Apache-2.0
"""Sources of public weights, one module per publisher (fer/nets/weights/known_sources.py lists them)."""
