# SPDX-License-Identifier: Apache-2.0
"""Measures the gain of each stage on synthetic videos, over seeds: python -m tests.benchmarks.stages --output=FOLDER

There are seven models: the CNN with a loss per frame, the CNN with a loss per window, a GRU and a bidirectional GRU on
the second CNN, the two audio networks, and early fusion of option 2, which joins the second CNN with the audio GRU.
Every model of a seed starts from runs of that seed. The table has each model's accuracy as mean, standard deviation and
extremes over the seeds. It also has the gain of a model over the best of its parts, paired by seed, because the CNNs of
different seeds differ by more than the gain.

Every run is also scored on the corpus's hold-out, whose videos have labels here. So late fusion can be judged on videos
that no model was fitted to (fusion.py --search).

Finished runs are kept, so the command can be stopped and repeated. Two runs train at a time, each on one thread.
"""

import csv
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from absl import flags

from fer import cli, emotions
from fer.errors import InputError
from fer.manifest import ledger_path, read_ledger, read_manifest, write_ledger, write_manifest
from fer.prepare.synthetic.corpus import LABELS_FILE
from fer.progress import progress

flags.DEFINE_string('output', 'demo/stages', 'Folder of the corpus, the runs and the table.')
flags.DEFINE_list('seeds', ['0', '1', '2', '3', '4'], 'Seeds. Each trains all models.')

SIZES = {'train': 400, 'val': 200, 'test': 200}  # videos
SPLITS = ('val', 'holdout')


class Model(NamedTuple):
    settings: str  # below configs/demo
    manifests: str  # ends the names of its manifests
    flags: tuple[str, ...] = ()
    parts: dict[str, str] = {}  # noqa: RUF012 (never changed): {flag: model whose run of the same seed is its value}


MODELS = {
    'CNN per frame': Model('vgg_face', '', ('--classify=frame',)),
    'CNN window mean': Model('vgg_face', ''),
    'audio FFN': Model('ffn', '_functionals'),
    'audio GRU': Model('audio_gru', '_clips'),
    'CNN + GRU': Model('temporal', '', parts={'init_from': 'CNN window mean'}),
    'CNN + BGRU': Model('temporal', '', ('--bidirectional',), {'init_from': 'CNN window mean'}),
    'early fusion 2': Model(
        'early_fusion', '_audiovisual', parts={'init_from': 'CNN window mean', 'audio_run_dir': 'audio GRU'}
    ),
}


def main() -> None:
    output = Path(flags.FLAGS.output)
    output.mkdir(parents=True, exist_ok=True)
    data = make_corpus(output)
    with (
        ThreadPoolExecutor(2) as pool,
        progress(total=len(MODELS) * len(flags.FLAGS.seeds), label='runs', unit='run') as bar,
    ):

        def make_all(seed: str) -> None:
            for name in MODELS:  # parts come before the models made of them
                make(output, data, name, seed)
                bar.update()

        list(pool.map(make_all, flags.FLAGS.seeds))
    table = report(output, flags.FLAGS.seeds)
    (output / 'stages.md').write_text(table)
    print(table)


def make_corpus(output: Path) -> Path:
    """Makes and prepares the corpus. Both commands continue where they were stopped. Returns the prepared folder."""
    raw, data = output / 'raw', output / 'data'
    if not (data / 'val_functionals.txt').exists():
        sizes = (f'--{split}_videos={number}' for split, number in SIZES.items())
        step('-m', 'fer.prepare.synthetic', f'--output={raw}', '--overwrite', *sizes)
        step(
            *('-m', 'fer.prepare', '--dataset=afew', f'--source={raw}', f'--output={data}', '--detector=skin'),
            *('--image_size=64', '--margin=0', '--jobs=2'),
        )
    with open(raw / LABELS_FILE, newline='') as file:
        labels = {row['video_id']: emotions.from_name(row['label']) for row in csv.DictReader(file)}
    for ending in {model.manifests for model in MODELS.values()}:
        label_holdout(data / f'test{ending}.txt', data / f'holdout{ending}.txt', labels)
    return data


def label_holdout(source: Path, target: Path, labels: dict[str, int]) -> None:
    """Writes a copy of an unlabelled manifest and its ledger, with labels."""
    manifest = read_manifest(source, item='video' if source.stem.endswith('_functionals') else 'frame')
    rows = []
    for video in manifest.videos:
        columns = [column for column in (video.audio, video.frames) if column]
        rows += [(*paths, emotions.to_one_hot(labels[video.video_id])) for paths in zip(*columns, strict=True)]
    write_manifest(target, rows)
    write_ledger(ledger_path(target), [row._replace(label=labels[row.video_id]) for row in read_ledger(manifest)])


def run_dir(output: Path, name: str, seed: str) -> Path:
    return output / 'runs' / name.replace(' ', '_').replace('+', 'and') / f'seed{seed}'


def make(output: Path, data: Path, name: str, seed: str) -> None:
    """Trains a model and scores it on validation and hold-out, unless that is done."""
    model, folder = MODELS[name], run_dir(output, name, seed)
    parts = (f'--{flag}={run_dir(output, part, seed)}' for flag, part in model.parts.items())
    manifests = {split: data / f'{split}{model.manifests}.txt' for split in ('train', *SPLITS)}
    if not (folder / 'curves.png').exists():  # the last file of a run but one
        step(
            *('train.py', f'--flagfile=configs/demo/{model.settings}.flags', *model.flags, *parts, f'--seed={seed}'),
            *(f'--train_manifest={manifests["train"]}', f'--val_manifest={manifests["val"]}'),
            *(f'--run_dir={folder}', '--resume'),
        )
    for split in SPLITS:
        if not (folder / f'metrics_{split}.json').exists():
            step('evaluate.py', f'--run_dir={folder}', f'--manifest={manifests[split]}', f'--split={split}')


def step(*arguments: str) -> None:
    environment = {**os.environ, 'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    # fer.prepare exits with 1 if a video cannot be used, and the corpus has clips without a face.
    if done.returncode and not (done.returncode == 1 and arguments[1] == 'fer.prepare'):
        raise InputError(f'python {" ".join(arguments)}: exit code {done.returncode}\n{done.stderr[-2000:]}')


def report(output: Path, seeds: list[str]) -> str:
    """Returns a Markdown table of the models."""
    accuracy = {
        (name, split): [
            100 * json.loads((run_dir(output, name, seed) / f'metrics_{split}.json').read_text())['accuracy']
            for seed in seeds
        ]
        for name in MODELS
        for split in SPLITS
    }
    heads = [f'{split}, %, {len(seeds)} seeds | {split}, over the best of its parts' for split in SPLITS]
    lines = [f'| model | {" | ".join(heads)} |', '|---|---|---|---|---|']
    for name, model in MODELS.items():
        cells = []
        for split in SPLITS:
            parts = [accuracy[part, split] for part in model.parts.values()]
            gains = [o - max(p) for o, *p in zip(accuracy[name, split], *parts, strict=True)] if parts else []
            cells += [spread(accuracy[name, split]), spread(gains, '+') if gains else '']
        lines.append(f'| {name} | {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def spread(values: list[float], sign: str = '') -> str:
    """Returns text such as `48.3 +- 1.9 (45.5 to 50.0)`."""
    deviation = f' +- {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):{sign}.1f}{deviation} ({min(values):{sign}.1f} to {max(values):{sign}.1f})'


if __name__ == '__main__':
    cli.run(main)
