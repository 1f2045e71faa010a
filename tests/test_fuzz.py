# SPDX-License-Identifier: Apache-2.0
"""Damaged files of every kind: each is read, or refused in one line with exit code 2.

Reading a damaged file never ends in a traceback or a crash, and takes at most five seconds and 2 GB. It never runs code
from the file, and never writes outside the output folder. fuzz_targets.py lists the kinds of files, fuzz_mutate.py
damages them, and fuzz_worker.py is the process that reads them. FER_FUZZ_SEED=7 chooses other damage.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT
from fuzz_targets import TARGETS
from fuzz_worker import names_of, patience, read

SEED = int(os.environ.get('FER_FUZZ_SEED', '2019'))
SHARE = 600 / 20000  # share of the inputs that the ordinary suite reads


def test_damaged_files_are_read_or_refused(tmp_path):
    check({name: round(SHARE * target.inputs) for name, target in TARGETS.items()}, tmp_path, processes=1)


@pytest.mark.slow
def test_twenty_thousand_damaged_files_are_read_or_refused(tmp_path):
    jobs = {name: target.inputs for name, target in TARGETS.items()}
    assert sum(jobs.values()) >= 20_000
    check(jobs, tmp_path, processes=2)


def check(jobs: dict[str, int], folder: Path, processes: int) -> None:
    """Reads `jobs[name]` damaged inputs of each target, prints the counts, and fails if any input shows a fault."""
    names = list(jobs)
    shares = [{name: jobs[name] for name in names[part::processes]} for part in range(processes)]
    with ThreadPoolExecutor(processes) as pool:
        done = list(pool.map(read_damaged, [folder / str(part) for part in range(processes)], shares))
    counts = sum((counts for counts, _ in done), Counter())
    findings = [finding for _, found in done for finding in found]
    print()
    for name in names:
        print(f'{name:<28} {jobs[name]:>5} inputs: {counts[name, "read"]} read, {counts[name, "refused"]} refused')
    print(f'{sum(counts.values())} inputs, {len(findings)} with a fault')
    assert not findings, '\n'.join(findings)
    assert sum(counts.values()) == sum(jobs.values())


# Damage that once showed a fault, reduced to its cause: (target, pattern of the file, damage).
FOUND: list[tuple[str, str, Callable[[bytes], bytes]]] = [
    ('manifest of both', '*', lambda c: c.replace(b'00001', b'9' * 5000)),  # Python reads at most 4300 digits
    ('manifest of faces', '*', lambda c: c.replace(b'faces/a/v0', 'faces/\x85a/v0'.encode(), 2)),  # it is a line break
    ('ledger', '*', lambda c: b'x' * 200_000 + c),  # the csv module refuses a header field of this length
    ('results file', 'a/*', lambda c: bytes(3000) + c),  # thousands of unprintable characters
    ('list for a submission', '*.csv', lambda c: c.replace(b'v0', b'v' * 200_000)),
    ('flagfile', '*/r2.flags', lambda c: c.replace(b'runs/a/', b'x' * 200_000)),  # a search took quadratic time
    ('results files, fused', '*', lambda c: c.replace(b'v1\t', b'v\0\t')),
    ('arrays of AffectNet', '*/0_exp.npy', lambda c: c[:-4] + b'\xff\xff\xff\x7f'),  # text with an invalid character
    ('arrays of AffectNet', '*/0_exp.npy', lambda c: c.replace(b'}', b' ')),  # a header that NumPy cannot parse
    ('feature store', '*.npy', lambda c: c.replace(b'}', b' ')),
    ('lists of FERV39k', '*/train_All.csv', lambda c: c.replace(b'0001', b'x' * 300)),
    ('lists of AffectNet', 'training.csv', lambda c: c.replace(b'training0', b'x' * 300)),
    ('list of RAF-DB', '*', lambda c: c.replace(b'train_00001', b'train_' + b'x' * 300)),
    ('record of preparation', '*', lambda c: c[:-1] + b', "x": ' + b'[' * 100_000),
    ('record of preparation', '*', lambda c: c.replace(b'["faces/1.jpg"], "clips"', b'[1], "clips"')),
    ('record of preparation', '*', lambda c: c.replace(b'["clips/1.csv"]', b'["clips/1.csv", "clips/2.csv"]')),
    ('frames.csv', '*/v0/frames.csv', lambda c: c.replace(b',no_face,', b',,')),
    ('frames.csv', '*/v0/frames.csv', lambda c: b',' * 200_000 + c),  # pandas needs quadratic time for nameless columns
    ('class_counts.json', '*', lambda c: c.replace(b': 5', b': 1e999')),
    ('class_counts.json', '*', lambda c: c.replace(b': 5', b': -5')),
    ('runs in a plan', '*/a.json', lambda c: c.replace(b'"6.2-t1-r1-seed0"', b'[]')),
    ('state of checkpoints', '*', lambda c: b'\xff' + c),
    ('state of checkpoints', '*', lambda c: c.replace(b'/model.ckpt', b'/' + b'm' * 3000)),  # too long a file name
    ('logs of a run that resumes', '*/train_log.csv', lambda c: c.replace(b',0.25,', b',,')),
    ('MatConvNet', '*', lambda c: c[:380] + b'\1' + c[381:]),  # one byte of dimensions crashes SciPy
    (
        'Keras model',
        '*',
        lambda c: c[: (at := c.index(b'GCOL') + 1400)] + bytes(200) + c[at + 200 :],
    ),  # HDF5 never ends
    ('ledger', '*', lambda c: c.replace(b',3,1.25', b',1000003,1.25')),  # the message named the manifest instead
    ('flagfile', '*/r2.flags', lambda c: c + b'--flagfile=/dev/zero\n'),  # it was read until memory was full
    ('frame cache', '*.index', lambda c: c.replace(b'"videos": 1', b'"videos": "1"')),
    ('images in folders', '*.bmp', lambda c: c[:18] + b'H\0?H' + c[22:]),  # too wide for OpenCV
    ('archives and pickles', '*.keras', lambda c: c.replace(b'PK\1\2\x14\3\x14', b'PK\1\2\x14\3\xff')),
]


@pytest.mark.parametrize(('name', 'pattern', 'damage'), FOUND)
def test_earlier_faults_stay_fixed(tmp_path, name, pattern, damage):
    paths = TARGETS[name].make(tmp_path)
    path = next(path for path in paths if path.match(pattern))
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    with patience():
        outcome, message = read(TARGETS[name].read, tmp_path, names_of(tmp_path, paths))
    assert outcome in ('read', 'refused'), f'{outcome}: {message}'


def read_damaged(folder: Path, jobs: dict[str, int]) -> tuple[Counter, list[str]]:
    """Reads damaged inputs in processes of their own. A process that dies is replaced by another.

    Args:
      folder: for the files.
      jobs: number of inputs of each target.

    Returns:
      Numbers of inputs by (target, outcome), and a line for each fault.
    """
    counts: Counter = Counter()
    findings: list[str] = []
    waiting = {name: [0, inputs] for name, inputs in jobs.items()}
    while waiting:
        root = folder / f'worker{len(findings)}'
        root.mkdir(parents=True)
        with open(root / 'stderr', 'w') as errors:
            worker = subprocess.Popen(
                [sys.executable, str(ROOT / 'tests' / 'fuzz_worker.py'), str(root), str(SEED), json.dumps(waiting)],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONDONTWRITEBYTECODE': '1'},
                cwd=ROOT,
                text=True,
            )
        current = None
        for line in worker.stdout:
            record = json.loads(line)
            if 'target' in record:
                current = record
                continue
            counts[current['target'], record['outcome']] += 1
            if record['outcome'] not in ('read', 'refused'):
                findings.append(f'{current}: {record["outcome"]}: {record["message"]}')
            _done(waiting, current)
            current = None
        code = worker.wait()
        if current is not None:
            counts[current['target'], 'crashed'] += 1
            errors_text = (root / 'stderr').read_text()[-2000:]
            findings.append(f'{current}: the process died, exit code {code}: {errors_text}')
            _done(waiting, current)
        elif waiting:
            raise AssertionError((root / 'stderr').read_text()[-3000:])
    return counts, findings


def _done(waiting: dict[str, list[int]], current: dict) -> None:
    """Removes an input from the inputs that are still to be read."""
    numbers = waiting[current['target']]
    numbers[0] = current['number'] + 1
    if numbers[0] == numbers[1]:
        del waiting[current['target']]
