# SPDX-License-Identifier: Apache-2.0
"""Measurements, one a module: `python -m tests.benchmarks.NAME` prints ratios from one run on one machine."""
