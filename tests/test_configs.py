# SPDX-License-Identifier: Apache-2.0
"""The flagfiles of chapter 6 below configs/: each equals its row of runs.csv and starts from other flagfiles' runs."""

import csv
import json
import re
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath

import pytest
from conftest import ROOT, run

from fer.dissertation.runs import Run, read_runs
from fer.runs.default_data import default_datasets
from fer.runs.flagfiles import read_settings as read_flagfile

RUNS = {row.run_id: row for row in read_runs()}
SECTIONS = {
    'pretrain': '6.1-pretrain',
    'finetune': '6.2-finetune',
    'temporal': '6.3-temporal',
    'audio_video': '6.4-audio',
    'audio_clips': '6.4-audio',
    'early_fusion': '6.5e-early_fusion',
    'late_fusion': '6.5l-late_fusion',
}
LATE_TABLES = {1: 'cnn', 2: 'cnn_rnn', 3: 'early_fusion', 4: 'all'}
DEFAULTS = {name: ROOT / 'configs' / name / 'defaults.flags' for name in SECTIONS.values()}
PATHS = {
    '-'.join(part.split('-')[0] for part in path.relative_to(ROOT / 'configs').with_suffix('').parts): path
    for path in sorted(ROOT.glob('configs/6.*/t*/r*.flags'))
}
UNLISTED = '6.2-t0-r1'  # only the text names it, no table lists it

# {column of runs.csv: flag}, then the columns that are compared in other ways.
SETTINGS = {
    **{name: name for name in ('model', 'learning_rate', 'lr_schedule', 'batch_size', 'seq_len', 'global_pool')},
    **{name: name for name in ('aggregate', 'classify', 'reinit_fc', 'bidirectional', 'attention', 'rnn_layers')},
    **{name: name for name in ('rnn_units', 'hidden_units', 'dropout', 'batch_norm', 'fusion_option')},
    **{'epochs': 'train_epochs', 'fusion_method': 'method'},
}
IDENTITY = {'run_id', 'section', 'table', 'run', 'stage'}
ORIGINS = {'init_from', 'audio_run', 'members'}
COMMENT = {'afew_accuracy', 'afew_f1', 'avg_accuracy', 'doubt'} | {
    f'{name}_{metric}' for name in ('rafdb', 'affectnet', 'fer2013') for metric in ('accuracy', 'f1')
}

# Reads flagfiles with a script's own flags. A process of its own, because scripts have flags of the same names.
READ = """
import importlib, json, sys
from absl import flags
from absl.testing import flagsaver
script, *paths = sys.argv[1:]
importlib.import_module(script)
for path in paths:
    with flagsaver.flagsaver():
        rest = flags.FLAGS([script, f'--flagfile={path}'])
        given = {name: flags.FLAGS[name].value for name in flags.FLAGS if flags.FLAGS[name].present}
    given.pop('flagfile', None)
    print(json.dumps([rest[1:], given]))
"""


def read_settings(script: str, paths: list[Path]) -> list[dict]:
    """Returns {flag: value} of each flagfile, including the flagfiles that it includes."""
    lines = run('-c', READ, script, *(path.relative_to(ROOT) for path in paths)).out.splitlines()
    read = [json.loads(line) for line in lines]
    assert [rest for rest, _ in read] == [[]] * len(paths)
    return [given for _, given in read]


@pytest.fixture(scope='module')
def settings() -> dict[str, dict]:
    """Returns {run id or section folder: the settings of its flagfile}."""
    paths = {**DEFAULTS, **PATHS}
    late = {name for name in paths if name.startswith('6.5l-')}
    found = {}
    for script, names in (('train', paths.keys() - late), ('fusion', late)):
        names = sorted(names)
        found |= dict(zip(names, read_settings(script, [paths[name] for name in names]), strict=True))
    return found


def read_own(run_id: str) -> tuple[str, list[str], list[str]]:
    """Returns a flagfile's first comment as one line, and the names and values of its flags as written."""
    lines = PATHS[run_id].read_text().splitlines()
    head = next(number for number, line in enumerate(lines) if not line.startswith('# '))
    given = [line for line in lines if not line.startswith('#')]
    assert all(re.fullmatch(r'--\w+=\S+', line) for line in given)
    names, values = zip(*(line[2:].split('=', 1) for line in given), strict=True)
    return ' '.join(line[2:] for line in lines[:head]), list(names), list(values)


def home(settings: dict) -> str:
    return settings.get('run_dir') or settings['output']


def origin(folder: str) -> str:
    """Returns the run id of a run folder."""
    return PurePosixPath(folder).name.removesuffix('-seed0')


def section_of(run_id: str) -> str:
    (found,) = {name for name in DEFAULTS if name.split('-')[0] == run_id.split('-')[0]}
    return found


