# SPDX-License-Identifier: Apache-2.0
"""The steps of a demo, each a command in a process of its own."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fer.errors import InputError
from fer.installation import CHECKOUT, script
from fer.stop import STOP_CODE, Stopped

_STOPPED = (STOP_CODE, 130, -signal.SIGINT, -signal.SIGTERM)  # exit codes of a command that a signal stopped


def step(*arguments: str, label: str = '') -> None:
    """Prints and runs `python ARGUMENTS`.

    Args:
      arguments: arguments of the command, the script or `-m` first.
      label: text before each line of output, for steps that run at the same time.

    Raises:
      InputError: the command fails.
      Stopped: a signal stopped the command.
    """
    if CHECKOUT is None and arguments[0].endswith('.py'):
        arguments = (*script(arguments[0]), *arguments[1:])
    print(f'{label}$ python {" ".join(arguments)}', flush=True)
    command = [sys.executable, *arguments]
    if label:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            for line in process.stdout or ():
                print(label + line, end='', flush=True)
        code = process.returncode
    else:
        with subprocess.Popen(command) as plain, _signals_passed_on(plain):
            code = plain.wait()
    if code in _STOPPED:
        raise Stopped(f'python {" ".join(arguments)}: exit code {code}; the same command resumes it')
    if code:
        raise InputError(f'python {" ".join(arguments)}: exit code {code}')


@contextmanager
def _signals_passed_on(process: subprocess.Popen) -> Iterator[None]:
    """Lets a command end by itself on a signal: SIGTERM is passed on, and Ctrl-C reaches it from the terminal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
