"""The processors that this process may use."""

import os


def count_cpus() -> int:
    """CPUs that the process may run on, fewer than the machine's where a scheduler binds it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
