# SPDX-License-Identifier: Apache-2.0
"""Runs every benchmark of training, one after the other, then prints a table of all goals: python -m tests.benchmarks

  python -m tests.benchmarks [--only=decode,flops] [--json=demo/benchmarks.json]

Each benchmark is a process of its own, with the arguments of its row. --json collects the measurements. It takes two
and a half hours on two cores, mostly for PyTorch's steps on padded frames.
"""

import subprocess
import sys

from absl import flags

from fer import cli
from fer.errors import InputError
from tests.benchmarks import timing

flags.DEFINE_list('only', [], 'Run only these benchmarks. Default: all.')
flags.FLAGS.set_default('json', 'demo/benchmarks.json')

# PyTorch takes a step on all frames at once, so ours does too. It fits the memory of this machine.
_AT_ONCE = '--frames_per_chunk=-1'
BENCHMARKS = (
    ('startup', ()),
    ('flops', ()),
    ('decode', ()),
    ('input_wait', ('--rounds=3',)),
    ('seq_len', ('--rounds=3', _AT_ONCE)),
    ('phase_one', ()),
    ('heads', ()),
    ('memory', ()),
    ('finetune', ('--rounds=3', '--model=resnet50', '--global_pool', '--seq_len=80', _AT_ONCE)),
    ('finetune', ('--rounds=3', '--model=resnet50', '--global_pool', '--seq_len=144', _AT_ONCE)),
    ('finetune', ('--rounds=3', '--model=vgg_face', '--seq_len=80', _AT_ONCE)),
    ('finetune', ('--rounds=3', '--model=vgg_face', '--seq_len=144', _AT_ONCE)),
    ('finetune', ('--rounds=3', '--model=vgg_face', '--seq_len=80', '--mixed_precision', _AT_ONCE)),
    ('finetune', ('--rounds=3', '--model=vgg_face', '--seq_len=144', '--mixed_precision', _AT_ONCE)),
)


def main() -> None:
    values = flags.FLAGS
    unknown = set(values.only) - {name for name, _ in BENCHMARKS}
    if unknown:
        raise InputError(f'--only={sorted(unknown)[0]}: expected some of {", ".join(dict(BENCHMARKS))}')
    failed = []
    for name, arguments in BENCHMARKS:
        if values.only and name not in values.only:
            continue
        command = [sys.executable, '-m', f'tests.benchmarks.{name}', *arguments]
        print(f'\n$ python {" ".join(command[1:])}', flush=True)
        done = subprocess.run([*command, f'--json={values.json}', f'--folder={values.folder}'], check=False)
        if done.returncode:
            failed.append(f'{name} ended with {done.returncode}')
    timing.print_goals(values.json)
    if failed:
        raise InputError(f'{", ".join(failed)}; see above')


if __name__ == '__main__':
    cli.run(main)
