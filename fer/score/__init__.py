# SPDX-License-Identifier: Apache-2.0
"""The score sheet of predictions that any program made."""