def printed(row: Run) -> str:
    """Returns the comment that a flagfile must have: the printed scores and doubts of its row."""
    if row.stage == 'pretrain':
        names = {'rafdb': 'RAF-DB', 'affectnet': 'AffectNet', 'fer2013': 'FER2013'}
        scores = [f'{names[n]} {getattr(row, f"{n}_accuracy")}% / {getattr(row, f"{n}_f1")}%' for n in names]
        text = f'Printed: {", ".join(scores)} (accuracy / F1).'
    elif row.stage == 'late_fusion':
        text = f'Printed: accuracy {row.afew_accuracy}%, mean accuracy of the members {row.avg_accuracy}%.'
    else:
        text = f'Printed: accuracy {row.afew_accuracy}%, F1 {row.afew_f1}%.'
    return f'{text} In doubt: {row.doubt}.' if row.doubt else text


def test_every_run_has_a_flagfile():
    assert len(PATHS) == 113
    assert PATHS.keys() == RUNS.keys() | {UNLISTED}
    for run_id, row in RUNS.items():
        table = LATE_TABLES[row.table] if row.stage == 'late_fusion' else row.model
        folder = ROOT / 'configs' / SECTIONS[row.stage] / f't{row.table}-{table}'
        assert PATHS[run_id] == folder / f'r{row.run}.flags'
    assert PATHS[UNLISTED] == ROOT / 'configs' / '6.2-finetune' / 't0-vgg_face' / 'r1.flags'


def test_every_column_is_compared():
    """A new column of runs.csv has to be added to test_a_flagfile_equals_its_row."""
    with open(ROOT / 'fer' / 'dissertation' / 'runs.csv', newline='') as file:
        header = next(csv.reader(file))
    assert sorted(header) == sorted([*SETTINGS, *IDENTITY, *ORIGINS, *COMMENT])


@pytest.mark.parametrize('run_id', RUNS)
def test_a_flagfile_equals_its_row(settings, run_id):
    row, given = RUNS[run_id], settings[run_id]
    comment, names, _ = read_own(run_id)
    assert comment == printed(row)

    for column, flag in SETTINGS.items():
        cell = getattr(row, column)
        if cell is None:
            assert flag not in names, f'{flag}: not in the row; choose it in defaults.flags'
        else:
            found = ','.join(map(str, given[flag])) if isinstance(given[flag], list) else given[flag]
            assert found == (str(cell) if column == 'fusion_method' else cell), flag

    # The runs that it starts from, and the folder that it writes to.
    restored = row.init_from.split(';') if row.init_from else []
    assert [origin(given['audio_run_dir'])] == [row.audio_run] if row.audio_run else 'audio_run_dir' not in given
    if row.stage == 'late_fusion':
        stage, model = 'late_fusion', f'method{row.fusion_method}'
        assert [PurePosixPath(path).name for path in given['results']] == ['results_val.txt'] * len(given['results'])
        assert ';'.join(origin(PurePosixPath(path).parent) for path in given['results']) == row.members
    else:
        stage, model = given['stage'], row.model
        assert stage == SECTIONS[row.stage].split('-')[1]
        visual = [name for name in restored if name != row.audio_run]
        if row.stage == 'pretrain':
            assert PurePosixPath(given['init_from']).parent.name == 'weights'
        elif row.fusion_option == 4:  # 4.4: a run of 6.3, which started from the row's
            visual_run = origin(given['init_from'])
            assert RUNS[visual_run].stage == 'temporal'
            assert [origin(settings[visual_run]['init_from'])] == visual
        else:
            assert [origin(given['init_from'])] == visual if visual else 'init_from' not in given
    assert home(given) == f'runs/{stage}/{model}/{run_id}-seed0'
    assert given['seed'] == 0


@pytest.mark.parametrize('run_id', PATHS)
def test_a_flagfile_repeats_no_default(settings, run_id):
    section = section_of(run_id)
    _, names, values = read_own(run_id)
    assert (names[0], values[0]) == ('flagfile', f'configs/{section}/defaults.flags')
    assert len(names) == len(set(names))
    repeated = [name for name in names[1:] if settings[section].get(name, ...) == settings[run_id][name]]
    assert not repeated
    assert settings[run_id].keys() == settings[section].keys() | set(names[1:])


def test_each_stage_uses_its_manifests(settings):
    """The data are stills of three datasets, then AFEW's faces, audio or both (5.1)."""
    stills = ('data/rafdb/test.txt', 'data/affectnet/val.txt', 'data/fer2013/test.txt')
    kinds = {'audio_video': '_functionals', 'audio_clips': '_clips', 'early_fusion': '_audiovisual'}
    for run_id, row in RUNS.items():
        if row.stage == 'late_fusion':
            continue
        train, val = (settings[run_id][f'{split}_manifest'] for split in ('train', 'val'))
        if row.stage == 'pretrain':
            assert val == list(stills)
            assert train == [str(PurePosixPath(path).with_name('train.txt')) for path in stills]
        else:
            kind = kinds.get(row.stage, '')
            assert (train, val) == ([f'data/afew/train{kind}.txt'], [f'data/afew/val{kind}.txt'])


