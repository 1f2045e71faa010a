# SPDX-License-Identifier: Apache-2.0
"""Finds the format of a file of weights by its first bytes, and explains how to convert formats that are not read."""

import os
import shlex
import tarfile
import zipfile
from pathlib import Path

import h5py

from fer.errors import InputError
from fer.nets.weights.reader_process import open_in_process
from fer.nets.weights.safetensors_file import open_safetensors
from fer.nets.weights.starter import find_starter, open_starter
from fer.nets.weights.tensors import Tensors
from fer.nets.weights.tf_checkpoint import TABLE_MAGIC, open_checkpoint
from fer.runs.checkpoints import best_or_last_checkpoint

_READ = 'a TensorFlow checkpoint, Keras .h5, .safetensors, MatConvNet .mat, or a run folder'
_PICKLES = ('.pth', '.pt', '.pkl', '.bin')
_CONVERT = (
    'python -c "import sys, torch; from safetensors.torch import save_file; '
    "save_file({{k: v.contiguous() for k, v in torch.load(sys.argv[1], 'cpu', weights_only=True).items()}}, "
    'sys.argv[2])" {} {}'
)


def open_tensors(path: str) -> Tensors:
    """Opens a file of weights, or the newest checkpoint of a folder.

    Args:
      path: a file, a checkpoint (with or without `.index`), a folder with a `checkpoint` file, or a network of the
        starter set by name or folder.

    Raises:
      InputError: the file is missing, or its format is not read. For pickles the error has a command that converts
        them.
    """
    if starter := find_starter(path):
        return open_starter(starter)
    if os.path.isdir(path):
        checkpoint = best_or_last_checkpoint(path)
        if checkpoint is None:
            raise InputError(f'--init_from={path}: no checkpoint in this folder; expected {_READ}')
        return open_checkpoint(checkpoint)
    folder, name = os.path.split(path)
    name = os.path.splitext(name)[0] if name.endswith(('.index', '.meta')) else name.partition('.data-')[0]
    prefix = os.path.join(folder, name)
    if os.path.exists(f'{prefix}.index'):
        return open_checkpoint(prefix)
    if not os.path.exists(path):
        raise InputError(f'--init_from={path}: no checkpoint or file there; expected {_READ}')
    return _open_file(path)


def _open_file(path: str) -> Tensors:
    with open(path, 'rb') as file:
        head = file.read(512)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        tail = file.read()
    if not head:
        raise InputError(f'{path}: empty file; expected {_READ}')
    if head.startswith(b'MATLAB 5.0'):
        return open_in_process(path, 'MATLAB file')
    if head.startswith(b'MATLAB 7.3'):
        raise InputError(f"{path}: a MATLAB 7.3 file; expected one of version 7: save(file, '-struct', 'net', '-v7')")
    if h5py.is_hdf5(path):
        return open_in_process(path, 'HDF5 file of Keras weights')
    if head[8:9] == b'{':
        return open_safetensors(path)
    if tail == TABLE_MAGIC:
        return open_checkpoint(path)
    if head.startswith(b'PK'):
        _refuse_zip(path)
    # Pickles of protocol 2 and later have a mark. Earlier ones and PyTorch's first files are found by their names.
    if (head[:1] == b'\x80' and head[1:2] in (b'\x02', b'\x03', b'\x04', b'\x05')) or path.endswith(_PICKLES):
        _refuse_pickle(path)
    if path.endswith('.safetensors'):
        return open_safetensors(path)  # raises an error that describes the header's fault
    if tarfile.is_tarfile(path):
        raise InputError(f'{path}: an archive; unpack it first: tar -xf {path}')
    if head.startswith(b'\x1f\x8b'):
        raise InputError(f'{path}: compressed; unpack it first: gunzip {path}')
    raise InputError(f'{path}: no format of weights begins with {head[:8]!r} (or the file is cut); expected {_READ}')


def _refuse_zip(path: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):  # of a future version, or damaged
        names = []
    if any(name.endswith('data.pkl') for name in names) or path.endswith(_PICKLES):
        _refuse_pickle(path)
    if 'model.weights.h5' in names:
        raise InputError(f'{path}: a Keras archive; take its weights out: unzip {path} model.weights.h5')
    raise InputError(f'{path}: a zip archive; expected {_READ}')


def _refuse_pickle(path: str) -> None:
    command = _CONVERT.format(*(shlex.quote(str(name)) for name in (path, Path(path).with_suffix('.safetensors'))))
    raise InputError(
        f'{path}: a pickle, which is code and is not run; convert it where PyTorch is installed: {command}'
    )
