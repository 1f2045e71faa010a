# SPDX-License-Identifier: Apache-2.0
"""The frame of benchmarks: contestants take turns, and a table and JSON have their medians and extremes."""

import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import flags

from fer.errors import InputError
from fer.files import atomic_write
from tests.benchmarks import torch_venv

flags.DEFINE_integer('rounds', 5, 'Turns of each contestant.', lower_bound=1)
flags.DEFINE_string('json', '', 'Write the measurements to this file. Default: no file.')
flags.DEFINE_string('folder', 'demo/benchmarks', 'Folder of the files that benchmarks read. Missing files are made.')


def interleave(
    contestants: Mapping[str, Callable[[], float]], rounds: int, *, warm: bool = False
) -> dict[str, list[float]]:
    """Lets contestants take turns, so that other work of the machine affects all of them alike.

    Args:
      contestants: by name, functions that measure once and return the figure.
      rounds: turns of each.
      warm: whether they are warm already. Otherwise the first turn of each is not counted, because it fills caches,
        starts threads and chooses kernels.

    Returns:
      The figures of each contestant, by round.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(int(warm), rounds + 1):
        for name, measure in contestants.items():
            value = measure()
            if number:
                found[name].append(value)
    return found


def ratios(found: Mapping[str, list[float]], above: str, below: str) -> list[float]:
    """Returns quotients within rounds. A busy machine changes them less than quotients of medians."""
    return [a / b for a, b in zip(found[above], found[below], strict=True)]


def report(
    title: str,
    rows: Mapping[str, list[float]],
    at_least: Mapping[str, float] | None = None,
    at_most: Mapping[str, float] | None = None,
) -> None:
    """Prints medians, extremes and goals of rows, and adds them to --json.

    Args:
      title: of the table, with the unit.
      rows: figures by name.
      at_least: the least median that is the goal of some rows.
      at_most: the largest median that is the goal of some rows.
    """
    goals = {name: ('>=', goal) for name, goal in (at_least or {}).items()}
    goals |= {name: ('<=', goal) for name, goal in (at_most or {}).items()}
    table = {}
    for name, measured in rows.items():
        values = [float(value) for value in measured]  # JSON has no NumPy numbers
        median = statistics.median(values)
        table[name] = {'median': median, 'lowest': min(values), 'highest': max(values), 'values': values}
        if name in goals:
            sign, goal = goals[name]
            is_met = median >= goal if sign == '>=' else median <= goal
            table[name] |= {'goal': f'{sign} {goal:g}', 'met': is_met}
    _print_table(title, table)
    if not flags.FLAGS.json:
        return
    path = Path(flags.FLAGS.json)
    known = json.loads(path.read_text()) if path.exists() else {}
    known[title] = {'machine': f'{platform.machine()} {platform.release()}', 'rows': table}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        json.dump(known, file, indent=1)


def _print_table(title: str, rows: Mapping[str, Mapping]) -> None:
    print(f'\n{title}')
    print(f'{"":<56}{"median":>10}{"lowest":>10}{"highest":>10}')
    for name, row in rows.items():
        goal = f'   goal {row["goal"]}: {"met" if row["met"] else "missed"}' if 'goal' in row else ''
        print(f'{name:<56}{row["median"]:>10.4g}{row["lowest"]:>10.4g}{row["highest"]:>10.4g}{goal}', flush=True)


def print_goals(path: str | Path) -> None:
    """Prints every goal in a file that `report` has written, with its measurements."""
    goals = [
        (f'{title}: {name}', row)
        for title, table in json.loads(Path(path).read_text()).items()
        for name, row in table['rows'].items()
        if 'goal' in row
    ]
    print(f'\n{"median":>10}{"lowest":>10}{"highest":>10}  goal')
    for name, row in goals:
        figures = ''.join(f'{row[which]:>10.4g}' for which in ('median', 'lowest', 'highest'))
        print(f'{figures}  {row["goal"]:<9}{"met" if row["met"] else "missed":<8}{name}')
    print(f'{sum(row["met"] for _, row in goals)} of {len(goals)} goals met; all figures: {path}')


class Twin:
    """Another program's side: a process that answers a line of JSON with a line of JSON."""

    def __init__(self, python: Path, script: str, *options: str, folder: Path | None = None):
        """Starts the process.

        Args:
          python: interpreter of the program's own environment.
          script: file name in the folder of benchmarks.
          options: of the interpreter.
          folder: working folder of the process. None for the current one.
        """
        self._script = script
        command = [python, *options, Path(__file__).with_name(script).resolve()]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True, cwd=folder
        )

    def ask(self, what: str, **settings) -> float:
        """Returns the figure that the twin measures."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({'what': what, **settings}) + '\n')
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise InputError(f'{self._script} {what}: ended with {self._process.wait()}; see above')
        return json.loads(answer)

    def close(self) -> None:
        self._process.communicate()


class TorchTwin(Twin):
    """PyTorch's side, in `.venv-bench`."""

    def __init__(self):
        if not torch_venv.PYTHON.exists():
            raise InputError(f'{torch_venv.PYTHON}: not found; run python -m tests.benchmarks.torch_venv first')
        super().__init__(torch_venv.PYTHON, 'torch_twin.py')
