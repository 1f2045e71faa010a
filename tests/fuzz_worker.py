# SPDX-License-Identifier: Apache-2.0
"""The process that reads damaged files: python tests/fuzz_worker.py FOLDER SEED JOBS, started by test_fuzz.py.

It is a process of its own, because libraries may crash, fill the memory or never end. It prints the name of each input
before reading the input, so that test_fuzz.py can name the input that killed the process.
"""

import contextlib
import faulthandler
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from fuzz_mutate import mutate
from fuzz_targets import OUTPUT, TARGETS

from fer import cli
from fer.prepare.ffmpeg import FFMPEG

PATIENCE = 5  # seconds that an input may take. CPU time, because other jobs may share the CPU
MEMORY = 2 * 2**30  # bytes that an input may take
LONGEST = 3000  # characters of an error's line, at most
_TEMPORARY = 'tmp'
_CHANGES = ('os.mkdir', 'os.rename', 'os.link', 'os.symlink', 'os.remove', 'os.rmdir', 'os.truncate', 'os.chmod')
_CODE = ('os.system', 'os.exec', 'os.posix_spawn', 'pickle.find_class')


class TooLong(BaseException):
    """Raised if an input takes too long. Derives from BaseException, so that no parser can swallow it."""


class Watch:
    """Records changes to files outside the folders `allowed`, and code that is run. It starts when `allowed` is set."""

    def __init__(self) -> None:
        self.allowed: list[str] | None = None
        self.found: list[str] = []
        sys.addaudithook(self._record)

    def _record(self, event: str, arguments: tuple) -> None:
        if self.allowed is None:
            return
        if event == 'open':
            path, _, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            self._check(event, [path] if writes else [])
        # A path beside the descriptor of an open folder is below that folder, so it is skipped.
        elif event in _CHANGES and not any(isinstance(fd, int) and fd >= 0 for fd in arguments[1:]):
            self._check(event, [arguments[1]] if event in ('os.symlink', 'os.link') else list(arguments[:2]))
        elif event in _CODE and not (event == 'os.posix_spawn' and arguments[0] == FFMPEG):  # ffmpeg may run
            self.found.append(f'{event} {arguments}')

    def _check(self, event: str, paths: list) -> None:
        assert self.allowed is not None
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                place = os.path.abspath(os.fsdecode(path))
                if place != os.devnull and not any(f'{place}/'.startswith(f'{folder}/') for folder in self.allowed):
                    self.found.append(f'{event} {place}')


def damage(seed: int, name: str, number: int, paths: list[Path]) -> tuple[Path, bytes]:
    """Chooses a file of a target and damages its content. The same seed, name and number give the same damage."""
    rng = random.Random(f'{seed} {name} {number}')
    path = rng.choice(paths)
    content = path.read_bytes()
    damaged = content
    while damaged == content:
        damaged = mutate(rng, content, _kind(path, content))
    return path, damaged


def _kind(path: Path, content: bytes) -> str:
    if path.suffix == '.safetensors':
        return 'safetensors'
    try:
        return 'json' if content.decode().startswith('{') else 'text'
    except UnicodeDecodeError:
        return 'binary'


def read(function: Callable[[Path], object], folder: Path, names: list[str]) -> tuple[str, str]:
    """Reads a folder as a command does.

    Args:
      function: reads the files in the folder.
      folder: the argument of `function`.
      names: the error's line must contain one of them.

    Returns:
      The outcome, which is `read`, `refused` or a fault, and the error's text.
    """
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            cli._call(lambda: function(folder) and None)
        return 'read', ''
    except SystemExit as ended:
        lines = errors.getvalue().splitlines()
        if ended.code != 2 or len(lines) != 1 or not lines[0].isprintable() or len(lines[0]) > LONGEST:
            return 'not one line of text', f'{ended.code} {errors.getvalue()!r}'
        if not any(name in lines[0] for name in names):
            return 'names no file', lines[0]
        return 'refused', lines[0]
    except BaseException as error:
        return type(error).__name__, ''.join(traceback.format_exc(limit=-4))


def names_of(folder: Path, paths: list[Path]) -> list[str]:
    """Returns the names of which an error must contain one: files, a checkpoint's prefix, and the folder's flag."""
    return [*(path.name.partition('.data-')[0].removesuffix('.index') for path in paths), f'--source={folder}: ']


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Raises TooLong after PATIENCE, and ends the process if a library blocks the signal."""
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    faulthandler.dump_traceback_later(12 * PATIENCE, exit=True, file=sys.stderr)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def main(root: Path, seed: int, jobs: dict[str, list[int]]) -> None:
    """Reads damaged files, and prints a line of JSON before and after each.

    Args:
      root: an empty folder. Files that show a fault are kept in its folder `found`.
      seed: of the damage.
      jobs: by target, the number of its first input, and one more than that of its last.
    """
    channel, sys.stderr = os.fdopen(os.dup(1), 'w'), os.fdopen(os.dup(2), 'w')
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # because libraries print to standard output, too
    os.dup2(1, 2)
    faulthandler.enable(sys.stderr)
    watch = Watch()
    (root / 'found').mkdir()

    def send(**record) -> None:
        print(json.dumps(record), file=channel, flush=True)

    for name, (first, last) in jobs.items():
        target, folder, pristine = TARGETS[name], root / 'read', root / 'pristine'
        for place in (folder, pristine):
            shutil.rmtree(place, ignore_errors=True)
        folder.mkdir()
        paths = target.make(folder)
        shutil.copytree(folder, pristine)
        (folder / _TEMPORARY).mkdir()
        tempfile.tempdir = str(folder / _TEMPORARY)
        names = names_of(folder, paths)
        outcome, message = read(target.read, folder, names)  # valid files. This also does all late imports
        assert outcome == 'read', (name, outcome, message)
        used = os.sysconf('SC_PAGE_SIZE') * int(Path('/proc/self/statm').read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
        for number in range(first, last):
            _restore(folder, pristine)
            path, damaged = damage(seed, name, number, paths)
            kept = root / 'found' / f'{name} {number} {path.name}'
            path.write_bytes(damaged)
            kept.write_bytes(damaged)
            send(target=name, number=number, kept=str(kept))
            watch.allowed = [str(folder / OUTPUT), str(folder / _TEMPORARY)]
            with patience():
                outcome, message = read(target.read, folder, names)
            watch.allowed = None
            if watch.found:
                outcome, message = 'outside', watch.found[0]
                watch.found.clear()
            if outcome in ('read', 'refused'):
                kept.unlink()
            send(outcome=outcome, message=message if kept.exists() else '')
            path.write_bytes((pristine / path.relative_to(folder)).read_bytes())


def _restore(folder: Path, pristine: Path) -> None:
    """Restores the output folder. No reader writes elsewhere."""
    if (folder / OUTPUT).exists():
        shutil.rmtree(folder / OUTPUT)
        if (pristine / OUTPUT).exists():
            shutil.copytree(pristine / OUTPUT, folder / OUTPUT, symlinks=True)


def _too_long(*_) -> None:
    raise TooLong


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
