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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get('FER_BENCH_VENV', ROOT / '.venv-bench'))
PYTHON = FOLDER / 'bin' / 'python'
REQUIREMENTS = ('torch==2.13.0', 'numpy>=1.26,<3', 'pillow>=10', 'opencv-python-headless==4.11.0.86')
STAMP = FOLDER / 'installed'


def main() -> None:
    if STAMP.exists() and STAMP.read_text().split('\n') == [*REQUIREMENTS]:
        return
    venv.create(FOLDER, with_pip=True, clear=True)
    subprocess.run([PYTHON, '-m', 'pip', 'install', '--quiet', *REQUIREMENTS], check=True)
    STAMP.write_text('\n'.join(REQUIREMENTS))
    print(f'{FOLDER}: {", ".join(REQUIREMENTS)}')


if __name__ == '__main__':
    sys.exit(main())
