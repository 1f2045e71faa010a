# SPDX-License-Identifier: Apache-2.0
"""The folder of real clips, for tests and benchmarks."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def find_realdata() -> Path | None:
    """Returns the folder of real clips: FER_REALDATA, or `realdata` within a folder beside the checkout."""
    beside = sorted(ROOT.parent.glob('*/realdata'))
    folder = Path(os.environ.get('FER_REALDATA', beside[0] if beside else ROOT / 'realdata'))
    return folder if folder.is_dir() else None


def realdata() -> Path:
    """Returns the folder of real clips. Skips the test without it."""
    folder = find_realdata()
    if folder is None:
        pytest.skip('no folder of real clips (FER_REALDATA)')
    return folder
