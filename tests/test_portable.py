# SPDX-License-Identifier: Apache-2.0
"""A run folder and its data can be moved: the run evaluates and resumes there, and never uses the former place."""

import dataclasses
import shutil

import pytest
from conftest import run, tiny_config, tiny_flags
from runs import assert_same_run, weights

from fer.errors import InputError
from fer.training.evaluate import evaluate
from fer.training.requests import EvaluationRequest
from fer.training.train import train

pytestmark = pytest.mark.usefixtures('quick_runs')


class Place:
    """A folder with a corpus, its manifests, and runs."""

    def __init__(self, root, data, lists, runs):
        self.data, self.lists, self.runs = root / data, root / lists, root / runs

    def config(self, name, **changes):
        config = tiny_config(self.lists, 'audio', 'ffn', train_epochs='3', batch_norm=True, **changes)
        return dataclasses.replace(config, data_root=str(self.data), run_dir=str(self.runs / name))

    def train(self, name, **changes):
        train(self.config(name, init_from=str(self.runs / 'parent'), **changes), resume=True, overwrite=False)

    def results(self, name, manifest='', data_root=None):
        request = EvaluationRequest(
            run_dir=str(self.runs / name),
            manifest=str(manifest or self.lists / 'val_functionals.txt'),
            data_root=str(self.data if data_root is None else data_root),
        )
        evaluate(request)
        return (self.runs / name / 'results_val.txt').read_bytes()


def name_absolutely(manifest, data):
    """Returns the text of a manifest with absolute paths."""
    return '\n'.join(f'{data}/{line}' for line in manifest.read_text().splitlines())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_and_its_data_can_be_moved(painted_sound, tmp_path):
    old = Place(tmp_path / 'old', data='data', lists='lists', runs='runs')
    new = Place(tmp_path / 'new', data='corpora/afew', lists='manifests', runs='kept/runs')
    shutil.copytree(painted_sound / 'functionals', old.data / 'functionals')
    old.lists.mkdir()
    for split in ('train', 'val'):
        for suffix in ('.txt', '.ledger.csv'):
            shutil.copy(painted_sound / f'{split}_functionals{suffix}', old.lists)
    absolute = old.lists / 'absolute.txt'
    absolute.write_text(name_absolutely(old.lists / 'val_functionals.txt', old.data))
    shutil.copy(old.lists / 'val_functionals.ledger.csv', old.lists / 'absolute.ledger.csv')
    train(old.config('parent', max_steps=1), resume=False, overwrite=False)
    old.train('whole')
    old.train('part', max_steps=2)
    expected = old.results('whole')
    assert old.results('whole', absolute, data_root='') == expected

    for folder in ('data', 'lists', 'runs'):
        getattr(new, folder).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(getattr(old, folder), getattr(new, folder))
    assert list((tmp_path / 'old').iterdir()) == []
    new.train('part', max_steps=0)  # its --init_from has moved, too
    assert_same_run(new.runs / 'whole', new.runs / 'part')
    for name in ('whole', 'part'):
        assert new.results(name) == expected
    # Absolute paths in a manifest ignore --data_root. With the new paths, the data is the same.
    absolute = new.lists / 'absolute.txt'
    with pytest.raises(InputError, match=rf'{absolute}:1: .*{old.data}'):
        new.results('whole', absolute)
    absolute.write_text(name_absolutely(new.lists / 'val_functionals.txt', new.data))
    assert new.results('whole', absolute, data_root='') == expected
    assert list((tmp_path / 'old').iterdir()) == []


def test_a_copied_run_leaves_the_first_alone(painted_sound, tmp_path):
    """Even if its state file has absolute paths, as TensorFlow writes them by default."""
    config = tiny_config(painted_sound, 'audio', 'ffn', train_epochs='3', run_dir=str(tmp_path / 'first'))
    train(dataclasses.replace(config, max_steps=1), resume=False, overwrite=False)
    state = tmp_path / 'first' / 'checkpoint'
    assert str(tmp_path) not in state.read_text()
    state.write_text(state.read_text().replace('"model', f'"{tmp_path}/first/model'))
    shutil.copytree(tmp_path / 'first', tmp_path / 'copy')
    before = contents(tmp_path / 'first')
    train(dataclasses.replace(config, run_dir=str(tmp_path / 'copy')), resume=True, overwrite=False)
    assert contents(tmp_path / 'first') == before
    assert weights(tmp_path / 'copy')['global_step'] == 6
    assert sorted(path.name for path in (tmp_path / 'copy').glob('model.ckpt-*.index')) == [
        'model.ckpt-4.index',
        'model.ckpt-6.index',
    ]
    with pytest.raises(InputError, match=r'settings differ from .*: --init_from=.*elsewhere'):
        train(dataclasses.replace(config, init_from=str(tmp_path / 'elsewhere')), resume=True, overwrite=False)


@pytest.mark.slow
def test_commands_work_in_a_moved_project(painted, tmp_path):
    """With faces and both caches, stopped in phase two."""
    old, new = tmp_path / 'old', tmp_path / 'new' / 'place'
    shutil.copytree(painted, old / 'data')

    def flags(place, name):
        caches = (f'--{kind}_cache={place / kind}' for kind in ('frame', 'feature'))
        return (*tiny_flags(place / 'data'), '--stage=temporal', *caches, f'--run_dir={place / name}', '--resume')

    run('train.py', *flags(old, 'whole'))
    run('train.py', *flags(old, 'part'), '--max_steps=9')
    run('evaluate.py', f'--run_dir={old / "whole"}', f'--manifest={old / "data" / "val.txt"}')
    new.parent.mkdir()
    shutil.move(old, new)
    run('train.py', *flags(new, 'part'))
    expected, found = (weights(new / name) for name in ('whole', 'part'))
    assert all((found[name] == value).all() for name, value in expected.items())
    expected = (new / 'whole' / 'results_val.txt').read_bytes()
    for name in ('whole', 'part'):
        run('evaluate.py', f'--run_dir={new / name}', f'--manifest={new / "data" / "val.txt"}')
        assert (new / name / 'results_val.txt').read_bytes() == expected
    assert not old.exists()
