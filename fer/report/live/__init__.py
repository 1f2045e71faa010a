# SPDX-License-Identifier: Apache-2.0
"""The live view of runs: pages on this machine that show runs while they train, and compare them."""
