# SPDX-License-Identifier: Apache-2.0
"""Every training run of chapter 6: from its flagfile, on the runs that it restores, for two steps."""

import csv
import json
import math
from collections import Counter
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver
from conftest import ROOT, paint_with_sound

from fer import emotions
from fer.commands import train
from fer.dissertation.runs import read_runs
from fer.manifest import read_manifest, write_manifest

pytestmark = pytest.mark.usefixtures('quick_runs')

RUNS = {row.run_id: row for row in read_runs()}
TRAINED = [row for row in RUNS.values() if row.stage != 'late_fusion']

# Building the graph takes most of the time. Seconds of one core for a run in one phase, on a busy machine: ffn 1,
# VGG-Face 2, audio_gru 3, ResNet-50 9, SE-ResNet-50 and SE-ResNeXt-50 12, DenseNet-121 24, NASNet-Large 125. Two phases
# are two graphs. These rows cover most kinds of setting. The others are marked as slow.
FAST = (
    '6.1-t1-r1',
    *('6.2-t1-r1', '6.2-t1-r13', '6.2-t1-r15', '6.2-t1-r17'),
    '6.3-t1-r3',
    *('6.4-t1-r2', '6.4-t1-r8', '6.4-t1-r9', '6.4-t2-r2', '6.4-t2-r5', '6.4-t2-r8'),
    *('6.5e-t1-r1', '6.5e-t1-r3'),
)


def cases() -> list:
    """Returns each training run. Runs of one network share a process, where they find the runs that they restore."""
    found = []
    for row in TRAINED:
        marks = [pytest.mark.xdist_group(f'{__name__}-{row.model}')]
        if row.run_id not in FAST:
            marks.append(pytest.mark.slow)
        found.append(pytest.param(row.run_id, marks=marks))
    return found


@pytest.fixture(scope='module')
def corpus(tmp_path_factory) -> Path:
    """Makes eight videos of 32x32 pixels with all kinds of audio, and three datasets of stills from their faces."""
    folder = tmp_path_factory.mktemp('corpus')
    (folder / 'afew').mkdir()
    paint_with_sound(folder / 'afew')
    videos = read_manifest(folder / 'afew' / 'train.txt').videos
    faces = [(face, emotions.to_one_hot(video.label)) for video in videos for face in video.frames]
    for name in ('rafdb', 'affectnet', 'fer2013'):  # together they have more than a batch of 6.1
        (folder / name).mkdir()
        write_manifest(folder / name / 'train.txt', faces)
    return folder


@pytest.fixture(scope='module')
def trained(corpus, tmp_path_factory):
    """Returns a function from run id to run folder. It trains each run once, after the runs that it restores."""
    folder, done = tmp_path_factory.mktemp('runs'), {}

    def train_run(run_id: str) -> Path:
        if run_id in done:
            return done[run_id]
        flagfile = f'--flagfile={find_flagfile(run_id).relative_to(ROOT)}'
        with flagsaver.flagsaver(), pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)  # paths in flagfiles are relative to the root
            flags.FLAGS(['train.py', flagfile])
            named = {name: flags.FLAGS[name].value for name in ('init_from', 'audio_run_dir')}
            manifests, batch_size = flags.FLAGS.train_manifest, flags.FLAGS.batch_size
        # The runs that this one names are trained first. Public weights are missing here, so fresh ones stand in.
        runs = {flag: Path(folder).name for flag, folder in named.items() if folder.startswith('runs/')}
        folders = {flag: train_run(name.removesuffix('-seed0')) for flag, name in runs.items()}
        origins = [f'--{flag}={folders.get(flag, "")}' for flag in named]
        manifests = [str(corpus / Path(path).relative_to('data')) for path in manifests]
        # Eight audio files are fewer than a batch of 6.4, so the manifest is listed several times.
        manifests *= math.ceil(batch_size / 8) if RUNS[run_id].stage.startswith('audio') else 1
        small = ['--width=0.05', '--image_size=32', '--max_steps=2']
        where = [f'--train_manifest={",".join(manifests)}', '--val_manifest=', f'--run_dir={folder / run_id}']
        with flagsaver.flagsaver(), pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            flags.FLAGS(['train.py', flagfile, *small, *origins, *where])
            train.main()
        done[run_id] = folder / run_id
        return done[run_id]

    return train_run


def find_flagfile(run_id: str) -> Path:
    """Returns configs/<section>-<stage>/t<table>-<model>/r<run>.flags, the flagfile of <section>-t<table>-r<run>."""
    section, table, number = run_id.split('-')
    (path,) = ROOT.glob(f'configs/{section}-*/{table}-*/{number}.flags')
    return path


def read_cells(run_id: str) -> dict[str, str]:
    """Returns the cells of a run in runs.csv, as text."""
    with open(ROOT / 'fer' / 'dissertation' / 'runs.csv', newline='') as file:
        (cells,) = [cells for cells in csv.DictReader(file) if cells['run_id'] == run_id]
    return cells


def read_flags(run_dir: Path) -> dict[str, str]:
    return dict(line[2:].split('=', 1) for line in (run_dir / 'flags.txt').read_text().splitlines())


