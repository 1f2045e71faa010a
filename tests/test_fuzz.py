"""Whatever a file holds, reading it ends well, or in one line and exit code 2.

No traceback, no crash, no more than five seconds, no more than 2 GB, no code that a file brings, and nothing written
outside of the output folder. fuzz_targets.py has the kinds of files, fuzz_mutate.py what is done to them, and
fuzz_worker.py the process that reads them. FER_FUZZ_SEED=7 has other damage done.
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
SHARE = 600 / 20000  # of the inputs that the ordinary suite reads


def test_damaged_files(tmp_path):
    check({name: round(SHARE * target.inputs) for name, target in TARGETS.items()}, tmp_path, processes=1)


@pytest.mark.slow
def test_twenty_thousand_damaged_files(tmp_path):
    jobs = {name: target.inputs for name, target in TARGETS.items()}
    assert sum(jobs.values()) >= 20_000
    check(jobs, tmp_path, processes=2)


def check(jobs: dict[str, int], folder: Path, processes: int) -> None:
    """Reads so many damaged inputs of each target and prints what came of them."""
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


# What was found, made small: (target, of which file, damage).
FOUND: list[tuple[str, str, Callable[[bytes], bytes]]] = [
    ('manifest of both', '*', lambda c: c.replace(b'00001', b'9' * 5000)),  # Python reads 4300 digits
    ('manifest of faces', '*', lambda c: c.replace(b'faces/a/v0', 'faces/\x85a/v0'.encode(), 2)),  # a line break of C1
    ('ledger', '*', lambda c: b'x' * 200_000 + c),  # a field longer than csv takes, in the header
    ('results file', 'a/*', lambda c: bytes(3000) + c),  # thousands of characters that no terminal shows
    ('list for a submission', '*.csv', lambda c: c.replace(b'v0', b'v' * 200_000)),
    ('flagfile', '*/r2.flags', lambda c: c.replace(b'runs/a/', b'x' * 200_000)),  # a search that takes its square
    ('results files, fused', '*', lambda c: c.replace(b'v1\t', b'v\0\t')),
    ('arrays of AffectNet', '*/0_exp.npy', lambda c: c[:-4] + b'\xff\xff\xff\x7f'),  # text of no characters
    ('arrays of AffectNet', '*/0_exp.npy', lambda c: c.replace(b'}', b' ')),  # a header that NumPy cannot parse
    ('feature store', '*.npy', lambda c: c.replace(b'}', b' ')),
    ('lists of FERV39k', '*/train_All.csv', lambda c: c.replace(b'0001', b'x' * 300)),
    ('lists of AffectNet', 'training.csv', lambda c: c.replace(b'training0', b'x' * 300)),
    ('list of RAF-DB', '*', lambda c: c.replace(b'train_00001', b'train_' + b'x' * 300)),
    ('record of preparation', '*', lambda c: c[:-1] + b', "x": ' + b'[' * 100_000),
    ('record of preparation', '*', lambda c: c.replace(b'["faces/1.jpg"], "clips"', b'[1], "clips"')),
    ('record of preparation', '*', lambda c: c.replace(b'["clips/1.csv"]', b'["clips/1.csv", "clips/2.csv"]')),
    ('frames.csv', '*/v0/frames.csv', lambda c: c.replace(b',no_face,', b',,')),
    ('frames.csv', '*/v0/frames.csv', lambda c: b',' * 200_000 + c),  # pandas takes the square of columns without names
    ('class_counts.json', '*', lambda c: c.replace(b': 5', b': 1e999')),
    ('class_counts.json', '*', lambda c: c.replace(b': 5', b': -5')),
    ('runs in a plan', '*/a.json', lambda c: c.replace(b'"6.2-t1-r1-seed0"', b'[]')),
    ('state of checkpoints', '*', lambda c: b'\xff' + c),
    ('state of checkpoints', '*', lambda c: c.replace(b'/model.ckpt', b'/' + b'm' * 3000)),  # no file's name
    ('logs of a run that resumes', '*/train_log.csv', lambda c: c.replace(b',0.25,', b',,')),
    ('MatConvNet', '*', lambda c: c[:380] + b'\1' + c[381:]),  # one byte of dimensions; SciPy crashes of it
    ('Keras model', '*', lambda c: c[: (at := c.index(b'GCOL') + 1400)] + bytes(200) + c[at + 200 :]),  # HDF5: for ever
    ('ledger', '*', lambda c: c.replace(b',3,1.25', b',1000003,1.25')),  # named the manifest
    ('flagfile', '*/r2.flags', lambda c: c + b'--flagfile=/dev/zero\n'),  # read to the end of all memory
    ('frame cache', '*.json', lambda c: c.replace(b'"videos": 1', b'"videos": "1"')),
    ('images in folders', '*.bmp', lambda c: c[:18] + b'H\0?H' + c[22:]),  # wider than OpenCV counts
    ('archives and pickles', '*.keras', lambda c: c.replace(b'PK\1\2\x14\3\x14', b'PK\1\2\x14\3\xff')),
]


@pytest.mark.parametrize(('name', 'pattern', 'damage'), FOUND)
def test_what_was_found(tmp_path, name, pattern, damage):
    paths = TARGETS[name].make(tmp_path)
    path = next(path for path in paths if path.match(pattern))
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    with patience():
        how, said = read(TARGETS[name].read, tmp_path, names_of(tmp_path, paths))
    assert how in ('read', 'refused'), f'{how}: {said}'


def read_damaged(folder: Path, jobs: dict[str, int]) -> tuple[Counter, list[str]]:
    """Reads so many damaged inputs of each target in processes of their own; one that dies is followed by another.

    Returns:
      How many inputs of each target were read, and how many refused; and whatever else came of any.
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
            said = json.loads(line)
            if 'target' in said:
                current = said
                continue
            counts[current['target'], said['how']] += 1
            if said['how'] not in ('read', 'refused'):
                findings.append(f'{current}: {said["how"]}: {said["said"]}')
            _done(waiting, current)
            current = None
        code = worker.wait()
        if current is not None:
            counts[current['target'], 'crashed'] += 1
            said = (root / 'stderr').read_text()[-2000:]
            findings.append(f'{current}: the process died, exit code {code}: {said}')
            _done(waiting, current)
        elif waiting:
            raise AssertionError((root / 'stderr').read_text()[-3000:])
    return counts, findings


def _done(waiting: dict[str, list[int]], current: dict) -> None:
    """Takes an input from what waits."""
    numbers = waiting[current['target']]
    numbers[0] = current['number'] + 1
    if numbers[0] == numbers[1]:
        del waiting[current['target']]
