# SPDX-License-Identifier: Apache-2.0
"""Weights of any known format and source for our networks.

`identify.py` opens a file and finds its source, `values.py` computes the values of our variables from it.
"""
