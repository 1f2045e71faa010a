# SPDX-License-Identifier: Apache-2.0
"""Runs of `configs/` with all the runs that they need: planned, run on this machine, or submitted to a cluster."""
