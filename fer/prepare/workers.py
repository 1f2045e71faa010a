# SPDX-License-Identifier: Apache-2.0
"""Processes that prepare videos and stills. A process that dies costs only its own item.

Libraries that read media files crash now and then. A crash ends a process without an exception.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')


class Workers:
    """A pool of processes, replaced by a new pool when a process dies.

    Args:
      jobs: number of processes.
      start: is called once in each process, with `arguments`.
      arguments: of `start`. They must be picklable.
    """

    def __init__(self, jobs: int, start: Callable[..., None], arguments: tuple) -> None:
        self._jobs, self._start, self._arguments = jobs, start, arguments
        self._pool = self._make_pool(jobs)

    def __enter__(self) -> 'Workers':
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], died: Callable[[Item], Result]
    ) -> Iterator[Result]:
        """Yields function(item) for each item, in order, computed in the processes.

        When a process dies, the items that it may have worked on are computed again, each in a process of its own. An
        item whose process dies again is the cause.

        Args:
          function: picklable, like the items.
          items: the arguments of `function`.
          died: makes the result of an item whose process dies twice. It is called in the main process.
        """
        waiting = list(items)
        while waiting:
            futures = [self._pool.submit(function, item) for item in waiting]
            done = 0
            try:
                for future in futures:
                    result = future.result()
                    done += 1
                    yield result
                return
            except BrokenProcessPool:
                pass
            finally:
                for future in futures:
                    future.cancel()
            # A pool hands out one item more than it has processes, and results may come out of order.
            suspects = 2 * self._jobs + 1
            waiting = waiting[done:]
            finished = futures[done:]
            self._pool.shutdown()
            for item, future in zip(waiting[:suspects], finished, strict=False):
                yield future.result() if _succeeded(future) else self._alone(function, item, died)
            waiting = waiting[suspects:]
            self._pool = self._make_pool(self._jobs)

    def _alone(self, function: Callable[[Item], Result], item: Item, died: Callable[[Item], Result]) -> Result:
        """Returns function(item), computed in a process of its own."""
        with self._make_pool(1) as pool:
            try:
                return pool.submit(function, item).result()
            except BrokenProcessPool:
                return died(item)

    def _make_pool(self, jobs: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context('spawn')  # a detector's TensorFlow does not survive a fork
        return ProcessPoolExecutor(jobs, context, _start_process, (self._start, self._arguments))


def _succeeded(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _start_process(start: Callable[..., None], arguments: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles an interruption
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start(*arguments)


def _end_with_parent() -> None:
    """Ends this process when the main process ends, even if the main process is killed.

    Otherwise the workers of a killed command would continue to write, beside those of the next command.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
