"""All of chapter 6 on a drawn corpus: python -m fer.demo.tables, in the repository's root (make tables-demo).

Every run of the tables, narrow and for two steps, with what it starts from, then the late fusion of what came out, in
one report. It shows that each flagfile runs and each number finds its cell; the numbers themselves say nothing.

What is finished is not made again, so that the command can be stopped and typed again.
"""

import functools
from pathlib import Path

from absl import flags

from fer import cli, emotions
from fer.demo.steps import step
from fer.manifest import read_manifest, write_manifest

SIZES = {'train': 40, 'val': 20, 'test': 4}  # videos; the largest batch of 6.4 is 32 sounds
STILLS = {'rafdb': 'test', 'affectnet': 'val', 'fer2013': 'val'}  # datasets of 6.1: the split that is validated on
NOTE = (
    'Drawn faces and voices, networks a twentieth as wide, fresh weights and two steps a run: this page shows that the '
    'machinery works. Its numbers say nothing of the dissertation, nor of the networks.'
)

flags.DEFINE_string('output', 'demo/tables', 'Folder of the corpus, the runs and the report.')
flags.DEFINE_list('table', ['all'], 'Tables, as in fer.experiment.')
flags.DEFINE_integer('jobs', 2, 'Runs side by side.', lower_bound=1)


def main() -> None:
    output = Path(flags.FLAGS.output)
    raw, data, runs = output / 'raw', output / 'data', output / 'runs'
    if not (data / 'afew' / 'val_functionals.txt').exists():
        sizes = (f'--{split}_videos={number}' for split, number in SIZES.items())
        step('-m', 'fer.prepare.synthetic', f'--output={raw}', '--overwrite', *sizes)
        settings = ('--detector=skin', '--image_size=32', '--margin=0')
        step('-m', 'fer.prepare', '--dataset=afew', f'--source={raw}', f'--output={data / "afew"}', *settings)
    draw_stills(data)
    step(
        *('-m', 'fer.experiment', 'run', f'--table={",".join(flags.FLAGS.table)}', f'--jobs={flags.FLAGS.jobs}'),
        *(f'--data={data}', '--weights=', f'--runs={runs}', '--overrides=configs/demo/tables.flags'),
    )
    report = output / 'report'
    step('-m', 'fer.report', f'--runs={runs}', f'--output={report}', f'--data={data / "afew"}', f'--note={NOTE}')
    print(f'\n{report / "index.html"}')


def draw_stills(data: Path) -> None:
    """Every third face of the videos as a dataset of stills, three times over."""
    for source in ('train', 'val'):
        videos = read_manifest(data / 'afew' / f'{source}.txt').videos
        labelled = [(video, video.label) for video in videos if video.label is not None]
        faces = [(face, emotions.to_one_hot(label)) for video, label in labelled for face in video.frames]
        for index, (name, validation) in enumerate(STILLS.items()):
            (data / name).mkdir(exist_ok=True)
            write_manifest(data / name / f'{validation if source == "val" else source}.txt', faces[index::3])


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
