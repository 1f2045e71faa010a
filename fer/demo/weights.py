# SPDX-License-Identifier: Apache-2.0
"""Trains the starter set: python -m fer.demo.weights --fer2013=FOLDER --ravdess=FOLDER (make weights)

Run it in the repository's root. Prepares the data that --data does not hold yet, makes the runs of configs/open whose
networks the set has, evaluates them, and builds the files of the set. Each step is a command that anyone can type,
printed before it runs. The same command again resumes: prepared data, finished runs and evaluations are kept. It takes
an hour on two cores.
"""

import functools
import json
from pathlib import Path

from absl import flags

from fer import cli
from fer.cpus import multiplies_bfloat16
from fer.demo.recipes import RECIPES, Recipe
from fer.demo.steps import step
from fer.errors import InputError
from fer.runs.names import FINISHED_FILE

_CONFIGS = 'configs/open'

flags.DEFINE_string('fer2013', '', 'Folder of FER2013, which holds fer2013.csv. Not needed if --data has it prepared.')
flags.DEFINE_string('ravdess', '', "Folder of RAVDESS' speech. Not needed if --data has it prepared.")
flags.DEFINE_integer('seeds', 1, 'Number of seeds of each run. The network of seed 0 is built.', lower_bound=1)
flags.DEFINE_string('data', 'data', 'Folder of the prepared datasets.')
flags.DEFINE_string('runs', 'runs', 'Folder of the runs.')
flags.DEFINE_string('output', 'runs/starter', 'Folder to write the set to. The package has its own in fer/starter.')


def main() -> None:
    args = flags.FLAGS
    data, recipes = Path(args.data), RECIPES.values()
    for recipe in recipes:
        _check_data(recipe, data)
    for recipe in recipes:
        if _missing(recipe, data):
            settings = (f'--dataset={recipe.dataset}', *recipe.prepare_flags, f'--source={args[recipe.dataset].value}')
            step('-m', 'fer.prepare', *settings, f'--output={data / recipe.folder}')
    overrides = [f'--overrides={_CONFIGS}/bfloat16.flags'] if multiplies_bfloat16() else []
    tables = ','.join(dict.fromkeys(name for recipe in recipes for name in (recipe.built, *recipe.scored)))
    places = (f'--data={data}', f'--runs={args.runs}', *overrides)
    step('-m', 'fer.experiment', 'run', f'--configs={_CONFIGS}', f'--table={tables}', f'--seeds={args.seeds}', *places)
    for name, recipe in RECIPES.items():
        for run_dir in _find_runs(recipe.evaluation.run):
            _evaluate(run_dir, data / recipe.folder / recipe.evaluation.manifest, recipe.evaluation.split)
        _build(name, recipe)


def _missing(recipe: Recipe, data: Path) -> list[str]:
    """Returns the manifests of a recipe that are not there."""
    paths = [data / recipe.folder / manifest for manifest in recipe.manifests]
    return [str(path) for path in paths if not path.exists()]


def _check_data(recipe: Recipe, data: Path) -> None:
    """Raises InputError if a dataset is neither prepared nor has a source."""
    source = str(flags.FLAGS[recipe.dataset].value)
    missing = _missing(recipe, data)
    if missing and not source:
        more = f' (and {len(missing) - 1} more)' if missing[1:] else ''
        raise InputError(
            f'{missing[0]}{more}: no such file; give --{recipe.dataset}, its folder as published (docs/open-data.md)'
        )
    if missing and not Path(source).is_dir():
        raise InputError(f'--{recipe.dataset}={source}: no such folder; expected the dataset as it was published')


def _find_runs(name: str) -> list[Path]:
    """Returns the folders of a run, which are finished, by seed."""
    found: list[Path] = []
    for seed in range(flags.FLAGS.seeds):
        found += Path(flags.FLAGS.runs).glob(f'*/*/{name}-seed{seed}')
    return found


def _evaluate(run_dir: Path, manifest: Path, split: str) -> None:
    """Evaluates a run on a split, unless the results of its checkpoint are there."""
    metrics = run_dir / f'metrics_{split}.json'
    checkpoint = json.loads((run_dir / FINISHED_FILE).read_text())['checkpoint']
    if not metrics.exists() or json.loads(metrics.read_text()).get('checkpoint') != checkpoint:
        step('evaluate.py', f'--run_dir={run_dir}', f'--manifest={manifest}', f'--split={split}')


def _build(name: str, recipe: Recipe) -> None:
    """Builds a network of the set from the run of seed 0."""
    scored = ','.join(str(run_dir) for one in recipe.scored for run_dir in _find_runs(one))
    splits = (f'--val_split={recipe.val_split}', f'--test_split={recipe.test_split}')
    runs = (f'--run={_find_runs(recipe.built)[0]}', f'--scored_runs={scored}')
    step('-m', 'fer.starter', 'build', f'--name={name}', *runs, *splits, f'--output={flags.FLAGS.output}')


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
