# SPDX-License-Identifier: Apache-2.0
"""The commands of README.md and docs/, run on a small synthetic corpus in the order of their pages.

Every block runs, except those that begin with `# needs:`. Sizes that keep a command to seconds are added at its end.
"""

import shutil
import wave

import markdown
import numpy as np
import pytest
from conftest import ROOT, paint_split, run

pytestmark = pytest.mark.xdist_group(__name__)

# Each page finds what the pages before it have made.
ORDER = (
    *('README.md', 'docs/preparing-data.md', 'docs/checking-data.md', 'docs/training.md', 'docs/run-folder.md'),
    *(
        'docs/performance.md',
        'docs/late-fusion.md',
        'docs/weights.md',
        'docs/reproducing-the-dissertation.md',
        'docs/cluster.md',
    ),
)
# Cheaper settings for each program. Later flags win.
SMALL = {
    'train.py': [
        '--image_size=32',
        '--width=0.05',
        '--batch_size=2',
        '--train_epochs=1',
        '--max_steps=1',
        '--rnn_units=5',
        '--rnn_layers=1',
    ],
    'fer.prepare': ['--detector=skin', '--image_size=32', '--margin=0', '--jobs=2'],
}
SCRIPTS = ('train.py', 'evaluate.py')  # whose graphs are not optimised
ELSEWHERE = {'python -m fer.doctor': 'tests/test_install.py'}  # run by another test
VIDEOS = {'train': 5, 'val': 5, 'test': 1}


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """The working folder of the commands: raw AFEW, clips in folders, two sets of stills and an audio file."""
    folder = tmp_path_factory.mktemp('docs')
    sizes = [f'--{split}_videos={number}' for split, number in VIDEOS.items()]
    run('-m', 'fer.prepare.synthetic', '--output=AFEW', *sizes, folder=folder)
    for split, raw in (('train', 'Train_AFEW'), ('val', 'Val_AFEW')):
        for video in sorted((folder / 'AFEW' / raw).rglob('*.avi'))[::2]:
            target = folder / 'CLIPS' / split / video.parent.name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(video, target)
    for seed, (name, split) in enumerate(
        [('fer2013', 'train'), ('fer2013', 'val'), ('rafdb', 'train'), ('rafdb', 'test')]
    ):
        manifest = paint_split(folder / 'data' / name, split, [1] * 4, seed=seed)
        manifest.with_suffix('.ledger.csv').unlink()  # its rows are of videos
    with wave.open(str(folder / 'speech.wav'), 'wb') as file:
        file.setparams((1, 2, 16000, 0, 'NONE', ''))
        noise = np.random.default_rng(0).normal(0, 3000, 16000)
        file.writeframes(noise.astype('<i2').tobytes())
    return folder


@pytest.mark.parametrize('page', ORDER)
def test_commands_of_a_page_run(page, workspace):
    for block in markdown.read_blocks(ROOT / page):
        for words in block.commands if block.language == 'bash' and not block.needs else ():
            program = words[2] if words[1] == '-m' else words[1]
            assert words[0] == 'python', f'{block.name}: {words}: give the block a line # needs:'
            done = run(*words[1:], *SMALL.get(program, ()), folder=workspace, quick=program in SCRIPTS, ok=False)
            assert done.code == 0, f'{block.name}: {" ".join(words)}\n{done.err[-2000:]}'


def test_every_page_runs_or_names_its_needs():
    for page in markdown.PAGES:
        if str(page.relative_to(ROOT)) in ORDER:
            continue
        for block in markdown.read_blocks(page):
            if block.language == 'bash' and not block.needs:
                commands = [' '.join(words) for words in block.commands]
                assert all(command in ELSEWHERE for command in commands), f'{block.name}: {commands}'
