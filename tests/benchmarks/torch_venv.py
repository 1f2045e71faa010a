"""Makes .venv-bench, in which PyTorch runs to be compared with: python -m tests.benchmarks.torch_venv

PyTorch is no requirement of this project, and its packages must not change what ours resolve to; so it has a virtual
environment of its own, and its side of a comparison is a process of its own (torch_twin.py). What is already there is
left alone. pip's own settings apply: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu has builds without CUDA,
which are a tenth of the size.
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
