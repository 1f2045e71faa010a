# SPDX-License-Identifier: Apache-2.0
"""The two stacks (fer/stack.py) compute the same, and each reads the run folders of the other."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, paint_with_sound, run, tiny_config

from fer.results.results_file import read_results
from fer.runs.config import write_flagfile
from fer.training.train import train

GOLDEN = Path(__file__).with_name('losses.json')
LOSSES = {  # short runs, as settings for tiny_config
    'vgg_face': {'stage': 'finetune', 'dropout': 0.0},
    'resnet50': {'stage': 'finetune', 'model': 'resnet50', 'learning_rate': 1e-5},  # batch statistics enlarge rounding
    'gru on vgg_face': {'stage': 'temporal', 'dropout': 0.0},
    'audio_gru': {'stage': 'audio', 'model': 'audio_gru'},
    'ffn': {'stage': 'audio', 'model': 'ffn', 'dropout': 0.0},
}
MOVED = {
    'vgg_face': {'stage': 'finetune'},
    'densenet121': {'stage': 'finetune', 'model': 'densenet121'},
    'audio_gru': {'stage': 'audio', 'model': 'audio_gru', 'train_epochs': '2'},
}
TINY = {'initialiser': 'fan_in', 'width': 0.03, 'image_size': 32, 'val_manifest': '', 'train_epochs': '2'}


def other_python() -> str:
    """Returns the interpreter of the other stack, from an environment in the checkout. Skips the test without one."""
    for name in ('.venv', '.venv-other'):
        python = ROOT / name / 'bin' / 'python'
        if python.exists() and not Path(sys.prefix).samefile(ROOT / name):
            return str(python)
    pytest.skip('no environment of the other stack: .venv or .venv-other')


def run_elsewhere(*words: str) -> None:
    """Runs a command on the other stack."""
    done = subprocess.run(
        [other_python(), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'TF_ENABLE_ONEDNN_OPTS': '1'},
    )
    assert done.returncode == 0, done.stderr[-3000:]


def losses_of(name: str, data: Path, folder: Path) -> list[float]:
    """Returns the loss of each step of a short run."""
    config = tiny_config(data, **{**TINY, 'max_steps': 6, 'run_dir': folder, **LOSSES[name]})
    train(config, resume=False, overwrite=False)
    with open(folder / 'train_log.csv', newline='') as file:
        return [float(row['loss']) for row in csv.DictReader(file)]


@pytest.mark.parametrize('name', LOSSES)
def test_losses_of_short_runs_are_those_committed(name, painted_sound, tmp_path):
    """Losses agree to three digits on both stacks. Run `python tests/test_stacks.py` only if they have to change."""
    expected = json.loads(GOLDEN.read_text())[name]
    np.testing.assert_allclose(losses_of(name, painted_sound, tmp_path / 'run'), expected, rtol=1e-3)


@pytest.mark.parametrize('began', ['here', 'elsewhere'])
@pytest.mark.parametrize('name', MOVED)
def test_a_run_folder_moves_between_stacks(name, began, painted_sound, tmp_path):
    """A run of one stack evaluates to the same results on the other stack, and resumes there."""
    other_python()
    trained, resumed = (run, run_elsewhere) if began == 'here' else (run_elsewhere, run)
    config = tiny_config(painted_sound, **{**TINY, 'run_dir': tmp_path / 'run', **MOVED[name]})
    write_flagfile(tmp_path / 'flags.txt', config)
    manifest = painted_sound / ('val_clips.txt' if name == 'audio_gru' else 'val.txt')
    command = ('train.py', f'--flagfile={tmp_path / "flags.txt"}')
    trained(*command, '--max_steps=2')

    def evaluate(where, output):
        flags = (f'--run_dir={tmp_path / "run"}', f'--manifest={manifest}', f'--output={tmp_path / output}')
        where('evaluate.py', *flags)
        return read_results(tmp_path / output / 'results_val.txt')

    before, after = evaluate(trained, 'before'), evaluate(resumed, 'after')
    assert before.video_ids == after.video_ids
    np.testing.assert_allclose(after.logits, before.logits, rtol=1e-4, atol=1e-4)
    resumed(*command, '--resume')
    assert (tmp_path / 'run' / 'environment_2.json').exists()
    versions = [
        json.loads((tmp_path / 'run' / name).read_text())['packages']['tensorflow']
        for name in ('environment.json', 'environment_2.json')
    ]
    assert len(set(versions)) == 2
    ended = json.loads((tmp_path / 'run' / 'finished.json').read_text())
    assert ended['step'] > 2
    np.testing.assert_allclose(evaluate(trained, 'end').logits, evaluate(resumed, 'last').logits, rtol=1e-4, atol=1e-4)


def write_golden(folder: Path) -> None:
    paint_with_sound(folder)
    golden = {name: losses_of(name, folder, folder / name) for name in LOSSES}
    GOLDEN.write_text(json.dumps(golden, indent=1) + '\n')


if __name__ == '__main__':
    write_golden(Path(sys.argv[1]))
