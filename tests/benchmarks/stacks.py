# SPDX-License-Identifier: Apache-2.0
"""Compares the two stacks, in turns on one machine: python -m tests.benchmarks.stacks

It times reading JPEGs, fine-tuning ResNet-50 and VGG-Face on windows of AFEW's lengths, starting a command, and
importing TensorFlow. Each turn of a stack is its own process. `make venv VENV=.venv-other PYTHON=/path/to/python3.11`
makes the other environment.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from absl import flags

from fer import cli
from tests.benchmarks import timing
from tests.benchmarks.runs import Reader, Training, synthetic_manifest, windows_per_second

flags.DEFINE_list('others', ['.venv-other/bin/python'], 'Interpreters to compare this one with.')
flags.DEFINE_integer('steps', 4, 'Steps of a turn, after one to warm up.', lower_bound=1)
flags.DEFINE_integer('videos', 40, 'Synthetic videos to read.', lower_bound=4)
flags.DEFINE_bool('turn', False, 'Measure only this interpreter, once, and print the figures as JSON.')
ROOT = Path(__file__).resolve().parents[2]
NETWORKS = {'resnet50': True, 'vgg_face': False}  # --global_pool of each


def main() -> None:
    if flags.FLAGS.turn:
        print(json.dumps(measure()))
        return
    versions = {python: name_stack(python) for python in (sys.executable, *flags.FLAGS.others)}
    turns: dict[str, dict[str, list[float]]] = {}
    for number in range(flags.FLAGS.rounds):
        for python, name in versions.items():
            print(f'turn {number + 1} of {flags.FLAGS.rounds}: {name}', file=sys.stderr, flush=True)
            for figure, value in take_turn(python).items():
                turns.setdefault(figure, {}).setdefault(name, []).append(value)
    first, *others = versions.values()
    for figure, found in turns.items():
        quotients = {f'{first} / {other}': timing.ratios(found, first, other) for other in others}
        timing.report(figure, {**found, **quotients})


def name_stack(python: str) -> str:
    code = 'import platform; from importlib.metadata import version as v; print(platform.python_version(), end=""); '
    code += 'print(", TensorFlow", v("tensorflow"))'
    return subprocess.run([python, '-c', code], capture_output=True, text=True, check=True).stdout.strip()


def take_turn(python: str) -> dict[str, float]:
    values = flags.FLAGS
    own = [f'--{name}={values[name].value}' for name in ('steps', 'videos', 'folder', 'seq_len')]
    command = [python, '-m', 'tests.benchmarks.stacks', '--turn', *own]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def measure() -> dict[str, float]:
    found = {'train.py --help: s': time_command('train.py', '--help')}
    found['import fer.tf1: s'] = time_command('-c', 'import fer.tf1')
    from fer.data.split import load_split

    for size in (224, 112):
        manifest = synthetic_manifest(flags.FLAGS.videos, size)
        reader = Reader(load_split([str(manifest)], '', 80, 2, labelled=True), 112, batch=4)
        reader.epoch()  # to warm up
        found[f'decode, JPEGs of {size}x{size}: images/s'] = reader.epoch()
    for model, pool in NETWORKS.items():
        training = Training(
            synthetic_manifest(flags.FLAGS.videos, 112), model=model, global_pool=pool, frames_per_chunk=-1
        )
        windows_per_second(training, 1)
        title = f'finetune {model}, seq_len {training.config.seq_len}, batches of 4: windows/s'
        found[title] = windows_per_second(training, flags.FLAGS.steps)
        training.session.close()
    return found


def time_command(*words: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


if __name__ == '__main__':
    cli.run(main)
