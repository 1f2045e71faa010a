# SPDX-License-Identifier: Apache-2.0
"""Reads files of weights with SciPy or h5py in a child process with limits.

A damaged file can make these libraries crash, loop for ever or fill the memory. In a child process each of these ends
in an error of one line. The child returns a description as JSON and the arrays as raw bytes in a file in memory, which
the parent maps. No array is pickled.
"""

import importlib
import io
import json
import math
import mmap
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import fer
from fer.errors import InputError
from fer.nets.weights.tensors import Tensors

# Limits beyond the needs of the libraries themselves, for a file of S bytes.
_MEMORY = 2**30  # bytes: 1 GB + 4 S, of memory and of arrays
_SECONDS = 4  # of the processor: 4 s + 1 s for each 20 MB
_WAIT = 60  # seconds by the clock: 60 s + 1 s for each MB
_ALIGNMENT = 64  # bytes

READERS = {'HDF5 file of Keras weights': 'keras_hdf5', 'MATLAB file': 'matconvnet'}  # module by format
_COMMAND = (sys.executable, '-m', __name__)


def open_in_process(path: str, file_format: str) -> Tensors:
    """Opens a file of weights by a reader in a child process.

    Args:
      path: the file.
      file_format: a key of READERS.

    Raises:
      InputError: the file is damaged, has no weights, or its reader exceeds a limit.
    """
    with open(os.memfd_create('weights'), 'w+b', buffering=0) as file:
        answer = _run_child(path, file_format, file)
        if 'refused' in answer:
            raise InputError(answer['refused'])
        size = file.seek(0, os.SEEK_END)
        content = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b''
    arrays = answer['arrays']

    def read(name: str) -> np.ndarray:
        array = arrays[name]
        if array['damage']:
            raise InputError(f'{path}: {name} cannot be read, the file is damaged: {array["damage"]}')
        if array['offset'] is None:
            raise InputError(f'{path}: {name} is {array["dtype"]}; expected floats')
        return np.ndarray(array['shape'], array['dtype'], content, array['offset'], order=array['order'])

    shapes = {name: tuple(array['shape']) for name, array in arrays.items()}
    return Tensors(path, answer['kind'], shapes, read, answer['mean'] and tuple(answer['mean']))


def _run_child(path: str, file_format: str, file: io.RawIOBase) -> dict:
    """Returns the child's answer, or raises InputError if it ends without one."""
    command = [*_COMMAND, path, file_format, str(file.fileno())]
    paths = [str(Path(fer.__file__).parents[1]), os.environ.get('PYTHONPATH', '')]
    environment = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join(filter(None, paths)),
        'PYTHONSAFEPATH': '1',  # modules in the current folder are not imported
        'OPENBLAS_NUM_THREADS': '1',  # threads reserve memory, which is limited
    }
    timeout = _WAIT + os.path.getsize(path) / 1e6
    try:
        done = subprocess.run(
            command, pass_fds=[file.fileno()], env=environment, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        reason = f'reading takes longer than {timeout:.0f} s'
    else:
        if not done.returncode:
            return json.loads(done.stdout)
        if done.returncode < 0:
            reason = f'reading ended with {signal.Signals(-done.returncode).name}'
        else:
            reason = (done.stderr.decode(errors='replace').strip().splitlines() or ['reading failed'])[-1]
    raise InputError(f'{path}: not a readable {file_format}: {reason}; the file is damaged, copy or download it again')


def main() -> None:
    """Reads a file as the child."""
    path, file_format, descriptor = sys.argv[1:]
    read_content = importlib.import_module(f'fer.nets.weights.{READERS[file_format]}').read_content
    _limit(os.path.getsize(path))
    try:
        content = read_content(path)
        with open(int(descriptor), 'wb', buffering=0) as file:
            arrays = {name: _write(array, file) for name, array in content.arrays.items()}
        answer = {'kind': content.kind, 'mean': content.mean, 'arrays': arrays}
    except InputError as error:
        answer = {'refused': str(error)}
    # A damaged file makes the libraries raise nearly anything: zlib.error, IndexError, UnicodeDecodeError, MemoryError.
    except Exception as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        answer = {'refused': f'{path}: not a readable {file_format}: {reason}'}
    print(json.dumps(answer))


def _limit(size: int) -> None:
    """Limits memory, size of written files and processor time of this process, which reads a file of `size` bytes."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    memory = _MEMORY + 4 * size
    for limit, most in (
        (resource.RLIMIT_AS, os.sysconf('SC_PAGE_SIZE') * pages + memory),
        (resource.RLIMIT_FSIZE, memory),
        (resource.RLIMIT_CPU, math.ceil(time.process_time() + _SECONDS + size / 20e6)),
        (resource.RLIMIT_CORE, 0),
    ):
        soft, hard = resource.getrlimit(limit)
        known = [value for value in (soft, hard) if value != resource.RLIM_INFINITY]
        resource.setrlimit(limit, (min([most, *known]), hard))


def _write(array, file: io.RawIOBase) -> dict:
    """Writes an array of floats to the file and returns its description."""
    described = {'shape': list(array.shape), 'dtype': str(array.dtype), 'offset': None, 'order': 'C', 'damage': ''}
    if not np.issubdtype(array.dtype, np.floating):
        return described
    try:
        values = np.asarray(array)
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        return {**described, 'damage': str(error) or type(error).__name__}
    order = 'F' if values.flags.f_contiguous else 'C'
    offset = 0
    if values.size:
        offset = file.seek(file.tell() + -file.tell() % _ALIGNMENT)
        rest = np.ascontiguousarray(values.T if order == 'F' else values).reshape(-1).view(np.uint8).data
        while rest:
            rest = rest[file.write(rest) :]
    return {**described, 'dtype': values.dtype.str, 'offset': offset, 'order': order}


if __name__ == '__main__':
    main()
