# SPDX-License-Identifier: Apache-2.0
"""Job arrays: the tasks of one table that can run at the same time."""

from typing import NamedTuple

from fer.experiment.submissions import Submission
from fer.experiment.tasks import Task


class Array(NamedTuple):
    """Tasks that can run at the same time."""

    name: str
    tasks: list[Task]
    needs: list[str]  # names of arrays
    earlier: list[Submission]  # submissions of earlier commands that it waits for


def make_arrays(tasks: dict[str, Task], under_way: dict[str, Submission], max_array: int = 0) -> list[Array]:
    """Groups tasks of one table that do not need each other. An array comes after the arrays that it needs.

    Args:
      tasks: each after the tasks that it needs.
      under_way: by task, the submissions of earlier commands that are queued or running.
      max_array: maximum number of tasks of an array, 0 for any number. A larger array is split evenly, into `6.2-t1`,
        `6.2-t1.part2` and so on.
    """
    generation = _generations(tasks)
    home = _array_names(tasks, generation, max_array)
    groups: dict[tuple[int, str], list[Task]] = {}
    for name, task in tasks.items():
        groups.setdefault((generation[name], home[name]), []).append(task)
    arrays = []
    for (_, array), members in sorted(groups.items(), key=lambda item: item[0]):
        needs = list(dict.fromkeys(need for task in members for need in task.needs))
        earlier = [under_way[need] for need in needs if need in under_way]
        unique = [submission for index, submission in enumerate(earlier) if submission not in earlier[:index]]
        arrays.append(Array(array, members, list(dict.fromkeys(home[need] for need in needs if need in tasks)), unique))
    return arrays


def _generations(tasks: dict[str, Task]) -> dict[str, int]:
    """Returns a number for each task: 0 if it needs none of the others, else one more than the highest of its needs."""
    generation: dict[str, int] = {}
    for name, task in tasks.items():
        generation[name] = 1 + max((generation[need] for need in task.needs if need in generation), default=-1)
    return generation


def _array_names(tasks: dict[str, Task], generation: dict[str, int], max_array: int) -> dict[str, str]:
    """Returns the name of each task's array, made of table, generation and part."""
    arrays: dict[str, list[str]] = {}
    for name, task in tasks.items():
        suffix = f'.{generation[name]}' if generation[name] else ''
        arrays.setdefault(f'{task.config.run_id.rpartition("-")[0]}{suffix}', []).append(name)
    home = {}
    for array, names in arrays.items():
        parts = -(-len(names) // max_array) if max_array else 1
        for position, name in enumerate(names):
            part = position * parts // len(names)
            home[name] = f'{array}.part{part + 1}' if part else array
    return home
