# SPDX-License-Identifier: Apache-2.0
"""Compares how fast fresh networks learn with PyTorch: python -m tests.benchmarks.learning --data=data/fer2013

  python -m tests.benchmarks.learning [--networks=resnet50] [--seeds=3] [--epochs=3] [--images=4800]
  python -m tests.benchmarks.learning --initialisers=fan_out,fan_in --seeds=1

Each network trains from fresh weights with train.py, and its twin of torchvision or timm trains in PyTorch. Both sides
have the same images, batches of one size, Adam and the pooled last map. Each side has its own start, its own shuffling
and its own decay of batch normalisation's averages, because these are part of what is compared. There is no
augmentation. Where the CPU multiplies bfloat16, both sides use it.

The table has the training loss and the validation accuracy of each epoch, as mean and standard deviation over seeds.
Below it is the difference of the accuracies after the last epoch.

Finished runs are kept in --output, one for each network, side and seed, so the command can be stopped and repeated. A
ResNet-50 takes half an hour for three epochs of FER2013 at 48 pixels on two cores, on each side and for each seed.
VGG-Face takes twice as long. PyTorch has its own environment (python -m tests.benchmarks.torch_venv).
"""

import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from fer import cli
from fer.emotions import to_one_hot
from fer.errors import InputError
from fer.files import atomic_write
from fer.manifest import read_manifest, write_manifest
from fer.runs.logs import read_log
from fer.runs.names import TRAIN_LOG, VALIDATION_LOG
from fer.settings import settings_of
from tests.benchmarks import torch_venv

TWINS = {  # by --model
    'resnet18': 'torchvision.resnet18',
    'resnet50': 'torchvision.resnet50',
    'vgg_face': 'torchvision.vgg16',
    'densenet121': 'torchvision.densenet121',
    'se_resnet50': 'timm.seresnet50',
    'se_resnext50': 'timm.seresnext50_32x4d',
    'nasnet': 'timm.nasnetalarge',
}
PYTORCH = 'PyTorch'

flags.DEFINE_string('data', 'data/fer2013', 'Folder with train.txt and val.txt, manifests of stills.')
flags.DEFINE_string('output', 'demo/learning', 'Folder of the runs. Finished ones are kept.')
flags.DEFINE_list('networks', ['resnet50', 'vgg_face', 'densenet121'], f'Some of {", ".join(TWINS)}.')
flags.DEFINE_list('initialisers', [], 'Values of --initialiser, each a side of ours. Default: that of train.py.')
flags.DEFINE_integer('seeds', 3, 'Number of seeds, from 0.', lower_bound=1)
flags.DEFINE_integer('epochs', 3, 'Epochs of each run.', lower_bound=1)
flags.DEFINE_integer('images', 0, 'Training images, evenly spread over their manifest. 0: all.', lower_bound=0)
flags.DEFINE_integer('image_size', 48, 'Height and width of the images.', lower_bound=32)
flags.DEFINE_integer('batch_size', 64, 'Images per step.', lower_bound=2)
flags.DEFINE_float('learning_rate', 1e-3, "Adam's learning rate, constant.")
flags.DEFINE_integer('threads', 0, 'Threads of each run. 0: one per core.', lower_bound=0)
flags.DEFINE_bool('ours_only', False, 'Do without PyTorch.')


class Epoch(NamedTuple):
    loss: float  # mean over the steps
    accuracy: float  # on validation, in percent


class Material(NamedTuple):
    """The images of a comparison."""

    manifests: dict[str, Path]  # of train and val
    arrays: Path  # the same images, for PyTorch


