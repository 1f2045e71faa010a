# SPDX-License-Identifier: Apache-2.0
"""The runs of configs/open: their settings, their data, and their place apart from the dissertation's runs."""

import re
from pathlib import PurePosixPath

import markdown
import pytest
from conftest import ROOT, run

from fer.commands.train import complete, make_absolute
from fer.experiment.checks import other_settings
from fer.experiment.configs import read_configs
from fer.experiment.tasks import Places, make_tasks
from fer.runs.config import TrainConfig, write_flagfile
from fer.runs.flagfiles import find_runs
from fer.settings import parse_values, split_paths
from fer.starter.terms import DATASETS
from fer.training.checks import check_config

OPEN = ROOT / 'configs' / 'open'
CONFIGS = read_configs(str(OPEN))
PAGE = ROOT / 'docs' / 'open-data.md'


@pytest.mark.parametrize('run_id', CONFIGS)
def test_settings_of_an_open_run_fit(run_id):
    settings = dict(CONFIGS[run_id].settings)
    check_config(complete(TrainConfig(**parse_values(TrainConfig, settings))))
    folder = PurePosixPath(settings['run_dir'])
    assert folder == PurePosixPath('runs', settings['stage'], settings['model'], f'{run_id}-seed0')
    assert settings['seed'] == '0'


def test_open_runs_lie_apart_from_the_dissertation():
    names = {name for name, _ in find_runs(ROOT / 'configs')}
    assert len(names) == 113
    assert not names & CONFIGS.keys()
    assert not any('Printed' in path.read_text() for path in OPEN.rglob('*.flags'))


def test_the_page_prepares_data_of_open_runs():
    commands = [' '.join(words) for block in markdown.read_blocks(PAGE) for words in block.commands]
    made = {name for command in commands for name in re.findall(r'fer\.prepare .*--output=(data/\w+)', command)}
    used = {
        '/'.join(PurePosixPath(path).parts[:2])
        for config in CONFIGS.values()
        for name in ('train_manifest', 'val_manifest')
        for path in split_paths(config.settings.get(name, ''))
    }
    assert used <= made


def test_faces_are_cut_as_fer2013s_card_says():
    words = [word for block in markdown.read_blocks(PAGE) for command in block.commands for word in command]
    assert {word for word in words if word.startswith('--margin')} == {f'--margin={DATASETS["fer2013"].margin}'}


def test_no_open_run_reads_privatetest():
    assert not any('fer2013/test' in path.read_text() for path in OPEN.rglob('*.flags'))


def test_an_open_run_resumes_with_its_caches(tmp_path):
    """flags.txt has the absolute path of a cache, and the flagfile a relative one."""
    tasks = make_tasks(CONFIGS, ['face-t1-r1'], [0], Places('data', '', str(tmp_path)), [], '')
    (task,) = tasks.values()
    task.folder.mkdir(parents=True)
    config = complete(TrainConfig(**parse_values(TrainConfig, dict(CONFIGS['face-t1-r1'].settings))))
    write_flagfile(task.folder / 'flags.txt', make_absolute(config))
    assert other_settings(task) == []


def test_a_missing_split_ends_in_one_line(tmp_path):
    (tmp_path / 'data' / 'fer2013').mkdir(parents=True)
    (tmp_path / 'data' / 'fer2013' / 'train.txt').touch()
    command = ('-m', 'fer.experiment', 'run', f'--configs={OPEN}', '--seeds=2')
    done = run(*command, '--table=face-t1-r1', folder=tmp_path, ok=False)
    assert (done.code, done.out) == (2, '')
    assert done.err == (
        'python -m fer.experiment: face-t1-r1-seed0: no data/fer2013/val.txt; add it, because none of 2 runs can '
        'start\n'
    )
    assert not (tmp_path / 'runs').exists()
