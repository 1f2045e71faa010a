# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of the whole system on a synthetic corpus. Each step is a command that anyone can type."""
