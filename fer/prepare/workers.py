"""Processes that prepare videos and stills. One that dies costs its item, never the others.

Libraries that read other people's files crash now and then, and a crash ends a process without an exception.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')


class Workers:
    """A pool of processes, replaced by a new one when one of them dies.

    Args:
      jobs: number of processes.
      start: called once in each process, with `arguments`.
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
        """Yields function(item) for each item, in order, as they are computed in the processes.

        Where a process dies, the items that may have been its are computed once more, one at a time. Whichever kills
        its process again is the cause.

        Args:
          function: can be pickled, like the items.
          items: what to compute.
          died: the result for an item whose process dies, called here.
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
                known = future.done() and not future.cancelled() and future.exception() is None
                yield future.result() if known else self._alone(function, item, died)
            waiting = waiting[suspects:]
            self._pool = self._make_pool(self._jobs)

    def _alone(self, function: Callable[[Item], Result], item: Item, died: Callable[[Item], Result]) -> Result:
        with self._make_pool(1) as pool:
            try:
                return pool.submit(function, item).result()
            except BrokenProcessPool:
                return died(item)

    def _make_pool(self, jobs: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context('spawn')  # the detector's TensorFlow does not survive a fork
        return ProcessPoolExecutor(jobs, context, _start_process, (self._start, self._arguments))


def _start_process(start: Callable[..., None], arguments: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process says what an interruption means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start(*arguments)


def _end_with_parent() -> None:
    """Ends the process with the command. Workers of a killed command would else write beside those of the next."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
