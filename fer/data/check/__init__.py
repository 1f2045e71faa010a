"""Verifies a corpus before a cluster is paid for: python -m fer.data.check"""
