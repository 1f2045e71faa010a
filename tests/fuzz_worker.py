"""The process in which damaged files are read: python tests/fuzz_worker.py FOLDER SEED JOBS, started by test_fuzz.py.

One of its own, because what is looked for includes crashes of libraries, memory that runs out and loops that end
never. Before each input it prints its name, so that whoever reads that knows which one it died of.
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

PATIENCE = 5  # seconds of an input; of the processor, which other jobs may be at
MEMORY = 2 * 2**30  # bytes that an input may take
LONGEST = 3000  # characters of a line
_TEMPORARY = 'tmp'
_CHANGES = ('os.mkdir', 'os.rename', 'os.link', 'os.symlink', 'os.remove', 'os.rmdir', 'os.truncate', 'os.chmod')
_CODE = ('os.system', 'os.exec', 'os.posix_spawn', 'pickle.find_class')


class TooLong(BaseException):
    """No Exception, so that no parser takes it for its own."""


class Watch:
    """Notes each file that is changed outside of some folders, and code that is run; once `allowed` is set."""

    def __init__(self) -> None:
        self.allowed: list[str] | None = None
        self.found: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple) -> None:
        if self.allowed is None:
            return
        if event == 'open':
            path, _, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            self._check(event, [path] if writes else [])
        elif event in _CHANGES and not any(isinstance(fd, int) and fd >= 0 for fd in arguments[1:]):  # below a folder
            self._check(event, [arguments[1]] if event in ('os.symlink', 'os.link') else list(arguments[:2]))
        elif event in _CODE and not (event == 'os.posix_spawn' and arguments[0] == FFMPEG):  # as subprocess starts it
            self.found.append(f'{event} {arguments}')

    def _check(self, event: str, paths: list) -> None:
        assert self.allowed is not None
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                place = os.path.abspath(os.fsdecode(path))
                if place != os.devnull and not any(f'{place}/'.startswith(f'{folder}/') for folder in self.allowed):
                    self.found.append(f'{event} {place}')


def damage(seed: int, name: str, number: int, paths: list[Path]) -> tuple[Path, bytes]:
    """One of a target's files, and what it is to hold; always the same for the same seed, name and number."""
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
    """Reads as a command does.

    Args:
      function: reads what is in the folder.
      folder: its argument.
      names: of which one has to be in the line that it may end in.

    Returns:
      How it ended, `read`, `refused` or what is wrong; and what it said.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            cli._call(lambda: function(folder) and None)
        return 'read', ''
    except SystemExit as ended:
        lines = said.getvalue().splitlines()
        if ended.code != 2 or len(lines) != 1 or not lines[0].isprintable() or len(lines[0]) > LONGEST:
            return 'not one line of text', f'{ended.code} {said.getvalue()!r}'
        if not any(name in lines[0] for name in names):
            return 'names no file', lines[0]
        return 'refused', lines[0]
    except BaseException as error:
        return type(error).__name__, ''.join(traceback.format_exc(limit=-4))


def names_of(folder: Path, paths: list[Path]) -> list[str]:
    """What a complaint has to name one of: a file; a checkpoint by what its files have in common; a flag's folder."""
    return [*(path.name.partition('.data-')[0].removesuffix('.index') for path in paths), f'--source={folder}: ']


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Ends what takes too long, and the process where a library does not listen to that."""
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    faulthandler.dump_traceback_later(12 * PATIENCE, exit=True, file=sys.stderr)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def main(root: Path, seed: int, jobs: dict[str, list[int]]) -> None:
    """Reads damaged files and prints a line of JSON before and after each; those that show a fault are kept.

    Args:
      root: an empty folder; files that are kept go to its folder `found`.
      seed: of the damage.
      jobs: for each target the first input, and one past the last.
    """
    channel, sys.stderr = os.fdopen(os.dup(1), 'w'), os.fdopen(os.dup(2), 'w')
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is said on the way, by libraries as well
    os.dup2(1, 2)
    faulthandler.enable(sys.stderr)
    watch = Watch()
    (root / 'found').mkdir()

    def say(**what) -> None:
        print(json.dumps(what), file=channel, flush=True)

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
        how, said = read(target.read, folder, names)
        assert how == 'read', (name, how, said)  # what is right is read; this also imports what is imported late
        used = os.sysconf('SC_PAGE_SIZE') * int(Path('/proc/self/statm').read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
        for number in range(first, last):
            _restore(folder, pristine)
            path, damaged = damage(seed, name, number, paths)
            kept = root / 'found' / f'{name} {number} {path.name}'
            path.write_bytes(damaged)
            kept.write_bytes(damaged)
            say(target=name, number=number, kept=str(kept))
            watch.allowed = [str(folder / OUTPUT), str(folder / _TEMPORARY)]
            with patience():
                how, said = read(target.read, folder, names)
            watch.allowed = None
            if watch.found:
                how, said = 'outside', watch.found[0]
                watch.found.clear()
            if how in ('read', 'refused'):
                kept.unlink()
            say(how=how, said=said if kept.exists() else '')
            path.write_bytes((pristine / path.relative_to(folder)).read_bytes())


def _restore(folder: Path, pristine: Path) -> None:
    """The output folder as it was; everything else is only read."""
    if (folder / OUTPUT).exists():
        shutil.rmtree(folder / OUTPUT)
        if (pristine / OUTPUT).exists():
            shutil.copytree(pristine / OUTPUT, folder / OUTPUT, symlinks=True)


def _too_long(*_) -> None:
    raise TooLong


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
