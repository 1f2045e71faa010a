# SPDX-License-Identifier: Apache-2.0
"""Processes that prepare videos: a process that dies costs only its own item."""

import os
import signal

import pytest

from fer.prepare.workers import Workers


def square(number):
    """Returns the square. A negative number crashes at every try, and Once at the first."""
    if number < 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    if isinstance(number, Once) and not os.path.exists(number.path):
        open(number.path, 'w').close()
        os.kill(os.getpid(), signal.SIGKILL)
    return int(number) ** 2


class Once(int):
    """A number whose process dies once, as if memory had run out."""

    path: str


def start():
    pass


def test_process_that_dies_costs_only_its_item(tmp_path):
    numbers = [*range(8), -3, *range(9, 20)]
    with Workers(2, start, ()) as workers:
        found = list(workers.map(square, numbers, lambda number: f'{number} died'))
    assert found == ['-3 died' if number == -3 else number**2 for number in numbers]


def test_item_that_kills_once_is_computed_again(tmp_path):
    once = Once(5)
    once.path = str(tmp_path / 'killed')
    with Workers(2, start, ()) as workers:
        assert list(workers.map(square, [1, once, 2], lambda number: 'died')) == [1, 25, 4]
    assert os.path.exists(once.path)


def test_exception_is_raised_unchanged():
    with Workers(1, start, ()) as workers, pytest.raises(TypeError):
        list(workers.map(square, [1, 'two'], lambda number: 'died'))
