"""`pip install -e .` for the package `fer`; see the Makefile for the usual way in."""

import sys
from pathlib import Path

from setuptools import find_packages, setup

# tensorflow-addons has no wheel for CPython 3.12, mtcnn none for 3.9. Elsewhere pip should say just that, which it
# does only when no requirement fails to resolve first.
SUPPORTED = (3, 10) <= sys.version_info[:2] <= (3, 11)

REQUIREMENTS = [
    'absl-py>=2.0',
    'tensorflow==2.15.1',  # the newest that tensorflow-addons can be imported beside
    'tf-keras==2.15.1',  # holds the batch-norm layer that tf-slim needs (fer/tf1.py); follows tensorflow
    'tf-slim==1.1.0',
    'tensorflow-addons==0.23.0',  # its last release
    'numpy>=1.26,<2',  # tensorflow 2.15 was built against NumPy 1
    'pandas>=2.2,<4',
    'scipy>=1.13',
    'h5py>=3.8',  # comes with tensorflow; read directly, for weights
    'safetensors>=0.4.3,<1',  # PyTorch's weights without PyTorch
    'matplotlib>=3.8',
    'jinja2>=3.1',
    'tqdm>=4.66',
    'opencv-python-headless==4.11.0.86',  # opencv-python without the system's libGL; 5.0 drops the Haar cascades
    'mtcnn==1.0.0',  # carries its weights in the wheel
    'ffmpeg-python==0.2.0',
    'imageio-ffmpeg==0.8.1',  # carries an ffmpeg binary, whose version decides decoded pixels
    'pydub==0.25.1',
    'opensmile==2.6.0',
    'pyarrow<21',  # wanted by opensmile; newer ones refuse NumPy 1
]

setup(
    name='afew-fer',  # `fer` is another project's name on the package index; the import name is still `fer`
    version='0.1.0',
    description='Audio-visual facial emotion recognition in video (EmotiW / AFEW), TensorFlow 1.x style',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['fer', 'fer.*']),
    package_data={'fer.dissertation': ['*.csv', 'confusion.json'], 'fer.report': ['templates/*']},
    python_requires='>=3.10,<3.12',
    install_requires=REQUIREMENTS if SUPPORTED else [],
    extras_require={
        'gpu': ['tensorflow[and-cuda]==2.15.1'],
        'dev': [
            'pytest>=8',
            'pytest-xdist>=3.6',
            'hypothesis>=6.100',
            'ruff==0.17.6',
            'mypy==2.4.1',
            'image-classifiers==1.0.0',  # SE networks to compare ours with
            'scikit-learn>=1.5',  # metrics to compare ours with
        ],
    },
)