def test_networks_get_the_pixels_of_the_text(settings):
    """5.1.1 feeds [-1, 1] to every network. One file of overrides chooses the pixels of the weights instead."""
    for run_id, row in RUNS.items():
        has_images = row.stage not in ('audio_video', 'audio_clips', 'late_fusion')
        assert settings[run_id].get('input_convention') == ('dissertation' if has_images else None)
    assert read_flagfile(ROOT / 'configs' / 'source_pixels.flags') == {'input_convention': 'source'}


def test_doubts_of_the_text_are_stated():
    """Each row names the passages that concern all runs of its kind."""
    for row in RUNS.values():
        doubt = row.doubt or ''
        assert ('PrivateTest' in doubt) == (row.stage == 'pretrain')
        assert ('standardised' in doubt) == (row.stage in ('audio_video', 'audio_clips', 'early_fusion'))
        assert ('--train_epochs=20,0' in doubt) == (row.stage == 'early_fusion' and row.epochs == '20')
        assert ('--method=4-frequency' in doubt) == (row.fusion_method == 4)
    steps = 748 * 50 // 2 * 30
    text = f'{steps:,} steps, and the rate falls to 0.95^{steps // 5000} = {0.95 ** (steps // 5000):.3f} of its start'
    assert text in (RUNS['6.2-t1-r1'].doubt or '')


def test_default_manifests_are_those_of_configs(settings):
    """train.py without manifests takes those of the flagfiles, except that FER2013 has its validation set."""
    for run_id, row in RUNS.items():
        if row.stage != 'late_fusion':
            datasets = default_datasets(settings[run_id]['stage'], row.model)
            found = ([dataset.train for dataset in datasets], [dataset.val for dataset in datasets])
            val = [path.replace('fer2013/test', 'fer2013/val') for path in settings[run_id]['val_manifest']]
            assert found == (settings[run_id]['train_manifest'], val), run_id
    lines = DEFAULTS['6.1-pretrain'].read_text().splitlines()
    commands = [dataset.command for dataset in default_datasets('pretrain', 'vgg_face')]
    assert [line for line in lines if '--detector=mtcnn' in line] == [f'#   {command}' for command in commands]


def test_public_weights_are_those_of_the_documentation(settings):
    """6.1 begins with one public file for each network."""
    table = [line.split('|') for line in (ROOT / 'docs/weights.md').read_text().splitlines() if line.startswith('| ')]
    rows = [(cells[2], cells[3]) for cells in table if len(cells) > 4]
    files = {(row.model, settings[run_id]['init_from']) for run_id, row in RUNS.items() if row.stage == 'pretrain'}
    assert len(files) == 6
    for model, file in files:
        assert [1 for models, names in rows if f'`{model}`' in models and PurePosixPath(file).stem in names], file


def test_the_unlisted_run_varies_run_six(settings):
    own, base = settings[UNLISTED], settings['6.2-t1-r6']
    assert own == {**base, 'seq_len': 60, 'run_dir': 'runs/finetune/vgg_face/6.2-t0-r1-seed0'}
    comment, _, _ = read_own(UNLISTED)
    assert comment.startswith('No scores are printed. In doubt: ')
    assert [row.run_id for row in RUNS.values() if UNLISTED in (row.members or '')] == ['6.5l-t1-r3']


def test_every_run_starts_from_configured_runs(settings):
    homes = {home(settings[run_id]): run_id for run_id in PATHS}
    assert len(homes) == len(PATHS)
    graph = {}
    for run_id in PATHS:
        given = settings[run_id]
        folders = [given[name] for name in ('init_from', 'audio_run_dir') if name in given]
        folders = [folder for folder in folders if not folder.startswith('weights/')]
        folders += [str(PurePosixPath(path).parent) for path in given.get('results', ())]
        assert set(folders) <= homes.keys(), run_id
        graph[run_id] = {homes[folder] for folder in folders}
        assert all(origin(folder) == homes[folder] for folder in folders)
    assert len(list(TopologicalSorter(graph).static_order())) == len(PATHS)  # raises CycleError
    # A run starts from the same network with the same features.
    before = {'finetune': 'pretrain', 'temporal': 'finetune', 'early_fusion': 'finetune'}
    for run_id, row in RUNS.items():
        if row.stage in before:
            parent = RUNS[origin(settings[run_id]['init_from'])]
            assert parent.stage == ('temporal' if row.fusion_option == 4 else before[row.stage])
            assert (parent.model, parent.global_pool) == (row.model, row.global_pool)
        assert (row.audio_run is not None) == (row.fusion_option in (2, 3, 4))
        assert row.audio_run is None or RUNS[row.audio_run].stage == 'audio_clips'
