# SPDX-License-Identifier: Apache-2.0
"""Answers for videos of one's own: from a file to faces, segments and a verdict that can be checked."""
