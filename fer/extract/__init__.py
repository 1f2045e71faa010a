# SPDX-License-Identifier: Apache-2.0
"""Features and logits of every line of a manifest: python -m fer.extract."""
