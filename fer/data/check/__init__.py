# SPDX-License-Identifier: Apache-2.0
"""Verifies a corpus before a cluster is paid for: python -m fer.data.check"""
