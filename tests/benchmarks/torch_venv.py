# SPDX-License-Identifier: Apache-2.0
"""Makes .venv-bench, an environment with PyTorch for comparisons: python -m tests.benchmarks.torch_venv

This project does not require PyTorch, and PyTorch's packages must not change the versions of ours. So PyTorch has its
own virtual environment, and its side of a comparison is its own process (torch_twin.py). An existing environment is
kept. pip's own settings apply: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu has builds without CUDA, which
are a tenth of the size.
"""

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get('FER_BENCH_VENV', ROOT / '.venv-bench'))
PYTHON = FOLDER / 'bin' / 'python'
REQUIREMENTS = (
    *('torch==2.14.1', 'torchvision==0.29.1', 'timm==1.0.31'),
    *('numpy>=1.26,<3', 'pillow>=10', 'opencv-python-headless==4.11.0.86'),
)


def make_environment(folder: Path, requirements: Sequence[str], alone: Sequence[str] = ()) -> None:
    """Makes a virtual environment. One that was made from the same requirements is kept.

    Args:
      folder: the environment. It is replaced if its requirements differ.
      requirements: packages to install.
      alone: packages to install without what they require.
    """
    wanted = '\n'.join([*requirements, *alone])
    stamp = folder / 'installed'
    if stamp.exists() and stamp.read_text() == wanted:
        return
    venv.create(folder, with_pip=True, clear=True)
    install = [folder / 'bin' / 'python', '-m', 'pip', 'install', '--quiet']
    subprocess.run([*install, *requirements], check=True)
    if alone:
        subprocess.run([*install, '--no-deps', *alone], check=True)
    stamp.write_text(wanted)
    print(f'{folder}: {", ".join([*requirements, *alone])}')


def main() -> None:
    make_environment(FOLDER, REQUIREMENTS)


if __name__ == '__main__':
    sys.exit(main())
