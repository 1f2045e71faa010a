# SPDX-License-Identifier: Apache-2.0
"""Trains the starter set: python -m fer.demo.weights --fer2013=FOLDER, in the repository's root (make weights)

Prepares the data that --data does not hold yet, makes the runs of configs/open whose networks the set has, evaluates
them, and builds the files of the set. Each step is a command that anyone can type, printed before it runs. The same
command again resumes: prepared data, finished runs and evaluations are kept. It takes an hour on two cores.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags

from fer import cli
from fer.cpus import multiplies_bfloat16
from fer.demo.steps import step
from fer.errors import InputError
from fer.runs.names import FINISHED_FILE


class Recipe(NamedTuple):
    """The way to a network of the starter set."""

    dataset: str  # its folder below --data, its name in fer.prepare, and the flag that names its source
    prepare_flags: tuple[str, ...]
    splits: tuple[str, ...]  # names of manifests that preparation writes
    run: str  # of configs/open
    test: str  # the split that is looked at once the runs are finished


RECIPES = {
    'face': Recipe('fer2013', ('--detector=none',), ('train', 'val', 'test'), 'face-t1-r1', 'test'),
}
_CONFIGS = 'configs/open'

flags.DEFINE_string('fer2013', '', 'Folder of FER2013, which holds fer2013.csv. Not needed if --data has it prepared.')
flags.DEFINE_integer('seeds', 1, 'Number of seeds of each run. The network of seed 0 is built.', lower_bound=1)
flags.DEFINE_string('data', 'data', 'Folder of the prepared datasets.')
flags.DEFINE_string('runs', 'runs', 'Folder of the runs.')
flags.DEFINE_string('output', 'runs/starter', 'Folder to write the set to. The package has its own in fer/starter.')


def main() -> None:
    args = flags.FLAGS
    data = Path(args.data)
    for recipe in RECIPES.values():
        _check_data(recipe, data)
    for recipe in RECIPES.values():
        if _missing(recipe, data):
            settings = (f'--dataset={recipe.dataset}', *recipe.prepare_flags, f'--source={args[recipe.dataset].value}')
            step('-m', 'fer.prepare', *settings, f'--output={data / recipe.dataset}')
    overrides = [f'--overrides={_CONFIGS}/bfloat16.flags'] if multiplies_bfloat16() else []
    table = ','.join(recipe.run for recipe in RECIPES.values())
    places = (f'--data={data}', f'--runs={args.runs}', *overrides)
    step('-m', 'fer.experiment', 'run', f'--configs={_CONFIGS}', f'--table={table}', f'--seeds={args.seeds}', *places)
    for name, recipe in RECIPES.items():
        runs = [_find_run(Path(args.runs), f'{recipe.run}-seed{seed}') for seed in range(args.seeds)]
        for run_dir in runs:
            _evaluate(run_dir, data / recipe.dataset / f'{recipe.test}.txt', recipe.test)
        _build(name, runs, recipe.test)


def _missing(recipe: Recipe, data: Path) -> list[str]:
    """Returns the manifests of a recipe that are not there."""
    paths = [data / recipe.dataset / f'{split}.txt' for split in recipe.splits]
    return [str(path) for path in paths if not path.exists()]


def _check_data(recipe: Recipe, data: Path) -> None:
    """Raises InputError if a dataset is neither prepared nor has a source."""
    source = str(flags.FLAGS[recipe.dataset].value)
    missing = _missing(recipe, data)
    if missing and not source:
        files = ', '.join(missing)
        raise InputError(
            f'{files}: no such file; give --{recipe.dataset}, the dataset as published (docs/open-data.md)'
        )
    if missing and not Path(source).is_dir():
        raise InputError(f'--{recipe.dataset}={source}: no such folder; expected the dataset as it was published')


def _find_run(runs: Path, name: str) -> Path:
    """Returns the folder of a finished run."""
    (folder,) = runs.glob(f'*/*/{name}')
    return folder


def _evaluate(run_dir: Path, manifest: Path, split: str) -> None:
    """Evaluates a run on a split, unless the results of its checkpoint are there."""
    metrics = run_dir / f'metrics_{split}.json'
    checkpoint = json.loads((run_dir / FINISHED_FILE).read_text())['checkpoint']
    if not metrics.exists() or json.loads(metrics.read_text()).get('checkpoint') != checkpoint:
        step('evaluate.py', f'--run_dir={run_dir}', f'--manifest={manifest}', f'--split={split}')


def _build(name: str, runs: Sequence[Path], test: str) -> None:
    """Builds a network of the set from the run of seed 0. All runs give the scores of its card."""
    scored = ','.join(map(str, runs))
    step(
        *('-m', 'fer.starter', 'build', f'--name={name}', f'--run={runs[0]}', f'--scored_runs={scored}'),
        *(f'--test_split={test}', f'--output={flags.FLAGS.output}'),
    )


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
