# SPDX-License-Identifier: Apache-2.0
"""Processes that end with the process that started them, and that can be stopped together."""

import ctypes
import os
import signal
import subprocess
import threading

from fer.stop import STOP_CODE

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


class Processes:
    """The running processes of several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self.stopped = False

    def run(self, command: list[str], log) -> int:
        """Runs a command to its end. After `stop` it starts nothing and returns STOP_CODE.

        Args:
          command: argv.
          log: a file that receives the output.

        Returns:
          The exit code, or minus the number of the signal that ended the process.
        """
        with self._lock:
            if self.stopped:
                return STOP_CODE
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_detach)
            self._running.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._running.discard(process)

    def stop(self) -> None:
        """Sends SIGTERM to every process, once."""
        with self._lock:
            if not self.stopped:
                self.stopped = True
                for process in self._running:
                    process.terminate()


def _detach() -> None:
    """Prepares a new process before it runs its command.

    The process gets a group of its own. Otherwise a signal that a terminal sends to the group would reach it twice.
    Linux sends it SIGTERM when the process that started it ends, even by SIGKILL. Otherwise it might still write to its
    folder when the command is started again.
    """
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
