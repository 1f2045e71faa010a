# SPDX-License-Identifier: Apache-2.0
"""Makes .venv-peers, an environment with the `fer` package of PyPI: python -m tests.benchmarks.peers_venv

Its module has our name, and its requirements differ from ours. So it has its own virtual environment, and its side of a
comparison is its own process (fer_package.py). An environment that FER_PEERS_VENV names is used as it is.

The package is installed without what it requires. Those requirements include PyTorch 2.2 for an optional face detector,
and a package for videos. Neither is used here. Its cascade needs OpenCV below 5, and its `pkg_resources` setuptools
below 81.
"""

import os
import sys
from pathlib import Path

from tests.benchmarks.torch_venv import ROOT, make_environment

FOLDER = Path(os.environ.get('FER_PEERS_VENV', ROOT / '.venv-peers'))
PYTHON = FOLDER / 'bin' / 'python'
PACKAGE = 'fer==25.10.3'
REQUIREMENTS = ('tensorflow-cpu==2.21.0', 'opencv-contrib-python-headless<5', 'setuptools<81', 'requests', 'pillow')


def main() -> None:
    if 'FER_PEERS_VENV' not in os.environ or not PYTHON.exists():
        make_environment(FOLDER, REQUIREMENTS, [PACKAGE])


if __name__ == '__main__':
    sys.exit(main())
