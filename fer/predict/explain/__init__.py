# SPDX-License-Identifier: Apache-2.0
"""Explanations of an answer: where a network looked, which frames and which audio features moved its logits."""
