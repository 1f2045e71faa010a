# SPDX-License-Identifier: Apache-2.0
"""The versions of Python that this project runs on. `python fer/interpreter.py` fails on any other.

This file uses the standard library only and a syntax that every Python 3 reads. The Makefile runs it with each
interpreter on the PATH, and `fer/__init__.py` uses it before it imports anything that an older Python cannot import.
"""

import os
import platform
import sys

OLDEST, NEWEST = (3, 10), (3, 13)


def explain_unsupported():
    """Returns why this interpreter cannot run the project and what to do, or an empty string if it can."""
    if os.name == 'nt':
        return 'native Windows is not supported (no fcntl, and TensorFlow has no GPU there): use WSL2'
    found = platform.python_implementation() + ' ' + platform.python_version()
    bits = 64 if sys.maxsize > 2**32 else 32
    if found.startswith('CPython ') and bits == 64 and OLDEST <= sys.version_info[:2] <= NEWEST:
        return ''
    return (
        'this project runs on CPython {}.{} to {}.{}, 64 bits, because TensorFlow has no wheel for others; found {}, '
        '{} bits ({}); name another with make venv PYTHON=/path/to/python{}.{}'
    ).format(*OLDEST + NEWEST + (found, bits, sys.executable) + NEWEST)


def require_supported():
    """Ends the process with one line and exit code 2 if this interpreter is not supported."""
    reason = explain_unsupported()
    if reason:
        sys.stderr.write(reason + '\n')
        sys.exit(2)


if __name__ == '__main__':
    require_supported()