def main() -> None:
    values = flags.FLAGS
    for name in values.networks:
        if name not in TWINS:
            raise InputError(f'--networks={name}: expected some of {", ".join(TWINS)}')
    if not values.ours_only and not torch_venv.PYTHON.exists():
        raise InputError(
            f'{torch_venv.PYTHON}: not found; run python -m tests.benchmarks.torch_venv first, or give --ours_only'
        )
    output, bfloat16 = Path(values.output).absolute(), has_bfloat16()
    material = collect(Path(values.data), output, values.images, values.image_size)
    for network in values.networks:
        sides = ours(network) if values.ours_only else [*ours(network), PYTORCH]
        found: dict[str, list[list[Epoch]]] = {side: [] for side in sides}
        for seed in range(values.seeds):  # sides take turns, so that a stopped comparison has equal numbers of seeds
            for side in sides:
                found[side].append(run(network, side, seed, material, output, bfloat16))
        print_table(network, found, bfloat16=bfloat16)


def ours(network: str) -> list[str]:
    """Returns the values of --initialiser that train.py runs with."""
    from fer.nets import default_initialiser
    from fer.runs.config import TrainConfig

    one = settings_of(TrainConfig)['initialiser']
    for name in flags.FLAGS.initialisers:
        one.check(name)
    return flags.FLAGS.initialisers or [default_initialiser(network)]


def has_bfloat16() -> bool:
    """Returns whether train.py accepts --mixed_precision on this machine's CPU."""
    from fer.training.session import SessionSettings, check_session

    try:
        check_session(SessionSettings(mixed_precision=True))
    except InputError:
        return False
    return True


def collect(data: Path, output: Path, images: int, size: int) -> Material:
    """Writes the manifests of the images to train and to score on, and their pixels as arrays, unless they exist.

    A manifest may have its images in the order of classes, so a part of them is spread over it.

    Args:
      data: folder of train.txt and val.txt.
      output: folder to write to.
      images: number of training images, 0 for all.
      size: height and width.
    """
    from fer.data.images import decode_all

    folder = output / f'{data.absolute().name}_{images or "all"}_{size}px'
    material = Material({split: folder / f'{split}.txt' for split in ('train', 'val')}, folder / 'images.npz')
    if material.arrays.exists():  # written last
        return material
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, manifest in material.manifests.items():
        videos = read_manifest(data / f'{split}.txt', item='still').videos
        if images > len(videos) and split == 'train':
            raise InputError(f'--images={images}: {data / "train.txt"} has {len(videos)}; expected at most as many')
        if images and split == 'train':
            videos = [videos[index] for index in np.linspace(0, len(videos) - 1, images).astype(int)]
        paths = [video.frames[0] for video in videos]
        write_manifest(manifest, [(v.frames[0], to_one_hot(v.label)) for v in videos])
        arrays[f'{split}_images'] = np.stack(list(decode_all(paths, size)))
        arrays[f'{split}_labels'] = np.array([video.label for video in videos], np.int64)
    with atomic_write(material.arrays, 'wb') as file:
        np.savez(file, **arrays)
    return material


def run(network: str, side: str, seed: int, material: Material, output: Path, bfloat16: bool) -> list[Epoch]:
    """Trains one side, unless that is done. Returns its epochs.

    Raises:
      InputError: the side was trained with other settings.
    """
    values, path = flags.FLAGS, output / 'runs' / network / side / f'seed{seed}.json'
    settings = {
        **{'data': str(material.arrays), 'twin': TWINS[network], 'seed': seed, 'epochs': values.epochs},
        **{'batch': values.batch_size, 'rate': values.learning_rate, 'threads': values.threads, 'bfloat16': bfloat16},
    }
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        if side == PYTORCH:
            epochs = train_twin(settings)
        else:
            epochs = train_ours(network, side, settings, material, path.with_suffix(''))
        with atomic_write(path) as file:
            json.dump({'settings': settings, 'epochs': [epoch._asdict() for epoch in epochs]}, file, indent=1)
    result = json.loads(path.read_text())
    if result['settings'] != settings:
        raise InputError(f'{path}: made with {result["settings"]}, expected {settings}; choose another --output')
    return [Epoch(**row) for row in result['epochs']]


