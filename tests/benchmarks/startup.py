# SPDX-License-Identifier: Apache-2.0
"""Times --help of every command, and the building of NASNet-Large's graph: python -m tests.benchmarks.startup"""

import subprocess
import sys
import time
from pathlib import Path

from absl import flags

from fer import cli
from tests.benchmarks import timing

flags.DEFINE_bool('build', False, 'Only build the graph in this process, and print the seconds.')
ROOT = Path(__file__).resolve().parents[2]
GRAPH = 'NASNet-Large, CNN and GRU, both phases'


def commands() -> list[tuple[str, ...]]:
    """Returns every command, as arguments of Python."""
    scripts = [(path.name,) for path in sorted(ROOT.glob('*.py')) if '__main__' in path.read_text()]
    paths = [path for path in sorted(ROOT.glob('fer/**/*.py')) if '(cli.run' in path.read_text()]
    modules = [path.relative_to(ROOT) for path in paths if path.parent.name != 'commands']
    return [*scripts, *(('-m', '.'.join(path.with_suffix('').parts).removesuffix('.__main__')) for path in modules)]


def main() -> None:
    if flags.FLAGS.build:
        print(build())
        return
    found = timing.interleave({' '.join(c): lambda c=c: time_help(c) for c in commands()}, flags.FLAGS.rounds)
    timing.report('--help: s', found, at_most=dict.fromkeys(found, 1.0))
    graphs = timing.interleave({GRAPH: time_build}, 1, warm=True)
    timing.report('the training graph: s', graphs, at_most={GRAPH: 60.0})


def time_help(command: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *command, '--help'], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    return time.perf_counter() - began


def time_build() -> float:
    command = [sys.executable, '-m', 'tests.benchmarks.startup', '--build', f'--folder={flags.FLAGS.folder}']
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()[-1])


def build() -> float:
    from tests.benchmarks.runs import Training, synthetic_manifest

    manifest = synthetic_manifest(8, 112)
    began = time.perf_counter()
    Training(manifest, phase=1, model='nasnet', stage='temporal', global_pool=True)
    return time.perf_counter() - began


if __name__ == '__main__':
    cli.run(main)
