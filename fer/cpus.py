# SPDX-License-Identifier: Apache-2.0
"""The processors that this process may use."""

import os


def count_cpus() -> int:
    """Returns how many CPUs the process may run on. A scheduler may allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
