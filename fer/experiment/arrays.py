"""Job arrays: the tasks of one table that can run side by side."""

from typing import NamedTuple

from fer.experiment.submissions import Submission
from fer.experiment.tasks import Task


class Array(NamedTuple):
    """Tasks that can run side by side."""

    name: str
    tasks: list[Task]
    needs: list[str]  # names of arrays
    earlier: list[Submission]  # earlier submissions that it waits for


def make_arrays(tasks: dict[str, Task], under_way: dict[str, Submission], max_array: int = 0) -> list[Array]:
    """Groups tasks of one table that do not need each other. An array comes after the arrays that it needs.

    Args:
      tasks: each after the tasks that it needs.
      under_way: the submission of each task that was submitted earlier.
      max_array: most tasks of an array, 0 for any number. A larger array is split evenly, into `6.2-t1`,
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
    """Returns 0 for tasks that need none of the others, and one more than the highest of their needs for the rest."""
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
