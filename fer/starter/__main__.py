# SPDX-License-Identifier: Apache-2.0
"""Lists, unpacks and builds the networks that the package brings: python -m fer.starter [VERB]

The verb is one of
  list      prints a row of each network's card (the default)
  unpack    writes an ordinary run folder: --name=face --run_dir=DIR. evaluate.py, fusion.py and fer.extract take it
  build     makes a network from finished runs: --name=face --run=RUN --output=fer/starter

train.py and fer.extract take the networks by name, without unpacking: --init_from=starter:face. Exit codes: 0 done,
2 bad input and nothing written.
"""

import functools
from pathlib import Path

from absl import flags

from fer import cli
from fer.errors import InputError

flags.DEFINE_string('name', None, 'unpack, build: face or voice. unpack takes the folder of a network too.')
flags.DEFINE_string('run_dir', None, 'unpack: the folder to write.')
flags.DEFINE_string('run', None, 'build: folder of the finished run whose network is built. It has been evaluated.')
flags.DEFINE_list(
    'scored_runs',
    [],
    'build: folders of runs of the same recipe, each evaluated on --val_split and --test_split: other seeds, or other '
    'folds. Empty: --run.',
)
flags.DEFINE_string(
    'val_split',
    'val',
    'build: name of the results that temperatures are fitted on. Empty: on the tests of the other folds.',
)
flags.DEFINE_string('test_split', 'test', 'build: name of the results that are scored.')
flags.DEFINE_string('dataset', '', 'build: dataset of the run, if its data were not prepared by fer.prepare.')
flags.DEFINE_string('output', 'fer/starter', 'build: folder of the set. The network gets a folder of its name there.')


def main(verb: str) -> None:
    # Imported here, because TensorFlow takes seconds to import and --help does not need it.
    if verb == 'list':
        from fer.starter.listing import describe_cards, read_cards

        print('\n'.join(describe_cards(read_cards())))
    elif verb == 'unpack':
        name, run_dir = _get('unpack', 'name'), Path(_get('unpack', 'run_dir'))
        from fer.starter.listing import locate
        from fer.starter.network import unpack

        unpack(locate(name), run_dir)
        print(f'run: {run_dir}')
    else:
        args, name, run_dir = flags.FLAGS, _get('build', 'name'), Path(_get('build', 'run'))
        from fer.nets.weights.starter import read_card
        from fer.starter.build import BuildRequest, build

        scored = tuple(map(Path, args.scored_runs)) or (run_dir,)
        splits = (args.val_split, args.test_split)
        folder = build(BuildRequest(name, run_dir, scored, *splits, args.dataset, Path(args.output)))
        print(f'{folder}: {read_card(folder)["summary"]}')


def _get(verb: str, name: str) -> str:
    """Returns the value of a flag that the verb needs."""
    value = flags.FLAGS[name].value
    if not value:
        raise InputError(f'{verb}: --{name} is not given; see python -m fer.starter --help')
    return str(value)


run = functools.partial(cli.run_verb, main, ('list', 'unpack', 'build'), default='list')

if __name__ == '__main__':
    run()