def train_twin(settings: dict[str, Any]) -> list[Epoch]:
    """Trains with PyTorch."""
    script = Path(__file__).with_name('learning_twin.py')
    rows = json.loads(step(torch_venv.PYTHON, script, json.dumps(settings)).splitlines()[-1])
    return [Epoch(row['loss'], 100 * row['correct'] / row['total']) for row in rows]


def train_ours(
    network: str, initialiser: str, settings: dict[str, Any], material: Material, folder: Path
) -> list[Epoch]:
    """Trains with train.py, which resumes a stopped run."""
    threads = settings['threads']
    step(
        *(sys.executable, '-m', 'fer.commands.train', '--stage=pretrain', f'--model={network}', '--global_pool'),
        *(f'--{split}_manifest={path}' for split, path in material.manifests.items()),
        *(f'--image_size={flags.FLAGS.image_size}', f'--batch_size={settings["batch"]}'),
        *(f'--learning_rate={settings["rate"]}', '--lr_schedule=static', f'--train_epochs={settings["epochs"]}'),
        *(f'--initialiser={initialiser}', f'--mixed_precision={settings["bfloat16"]}', f'--seed={settings["seed"]}'),
        *(f'--intra_op_threads={threads}', f'--inter_op_threads={threads}', f'--run_dir={folder}', '--resume'),
    )
    steps, scores = read_log(folder / TRAIN_LOG), read_log(folder / VALIDATION_LOG)
    losses: dict[str, list[float]] = {epoch: [] for epoch in scores['epoch']}
    for epoch, loss in zip(steps['epoch'], steps['loss'], strict=True):
        losses[epoch].append(float(loss))
    counts = zip(scores['epoch'], scores['correct'], scores['total'], strict=True)
    return [Epoch(statistics.mean(losses[epoch]), 100 * int(c) / int(t)) for epoch, c, t in counts]


def step(*command: str | Path) -> str:
    """Runs a command. Returns its output."""
    words = [str(word) for word in command]
    print(f'$ {" ".join(words)}', file=sys.stderr, flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise InputError(f'{words[0]} {words[1]}: ended with exit code {done.returncode}; see above')
    return done.stdout


def print_table(network: str, found: dict[str, list[list[Epoch]]], *, bfloat16: bool) -> None:
    """Prints the epochs of each side over its seeds, and the differences after the last epoch."""
    values = flags.FLAGS
    print(
        f'\n{network}, {values.images or "all"} images of {values.image_size} pixels, batches of {values.batch_size}, '
        f'Adam at {values.learning_rate:g}, {"bfloat16" if bfloat16 else "float32"}, {values.seeds} seeds'
    )
    heads = [f'epoch {number}: {what}' for number in range(1, values.epochs + 1) for what in ('loss', '%')]
    lines = [f'| side | {" | ".join(heads)} |', '|---' * (len(heads) + 1) + '|']
    for side, runs in found.items():
        cells = []
        for epoch in zip(*runs, strict=True):
            cells += [spread([one.loss for one in epoch], 2), spread([one.accuracy for one in epoch], 1)]
        lines.append(f'| {side} | {" | ".join(cells)} |')
    print('\n'.join(lines))
    last = {side: [run[-1].accuracy for run in runs] for side, runs in found.items()}
    for side in [side for side in last if side != PYTORCH] if PYTORCH in last else ():
        difference = statistics.mean(last[side]) - statistics.mean(last[PYTORCH])
        print(f'{side} - {PYTORCH}: {difference:+.1f} points{describe_error(last[side], last[PYTORCH])}', flush=True)


def describe_error(first: list[float], second: list[float]) -> str:
    """Returns the standard error of the difference of two means, in words, or nothing for single values."""
    if len(first) < 2:
        return ''
    variance = sum(statistics.variance(values) / len(values) for values in (first, second))
    return f' (standard error {math.sqrt(variance):.1f})'


def spread(values: list[float], digits: int) -> str:
    """Returns text such as `44.7 +- 1.2`, mean and standard deviation."""
    deviation = f' +- {statistics.stdev(values):.{digits}f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.{digits}f}{deviation}'


if __name__ == '__main__':
    cli.run(main)
