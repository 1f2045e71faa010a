# SPDX-License-Identifier: Apache-2.0
"""The processors that this process may use."""

import os
from pathlib import Path

CPU_INFO = Path('/proc/cpuinfo')
BFLOAT16 = ('amx_bf16', 'avx512_bf16')  # flags there of CPUs that multiply bfloat16


def count_cpus() -> int:
    """Returns how many CPUs the process may run on. A scheduler may allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def multiplies_bfloat16() -> bool:
    """Returns whether the CPU multiplies bfloat16 itself. Emulated, bfloat16 is slower than float32."""
    try:
        words = set(CPU_INFO.read_text().split())
    except OSError:
        return False
    return not words.isdisjoint(BFLOAT16)