def same_value(cell: str, flag: str) -> bool:
    try:
        return float(cell) == float(flag)
    except ValueError:
        return cell == flag


def read_states(run_dir: Path) -> dict[str, str]:
    """Returns {variable: its state and reason in restored.txt}."""
    lines = [line.split('\t') for line in (run_dir / 'restored.txt').read_text().splitlines() if line[0] != '#']
    return {name: state for name, _, state in lines}


@pytest.mark.parametrize('run_id', cases())
def test_every_run_trains_for_two_steps(trained, run_id):
    run_dir, cells = trained(run_id), read_cells(run_id)

    with open(run_dir / 'train_log.csv', newline='') as file:
        log = list(csv.DictReader(file))
    assert [row['step'] for row in log] == ['1', '2']
    assert all(math.isfinite(float(row['loss'])) for row in log)

    # The settings equal those of the row.
    settings = read_flags(run_dir)
    columns = {'epochs': 'train_epochs'}
    names = list(cells)
    for column in names[names.index('model') : names.index('fusion_option') + 1]:
        flag = columns.get(column, column)
        assert not cells[column] or same_value(cells[column], settings[flag]), column
    stage = 'audio' if cells['stage'].startswith('audio') else cells['stage']
    assert settings['stage'] == stage
    assert Path(settings['audio_run_dir']).name == cells['audio_run']
    visual = cells['init_from'].split(';')[0]
    if cells['fusion_option'] == '4':  # 4.4: a run of 6.3, which started from the row's
        began = Path(read_flags(Path(settings['init_from']))['init_from']).name
        assert (began, RUNS[Path(settings['init_from']).name].stage) == (visual, 'temporal')
    else:
        assert Path(settings['init_from']).name == visual

    # Every network gets [-1, 1] (5.1.1).
    if (run_dir / 'convention.json').exists():
        pixels = json.loads((run_dir / 'convention.json').read_text())
        assert (pixels['order'], pixels['mean'], pixels['std']) == ('RGB', [127.5] * 3, [127.5] * 3)

    # A run in two phases has both, and is in the first.
    phases = cells['epochs'].count(',') + 1
    head = (run_dir / 'restored.txt').read_text()
    assert [f'# phase {phase} trains ' in head for phase in (1, 2)] == [phases == 2, True]
    assert {row['phase'] for row in log} == {'1' if phases == 2 else '2'}

    # All variables that the parent runs have are restored, and all others are fresh.
    states = read_states(run_dir)
    scopes = {name.split('/')[0] for name in states}
    new = {
        'finetune': ('vgg_face/fc6/', 'vgg_face/fc7/', 'vgg_face/fc8/') if cells['reinit_fc'] == 'True' else (),
        'temporal': ('temporal/',),
        'early_fusion': ('early_fusion/',),
    }.get(stage, ('',))
    fresh = {name for name, state in states.items() if state.startswith('fresh: ')}
    assert fresh == {name for name in states if name.startswith(new)}
    assert all(state.startswith('restored: ') for name, state in states.items() if name not in fresh)
    if stage == 'early_fusion':
        joined = {'1': set(), '2': {'audio_gru'}, '3': {'audio_gru'}, '4': {'audio_gru', 'temporal'}}
        assert scopes == {cells['model'], 'early_fusion'} | joined[cells['fusion_option']]
    else:
        assert scopes == {cells['model']} | ({'temporal'} if stage == 'temporal' else set())


def test_the_tables_are_complete():
    """The dissertation's tables have these numbers of rows in each section."""
    stages = Counter(row.stage for row in RUNS.values())
    assert stages == {
        **{'pretrain': 17, 'finetune': 29, 'temporal': 19, 'audio_video': 9, 'audio_clips': 9},
        **{'early_fusion': 13, 'late_fusion': 16},
    }
    assert len(RUNS) == 112
    assert len(TRAINED) == 96
    for row in RUNS.values():
        letter = {'early_fusion': 'e', 'late_fusion': 'l'}.get(row.stage, '')
        assert row.run_id == f'{row.section}{letter}-t{row.table}-r{row.run}'
        # Stills are scored on three datasets, all other runs on AFEW. Late fusion has no F1.
        assert (row.afew_accuracy is None) == (row.stage == 'pretrain')
        assert (row.afew_f1 is None) == (row.stage in ('pretrain', 'late_fusion'))
        assert all((value is None) == (row.stage != 'pretrain') for value in row[-7:-1])
        assert (row.members is None) == (row.stage != 'late_fusion')


def test_cells_are_read_as_their_types():
    row = RUNS['6.5e-t1-r6']
    assert (row.learning_rate, row.batch_size, row.epochs, row.seq_len) == (1e-5, 4, '10,20', 80)
    assert (row.global_pool, row.bidirectional, row.rnn_units, row.audio_run) == (None, False, None, '6.4-t2-r5')
    assert (row.afew_accuracy, row.rafdb_f1) == (35.8, None)
    row = RUNS['6.4-t1-r9']
    assert (row.hidden_units, row.dropout, row.batch_norm) == ('256,64', 0.5, False)
