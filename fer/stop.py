"""Stopping in time: what schedulers send before a job's time ends.

SIGTERM is sent by every scheduler at the walltime, some seconds before SIGKILL; SIGUSR1 is what a site may be asked to
send earlier. Both mean: keep what there is and go, with an exit code that says that the work can be gone on with.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

STOP_CODE = 85  # the exit code of work that was stopped in time; the same command with --resume goes on with it
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(BaseException):
    """Stopped by a signal, and nothing lost. The message is one line; `fer.cli.run` exits with `STOP_CODE`.

    No Exception, for the reason KeyboardInterrupt is none: whatever it meets on its way must not take it for its own.
    """


class StopSignal:
    """Turns the signals into `Stopped`: at once, or, within `held`, when `check` is next called."""

    def __init__(self) -> None:
        self.received: str | None = None
        self._is_held = False

    @contextmanager
    def caught(self, signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
        """Takes signals over for the length of the block; only the main thread may."""
        before = {number: signal.signal(number, self._receive) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block a signal is only noted, so that what is half done is finished first."""
        before, self._is_held = self._is_held, True
        try:
            yield
        finally:
            self._is_held = before

    def check(self, state: str) -> None:
        """Raises `Stopped`, with what the work was doing, if a signal has come."""
        if self.received:
            raise Stopped(f'stopped by {self.received}: {state}')

    def _receive(self, number: int, _) -> None:
        self.received = signal.Signals(number).name
        if not self._is_held:
            raise Stopped(f'stopped by {self.received}')
