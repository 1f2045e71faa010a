# SPDX-License-Identifier: Apache-2.0
"""Makes all runs of chapter 6 on a synthetic corpus: python -m fer.demo.tables, in the repository's root.

Trains every run of the tables, and the runs that it starts from, with a narrow network for two steps. Then fuses them
and writes one report (make tables-demo). This tests that each flagfile runs and each number reaches its cell. The
numbers have no meaning. Finished runs are not repeated, so the command can be stopped and started again.
"""

import functools
from pathlib import Path

from absl import flags

from fer import cli, emotions
from fer.demo.steps import step
from fer.manifest import read_manifest, write_manifest
from fer.runs.default_data import STILLS

SIZES = {'train': 40, 'val': 20, 'test': 4}  # videos (the largest batch of 6.4 has 32)
NOTE = (
    'Synthetic faces and voices, networks a twentieth as wide, fresh weights and two steps for each run. This page '
    'shows that the software works. Its numbers have no meaning for the dissertation or the networks.'
)

flags.DEFINE_string('output', 'demo/tables', 'Folder of the corpus, the runs and the report.')
flags.DEFINE_list('table', ['all'], 'Tables to make, as in fer.experiment.')
flags.DEFINE_integer('jobs', 2, 'Number of runs at the same time.', lower_bound=1)


def main() -> None:
    output = Path(flags.FLAGS.output)
    raw, data, runs = output / 'raw', output / 'data', output / 'runs'
    if not (data / 'afew' / 'val_functionals.txt').exists():
        sizes = (f'--{split}_videos={number}' for split, number in SIZES.items())
        step('-m', 'fer.prepare.synthetic', f'--output={raw}', '--overwrite', *sizes)
        settings = ('--detector=skin', '--image_size=32', '--margin=0', '--clip_context=isolated')
        step('-m', 'fer.prepare', '--dataset=afew', f'--source={raw}', f'--output={data / "afew"}', *settings)
    make_stills(data)
    step(
        *('-m', 'fer.experiment', 'run', f'--table={",".join(flags.FLAGS.table)}', f'--jobs={flags.FLAGS.jobs}'),
        *(f'--data={data}', '--weights=', f'--runs={runs}', '--overrides=configs/demo/tables.flags'),
    )
    report = output / 'report'
    step('-m', 'fer.report', f'--runs={runs}', f'--output={report}', f'--data={data / "afew"}', f'--note={NOTE}')
    print(f'\n{report / "index.html"}')


def make_stills(data: Path) -> None:
    """Makes three datasets of stills, each from every third face of the videos."""
    for source in ('train', 'val'):
        videos = read_manifest(data / 'afew' / f'{source}.txt').videos
        labelled = [(video, video.label) for video in videos if video.label is not None]
        faces = [(face, emotions.to_one_hot(label)) for video, label in labelled for face in video.frames]
        for index, (name, validation) in enumerate({**STILLS, 'fer2013': 'test'}.items()):  # as configs/ scores them
            (data / name).mkdir(exist_ok=True)
            write_manifest(data / name / f'{validation if source == "val" else source}.txt', faces[index::3])


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
