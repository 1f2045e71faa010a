# SPDX-License-Identifier: Apache-2.0
"""Full memory ends a command in one line that names what to lower, and keeps the run."""

import errno
import os
import sys

import pytest
from absl.testing import flagsaver
from conftest import tiny_config

from fer import cli
from fer.commands import train as train_command
from fer.errors import InputError
from fer.extract import extract as extraction
from fer.extract.request import ExtractionRequest
from fer.runs.checkpoints import latest_checkpoint
from fer.runs.config import write_flagfile
from fer.tf1 import tf
from fer.training import loop, predict
from fer.training.evaluate import evaluate
from fer.training.memory_errors import describe_full_memory, explain_full_memory, is_full_memory
from fer.training.requests import EvaluationRequest
from fer.training.train import train

HUGE = 2**45  # values, more than any address space holds
FULL = f'OOM when allocating tensor with shape[{HUGE}] and type float on /device:CPU:0 by allocator mklcpu\nHint: none'


def fill_memory(monkeypatch, module, first, *, really=False):
    """Lets the session of a module fail because memory is full, from its call number `first` on.

    If `really`, it runs an operation that does not fit. TensorFlow tries that for 20 seconds.
    """
    calls, real = [], module.run_named

    def run_named(session, *arguments):
        calls.append(session)
        if len(calls) < first:
            return real(session, *arguments)
        if not really:
            raise tf.errors.ResourceExhaustedError(None, None, FULL)
        with session.graph.as_default():
            return session.run(tf.zeros([HUGE]))

    monkeypatch.setattr(module, 'run_named', run_named)


@pytest.fixture(scope='module')
def config(painted_sound, quick_runs, tmp_path_factory):
    """The settings of a run of two epochs, of four steps each. The second ends after two."""
    folder = tmp_path_factory.mktemp('run') / 'run'
    return tiny_config(
        painted_sound, 'finetune', batch_size=2, seq_len=8, train_epochs=(2,), max_steps=6, run_dir=str(folder)
    )


def run_train(config, tmp_path, capsys, monkeypatch, *flags):
    """Runs train.py in this process. Returns its exit code and what it wrote to standard error."""
    write_flagfile(tmp_path / 'own.flags', config)
    monkeypatch.setattr(sys, 'argv', ['train.py', f'--flagfile={tmp_path / "own.flags"}', *flags])
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        cli.run(train_command.main)
    return ended.value.code or 0, capsys.readouterr().err


def test_training_names_the_chunk_to_try(config, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        fill_memory(patch, loop, first=6, really=True)  # after the first epoch
        code, error = run_train(config, tmp_path, capsys, monkeypatch)
    assert code == 2
    assert error.partition(': ')[2] == (
        f'step 6: no memory is left on this machine for a tensor of shape [{HUGE}]; '
        '--resume with --frames_per_chunk=6 (now 12) resumes from step 4\n'
    )
    assert latest_checkpoint(config.run_dir).endswith('-4')
    with monkeypatch.context() as patch:  # validation needs memory too
        fill_memory(patch, predict, first=1)
        code, error = run_train(config, tmp_path, capsys, patch, '--resume', '--frames_per_chunk=4')
    assert (code, error.split(': ')[1]) == (2, 'validation of step 6')
    assert '; --resume --val_manifest= continues without validation, and evaluate.py with --batch_size=1' in error
    code, error = run_train(config, tmp_path, capsys, monkeypatch, '--resume', '--val_manifest=')
    assert (code, error) == (0, '')


def test_evaluation_names_the_batch_to_try(config, monkeypatch):
    if latest_checkpoint(config.run_dir) is None:
        train(config, resume=False, overwrite=False)
    fill_memory(monkeypatch, predict, first=1)
    request = EvaluationRequest(run_dir=config.run_dir, manifest=config.val_manifest[0], batch_size=4)
    with pytest.raises(InputError, match=r'^no memory is left .*; try --batch_size=2 \(now 4\)$'):
        evaluate(request)


def test_extraction_names_the_batch_to_try(config, tmp_path, monkeypatch):
    if latest_checkpoint(config.run_dir) is None:
        train(config, resume=False, overwrite=False)
    fill_memory(monkeypatch, extraction, first=1)
    request = ExtractionRequest(
        init_from=config.run_dir, manifest=config.val_manifest[0], output=str(tmp_path / 'out.npz'), batch_size=6
    )
    with pytest.raises(InputError, match=r'^no memory is left .*; try --batch_size=3 \(now 6\)$'):
        extraction.extract(request)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_without_images_names_the_batch(painted_sound, tmp_path, monkeypatch, quick_runs):
    fill_memory(monkeypatch, loop, first=1)
    config = tiny_config(painted_sound, 'audio', 'ffn', run_dir=str(tmp_path / 'run'))
    with pytest.raises(InputError, match=r'^step 1: .*or start another run with --batch_size=2 \(now 4\)$'):
        train(config, resume=False, overwrite=False)
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('kind', 'message', 'is_full', 'on_gpu'),
    [
        ('ResourceExhausted', 'OOM when allocating tensor with shape[3,4] on /device:GPU:0 by GPU_0_bfc', True, True),
        ('ResourceExhausted', 'OOM when allocating tensor with shape[3,4] on /device:CPU:0 by cpu', True, False),
        ('Internal', 'Dst tensor is not initialized.', True, True),
        ('Unknown', 'CUDNN_STATUS_ALLOC_FAILED\nin tensorflow/stream_executor', True, True),
        ('Internal', 'Failed to load in-memory CUBIN', False, True),
        ('ResourceExhausted', f'/runs/model.ckpt-1.data; {os.strerror(errno.ENOSPC)}', False, False),
        ('ResourceExhausted', f'/runs/model.ckpt-1.data; {os.strerror(errno.EDQUOT)}', False, False),
    ],
)
def test_full_memory_and_full_disk_are_told_apart(kind, message, is_full, on_gpu):
    error = getattr(tf.errors, f'{kind}Error')(None, None, message)
    assert is_full_memory(error) == is_full
    if is_full:
        assert ('on the GPU' in describe_full_memory(error)) == on_gpu
    expected, line = (InputError, r' \(--gpu_memory_gb=4\); do that$') if is_full else (type(error), None)
    with pytest.raises(expected, match=line), explain_full_memory(lambda: 'do that', 4.0):
        raise error
