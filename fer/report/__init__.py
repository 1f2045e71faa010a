# SPDX-License-Identifier: Apache-2.0
"""The report: the dissertation's tables with our numbers beside them, curves and confusion matrices."""
