"""What benchmarks share: contestants take turns, medians and extremes are told, in a table and in JSON."""

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
flags.DEFINE_string('json', '', 'File to write the measurements to; none if empty.')
flags.DEFINE_string('folder', 'demo/benchmarks', 'Folder of what benchmarks read; drawn where it is missing.')


def interleave(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Lets each measure itself once a round, in turn, so that what the machine does besides meets all alike.

    Args:
      contestants: each a function that measures once and returns the figure.
      rounds: turns of each, after one that is thrown away: caches fill, threads start, kernels are chosen.

    Returns:
      The figures of each, by round.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, measure in contestants.items():
            value = measure()
            if number:
                found[name].append(value)
    return found


def ratios(found: Mapping[str, list[float]], above: str, below: str) -> list[float]:
    """Quotients within rounds, which a busy machine spoils less than those of medians."""
    return [a / b for a, b in zip(found[above], found[below], strict=True)]


def report(title: str, rows: Mapping[str, list[float]], goals: Mapping[str, float] | None = None) -> None:
    """Prints medians, extremes and goals of rows, and adds them to --json.

    Args:
      title: of the table; says the unit.
      rows: figures by name.
      goals: of the medians of some rows, at least so much.
    """
    goals = goals or {}
    print(f'\n{title}')
    print(f'{"":<56}{"median":>10}{"lowest":>10}{"highest":>10}')
    table = {}
    for name, values in rows.items():
        median, low, high = statistics.median(values), min(values), max(values)
        goal = ''
        if name in goals:
            goal = f'   goal {goals[name]:g}: {"met" if median >= goals[name] else "missed"}'
        print(f'{name:<56}{median:>10.4g}{low:>10.4g}{high:>10.4g}{goal}', flush=True)
        table[name] = {'median': median, 'lowest': low, 'highest': high, 'values': values, 'goal': goals.get(name)}
    if not flags.FLAGS.json:
        return
    path = Path(flags.FLAGS.json)
    known = json.loads(path.read_text()) if path.exists() else {}
    known[title] = {'machine': f'{platform.machine()} {platform.release()}', 'rows': table}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        json.dump(known, file, indent=1)


class TorchTwin:
    """PyTorch's side, a process of `.venv-bench` that answers a line of JSON with a line of JSON."""

    def __init__(self):
        if not torch_venv.PYTHON.exists():
            raise InputError(f'{torch_venv.PYTHON}: not found; run python -m tests.benchmarks.torch_venv first')
        script = Path(__file__).with_name('torch_twin.py')
        self._process = subprocess.Popen(
            [torch_venv.PYTHON, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
        )

    def ask(self, what: str, **settings) -> float:
        """The figure that the twin measures for it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({'what': what, **settings}) + '\n')
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise InputError(f'torch_twin.py {what}: ended with {self._process.wait()}; see above')
        return json.loads(answer)

    def close(self) -> None:
        self._process.communicate()
