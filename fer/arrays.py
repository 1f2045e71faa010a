# SPDX-License-Identifier: Apache-2.0
"""NumPy arrays from files that are not trusted."""

from pathlib import Path
from typing import Literal

import numpy as np


def load_array(path: str | Path, mmap_mode: Literal['r'] | None = None) -> np.ndarray:
    """Reads the array of a .npy file. A pickle is refused, because loading one runs code.

    Args:
      path: the file.
      mmap_mode: `r` leaves the values on the disk until they are used.

    Raises:
      OSError: the file cannot be read.
      ValueError: it does not hold an array, or is damaged.
    """
    try:
        array = np.load(path, mmap_mode, allow_pickle=False)
    except OSError:
        raise
    # NumPy parses a header as Python, so a damaged header raises TokenError, MemoryError, BadZipFile or other errors.
    except Exception as error:
        reason = str(error).partition('\n')[0] or type(error).__name__
        raise ValueError(f'not an array that NumPy can read: {reason}') from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError('an archive of arrays; expected one array')
    return array
