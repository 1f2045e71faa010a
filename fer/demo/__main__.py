"""The whole way on a drawn corpus: python -m fer.demo, in the repository's root (make demo).

Draws the corpus, prepares it, trains networks that differ by their seed, evaluates them, fuses them, and prints what
came out. Each step is a command that anyone can type, printed before it runs.
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

SIZES = {'train': 300, 'val': 90, 'test': 40}  # videos; AFEW has 773, 383 and 653

MARKER = 'DEMO.txt'  # only a folder with this file is emptied

flags.DEFINE_list('seeds', ['0', '1'], 'One network is trained for each of these seeds.')
flags.DEFINE_string('output', 'demo', 'Folder of the demo, emptied first if an earlier demo is in it.')


def main() -> None:
    began = time.monotonic()
    output = Path(flags.FLAGS.output)
    raw, data = output / 'raw', output / 'data'
    if output.exists() and not (output / MARKER).exists() and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(f'--output={output}: is not an earlier demo; expected a new or empty folder')
    for name in ('raw', 'data', 'runs', 'fusion'):
        shutil.rmtree(output / name, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / MARKER) as file:
        file.write('Written by python -m fer.demo, which empties this folder when it runs again.\n')

    step('-m', 'fer.prepare.synthetic', f'--output={raw}', *(f'--{split}_videos={n}' for split, n in SIZES.items()))
    # The drawn faces fill a small picture, so the crop keeps nothing around them.
    # Its networks have no ears yet: no functionals, which take longest.
    detector = ('--detector=skin', '--image_size=64', '--margin=0', '--audio_features=clips')
    step('-m', 'fer.prepare', '--dataset=afew', f'--source={raw}', f'--output={data}', *detector)
    manifests = (f'--train_manifest={data / "train.txt"}', f'--val_manifest={data / "val.txt"}')
    runs = {seed: output / 'runs' / 'finetune' / 'vgg_face' / f'seed{seed}' for seed in flags.FLAGS.seeds}

    def train_and_evaluate(seed: str) -> None:
        run, label = runs[seed], f'seed {seed} | '
        settings = ('--flagfile=configs/demo/vgg_face.flags', f'--seed={seed}')
        step('train.py', *settings, *manifests, f'--run_dir={run}', label=label)
        for split in ('val', 'test'):
            data_flags = (f'--manifest={data / split}.txt', f'--split={split}')
            step('evaluate.py', f'--run_dir={run}', *data_flags, label=label)

    # Two at a time: so narrow a network leaves the second core idle.
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(train_and_evaluate, runs))
    results = ','.join(str(run / 'results_val.txt') for run in runs.values())
    fusions = []
    for method in (1, 2, 3):
        fusions.append(output / 'fusion' / f'method{method}')
        step('fusion.py', f'--results={results}', f'--method={method}', f'--output={fusions[-1]}')
    print_table([*runs.values()], fusions)
    print(f'\n{time.monotonic() - began:.0f} s in all')


def print_table(runs: list[Path], fusions: list[Path]) -> None:
    """What each run and each fusion scored on validation, and where its pictures are."""
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
