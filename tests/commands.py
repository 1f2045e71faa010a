# SPDX-License-Identifier: Apache-2.0
"""Commands as users type them, each in a process of its own.

Importing TensorFlow takes five seconds of CPU. So each test worker has one process that has imported it and has opened
no session, and commands are forked from that process. Everything else is as in a fresh process: flags, working folder,
environment, exit code, both output streams.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

_FORKED = (
    *('train.py', 'evaluate.py', 'fusion.py', 'fer.extract', 'fer.data.check', 'fer.report', 'fer.experiment'),
    *('fer.starter', 'fer.predict'),
    *('fer.prepare', 'fer.prepare.smile', 'fer.prepare.statistics', 'fer.prepare.synthetic'),
)
# Forks from a process that has imported TensorFlow and everything else that takes long to import.
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(
    [
        *('fer.training.train', 'fer.training.evaluate', 'fer.extract.extract', 'fer.fusion.fuse', 'fer.fusion.find'),
        *('fer.prepare.videos', 'fer.prepare.statistics.write', 'fer.prepare.synthetic.corpus', 'fer.report.page'),
        'matplotlib.backends.backend_agg',
    ]
)


class Finished(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


def make_runs_quick(set_attribute: Callable[[object, str, object], None] = setattr) -> None:
    """Turns off the optimisation of graphs and the plots of curves, either of which takes longer than a tiny run."""
    from fer.training import session, train

    settled = session.session_config

    def unoptimised(settings):
        config = settled(settings)
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        return config

    set_attribute(session, 'session_config', unoptimised)
    set_attribute(train, 'draw_log', lambda folder, title: None)


def run(
    *arguments: object, ok: bool = True, timeout: float = 600, folder: Path = ROOT, quick: bool = False
) -> Finished:
    """Runs `python ARGUMENTS`.

    Args:
      arguments: the words after `python`.
      ok: whether the exit code must be 0.
      timeout: in seconds.
      folder: the working folder. Scripts are always the repository's.
      quick: whether to call `make_runs_quick` first. Scripts only.
    """
    words = [*map(str, arguments)]
    is_forked = words[words[0] == '-m'] in _FORKED
    finished = _fork(words, timeout, folder, quick) if is_forked else _start(words, timeout, folder)
    if ok:
        assert finished.code == 0, finished.err[-3000:]
    return finished


def _start(words: list[str], timeout: float, folder: Path) -> Finished:
    process = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    return Finished(process.returncode, process.stdout, process.stderr)


def _fork(words: list[str], timeout: float, folder: Path, quick: bool) -> Finished:
    with tempfile.TemporaryDirectory() as temporary:
        streams = [Path(temporary) / name for name in ('out', 'err')]
        process = CONTEXT.Process(target=_run_command, args=(words, folder, *streams, dict(os.environ), quick))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, timeout)
        return Finished(process.exitcode, *(path.read_text(errors='replace') for path in streams))


def _run_command(
    words: list[str], folder: Path, out: Path, err: Path, environment: dict[str, str], quick: bool
) -> None:
    """Runs a command in a forked process and ends the process with the command's exit code."""
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    settings = {name: value for name, value in os.environ.items() if name.startswith('TF_')}  # those of fer/tf1.py
    os.environ.clear()
    os.environ.update(settings | environment)
    os.chdir(folder)
    sys.path[0] = str(ROOT)
    if quick:
        make_runs_quick()
    try:
        if words[0] == '-m':
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name='__main__', alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(str(ROOT / words[0]), run_name='__main__')
    finally:
        sys.stdout.flush()
