# SPDX-License-Identifier: Apache-2.0
"""One progress bar for all long work."""

import sys

from tqdm import tqdm


def progress(iterable=None, *, label: str, unit: str, total: int | None = None) -> tqdm:
    """Returns a tqdm bar that disappears at its end. In a job's log file it prints once a minute."""
    wait = 0.2 if sys.stderr.isatty() else 60
    return tqdm(
        iterable, desc=label, unit=unit, total=total, leave=False, delay=wait, mininterval=wait, maxinterval=wait
    )
