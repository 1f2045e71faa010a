# SPDX-License-Identifier: Apache-2.0
"""Stopping in time, on the signals that schedulers send before a job's time ends.

Every scheduler sends SIGTERM at the walltime, some seconds before SIGKILL. A site can be asked to send SIGUSR1 earlier.
On either signal, work is saved, and the process exits with a code which means that the work can be resumed.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

STOP_CODE = 85  # the exit code of work that was stopped in time. The same command with --resume continues it
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(BaseException):
    """Work was stopped by a signal, without any loss. The message is one line. `fer.cli.run` exits with `STOP_CODE`.

    Derives from BaseException, so that `except Exception` cannot swallow it.
    """


class StopSignal:
    """Turns the signals into `Stopped`: at once, or at the next `check` within `held`."""

    def __init__(self) -> None:
        self.received: str | None = None
        self._is_held = False

    @contextmanager
    def caught(self, signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
        """Handles the signals while the block runs. Only the main thread may call this."""
        before = {number: signal.signal(number, self._receive) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Delays signals while the block runs, so that unfinished work is completed first."""
        before, self._is_held = self._is_held, True
        try:
            yield
        finally:
            self._is_held = before

    def check(self, state: str) -> None:
        """Raises `Stopped` if a signal was received. `state` describes what the work was doing."""
        if self.received:
            raise Stopped(f'stopped by {self.received}: {state}')

    def _receive(self, number: int, _) -> None:
        self.received = signal.Signals(number).name
        if not self._is_held:
            raise Stopped(f'stopped by {self.received}')
