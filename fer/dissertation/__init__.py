# SPDX-License-Identifier: Apache-2.0
"""The dissertation's results as data: the runs of chapter 6 with their settings and scores, its figures and errata."""
