# SPDX-License-Identifier: Apache-2.0
"""Run folders: names of files, settings, logs, status, lock, checkpoints. Training writes them, reports read them."""
