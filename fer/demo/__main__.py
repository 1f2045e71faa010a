# SPDX-License-Identifier: Apache-2.0
"""Demonstrates the whole system on a synthetic corpus: python -m fer.demo, in the repository's root (make demo).

Makes the corpus, prepares it, trains networks that differ by their seed, evaluates and fuses them, and prints the
scores. Each step is a command that anyone can type, printed before it runs.
"""

import functools
import json
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import flags

from fer import cli
from fer.demo.steps import step
from fer.errors import InputError
from fer.files import atomic_write
from fer.results.metrics import summary

SIZES = {'train': 300, 'val': 90, 'test': 40}  # videos (AFEW has 773, 383 and 653)

MARKER = 'DEMO.txt'  # only a folder with this file is emptied

flags.DEFINE_list('seeds', ['0', '1'], 'Seeds to train with. Each gives a network.')
flags.DEFINE_string('output', 'demo', 'Folder of the demo. An earlier demo in it is deleted first.')


def main() -> None:
    began = time.monotonic()
    output = Path(flags.FLAGS.output)
    _clear(output)
    data = output / 'data'
    _prepare(output / 'raw', data)
    runs = {seed: output / 'runs' / 'finetune' / 'vgg_face' / f'seed{seed}' for seed in flags.FLAGS.seeds}
    # Two at a time, because one such narrow network does not use both cores.
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(functools.partial(_train_and_evaluate, data), runs, runs.values()))
    fusions = _fuse([*runs.values()], output / 'fusion')
    print_table([*runs.values()], fusions)
    print(f'\n{time.monotonic() - began:.0f} s in all')


def _clear(output: Path) -> None:
    """Empties the folder of an earlier demo, or makes it."""
    if output.exists() and not (output / MARKER).exists() and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(f'--output={output}: not an earlier demo; expected a new or empty folder')
    for name in ('raw', 'data', 'runs', 'fusion'):
        shutil.rmtree(output / name, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / MARKER) as file:
        file.write('Written by python -m fer.demo, which empties this folder when it runs again.\n')


def _prepare(raw: Path, data: Path) -> None:
    """Makes a synthetic corpus and prepares it as AFEW."""
    step('-m', 'fer.prepare.synthetic', f'--output={raw}', *(f'--{split}_videos={n}' for split, n in SIZES.items()))
    # The synthetic faces fill a small picture, so the crop needs no margin. The networks of this demo use no audio, so
    # functionals, the slowest features, are left out.
    settings = ('--detector=skin', '--image_size=64', '--margin=0', '--audio_features=clips')
    step('-m', 'fer.prepare', '--dataset=afew', f'--source={raw}', f'--output={data}', *settings)


def _train_and_evaluate(data: Path, seed: str, run: Path) -> None:
    """Trains a network with one seed and evaluates it on validation and test set."""
    label = f'seed {seed} | '
    settings = ('--flagfile=configs/demo/vgg_face.flags', f'--seed={seed}')
    manifests = (f'--train_manifest={data / "train.txt"}', f'--val_manifest={data / "val.txt"}')
    step('train.py', *settings, *manifests, f'--run_dir={run}', label=label)
    for split in ('val', 'test'):
        data_flags = (f'--manifest={data / split}.txt', f'--split={split}')
        step('evaluate.py', f'--run_dir={run}', *data_flags, label=label)


def _fuse(runs: list[Path], output: Path) -> list[Path]:
    """Fuses the runs by three methods and returns a folder for each."""
    results = ','.join(str(run / 'results_val.txt') for run in runs)
    fusions = []
    for method in (1, 2, 3):
        fusions.append(output / f'method{method}')
        step('fusion.py', f'--results={results}', f'--method={method}', f'--output={fusions[-1]}')
    return fusions


def print_table(runs: list[Path], fusions: list[Path]) -> None:
    """Prints the validation scores of each run and fusion, and the files of their pictures."""
    metrics = {folder: json.loads((folder / 'metrics_val.json').read_text()) for folder in [*runs, *fusions]}
    first = metrics[runs[0]]
    largest = max(row['support'] for row in first['per_class'].values())
    print(f'\nValidation, all {first["total"]} official videos, those without a face included')
    print(f'always naming the largest class: {largest}/{first["total"]} = {largest / first["total"]:.1%}')
    for folder, row in metrics.items():
        print(f'{folder}\n    {summary(row)}')
    accuracies = [100 * metrics[run]['accuracy'] for run in runs]
    if len(runs) > 1:
        mean, spread = statistics.mean(accuracies), statistics.stdev(accuracies)
        print(f'single networks: mean {mean:.1f}%, standard deviation {spread:.1f} over {len(runs)} seeds')
    print('\nCurves and confusion matrices')
    for folder in metrics:
        for name in ('curves.png', 'confusion_val.png'):
            if (folder / name).exists():
                print(f'    {folder / name}')


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
