# SPDX-License-Identifier: Apache-2.0
"""Replays the first steps of a run, and compares them to the bit: python -m tests.benchmarks.replay --run=RUN

  python -m tests.benchmarks.replay --run=runs/pretrain/resnet18/face-t1-r1-seed0 [--steps=500] [--times=2]

Trains from the run's flags.txt into a new folder, without validation, and compares each step's row of train_log.csv:
loss, accuracy and learning rate. The loss has nine digits, which tell all float32 numbers apart. With --times=2 it
replays twice, and also compares all variables of the two checkpoints. Where the data lie elsewhere, give
--train_manifest and --frame_cache. Exit codes: 0 equal to the bit, 1 not, 2 bad input.

Sums depend on the number of threads and the kind of CPU. A run without --intra_op_threads has one thread per core, so
it replays on as many cores only. environment.json of the run names the machine.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from absl import flags

from fer import cli
from fer.errors import InputError
from fer.installation import script
from fer.runs.config import read_flagfile
from fer.runs.logs import read_log
from fer.runs.names import FLAGS_FILE, TRAIN_LOG

flags.DEFINE_string('run', None, 'Folder of the run.', required=True)
flags.DEFINE_integer('steps', 500, 'Number of its first steps to replay.', lower_bound=1)
flags.DEFINE_integer('times', 1, 'Number of replays.', lower_bound=1)
flags.DEFINE_string('train_manifest', '', "Manifest of the run's training data. Default: the run's own.")
flags.DEFINE_string('frame_cache', '', "Folder of decoded frames. Default: the run's own.")

COLUMNS = ('step', 'epoch', 'phase', 'loss', 'accuracy', 'learning_rate')


def main() -> int:
    args = flags.FLAGS
    run_dir = Path(args.run)
    expected = _read_steps(run_dir, args.steps)
    with tempfile.TemporaryDirectory(prefix='fer-replay-') as temporary:
        replays = [Path(temporary) / str(number) for number in range(args.times)]
        codes = []
        for replay in replays:
            _train(run_dir, replay)
            codes.append(_report(f'{run_dir} and a replay', expected, _read_steps(replay, args.steps)))
        for replay in replays[1:]:
            codes.append(_compare_checkpoints(replays[0], replay))
    return max(codes)


def _read_steps(run_dir: Path, steps: int) -> list[tuple[str, ...]]:
    """Returns the rows of a run's first steps, as text, without the speed."""
    try:
        log = read_log(run_dir / TRAIN_LOG)
        rows = list(zip(*(log[name] for name in COLUMNS), strict=True))[:steps]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f'{run_dir / TRAIN_LOG}: {error}; expected the log of a run') from None
    if len(rows) < steps:
        raise InputError(f'{run_dir / TRAIN_LOG}: {len(rows)} steps; expected at least --steps={steps}')
    return rows


def _train(run_dir: Path, replay: Path) -> None:
    """Trains the first steps of a run into another folder."""
    args = flags.FLAGS
    config = read_flagfile(run_dir / FLAGS_FILE)
    changes = [f'--run_dir={replay}', f'--max_steps={args.steps}']
    if not config.best_is_kept_by:  # validation changes no weights, unless it chooses the checkpoint
        changes.append('--val_manifest=')
    changes += [f'--{name}={args[name].value}' for name in ('train_manifest', 'frame_cache') if args[name].value]
    command = [*script('train.py'), f'--flagfile={run_dir / FLAGS_FILE}', *changes]
    print(f'$ python {" ".join(command)}', flush=True)
    if code := subprocess.run([sys.executable, *command]).returncode:
        raise InputError(f'train.py: exit code {code}')


def _report(of: str, expected: list[tuple[str, ...]], found: list[tuple[str, ...]]) -> int:
    """Prints whether two logs are equal, and their first difference. Returns the exit code."""
    different = [k for k, (one, other) in enumerate(zip(expected, found, strict=True)) if one != other]
    if different:
        first = different[0]
        print(f'{of}: {len(different)} of {len(found)} steps differ, first step {first + 1}')
        print(f'  {",".join(expected[first])}\n  {",".join(found[first])}')
        return 1
    print(f'{of}: {len(found)} steps are equal to the bit; the last has loss {found[-1][COLUMNS.index("loss")]}')
    return 0


def _compare_checkpoints(first: Path, second: Path) -> int:
    """Compares all variables of two runs' last checkpoints. Returns the exit code."""
    from tests.runs import weights

    one, other = weights(first), weights(second)
    different = [name for name in sorted(one) if name not in other or (one[name] != other[name]).any()]
    different += sorted(other.keys() - one.keys())
    if different:
        print(f'checkpoints of two replays: {len(different)} variables differ, such as {different[0]}')
        return 1
    print(f'checkpoints of two replays: {len(one)} variables are equal to the bit')
    return 0


if __name__ == '__main__':
    cli.run(main)
