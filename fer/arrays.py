"""Arrays that NumPy saved, from files that others may have had their hands on."""

from pathlib import Path
from typing import Literal

import numpy as np


def load_array(path: str | Path, mmap_mode: Literal['r'] | None = None) -> np.ndarray:
    """The array of a .npy file; never a pickle, which is code.

    Args:
      path: the file.
      mmap_mode: `r` leaves the values on the disk until they are looked at.

    Raises:
      OSError: the file cannot be read.
      ValueError: it holds no array, or is damaged.
    """
    try:
        array = np.load(path, mmap_mode, allow_pickle=False)
    except OSError:
        raise
    # NumPy parses a damaged header as Python, which raises nearly anything: TokenError, MemoryError, BadZipFile ...
    except Exception as error:
        reason = str(error).partition('\n')[0] or type(error).__name__
        raise ValueError(f'no array that NumPy reads: {reason}') from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError('an archive of arrays; expected one')
    return array
