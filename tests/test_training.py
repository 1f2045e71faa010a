# SPDX-License-Identifier: Apache-2.0
"""train.py and evaluate.py as commands: they train, replay, resume and leave a whole run folder."""

import csv
import hashlib
import importlib.metadata
import json
import os
from datetime import datetime, timedelta

import numpy as np
import pytest
from conftest import run, tiny_flags

from fer.errors import InputError
from fer.manifest import LedgerRow, write_ledger
from fer.results.results_file import read_results
from fer.runs.config import TrainConfig
from fer.settings import settings_of
from fer.tf1 import tf
from fer.training.schedule import learning_rate, phase_of_epoch, phases_of

# Tests share a run, so one of pytest-xdist's processes runs them all.
pytestmark = pytest.mark.xdist_group(__name__)

RUN_FILES = {
    'flags.txt',
    'environment.json',
    'class_counts.json',
    'prepare_flags.json',
    'restored.txt',
    'train_log.csv',
    'val_log.csv',
    'curves.png',
    'checkpoint',
}


def train_and_evaluate(run_dir, data, *flags):
    """Trains, evaluates on the validation split, and returns the output of train.py."""
    done = run('train.py', *tiny_flags(data), f'--run_dir={run_dir}', *flags)
    run('evaluate.py', f'--run_dir={run_dir}', f'--manifest={data / "val.txt"}')
    return done.out


@pytest.fixture(scope='module')
def trained(painted, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp('runs') / 'first'
    out = train_and_evaluate(run_dir, painted)
    return run_dir, out


def read_bytes(run_dir):
    return (run_dir / 'results_val.txt').read_bytes()


def weights(run_dir):
    reader = tf.train.load_checkpoint(str(run_dir))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_run_folder_is_whole(trained):
    run_dir, out = trained
    names = {path.name for path in run_dir.iterdir()}
    assert names > RUN_FILES | {'results_val.txt', 'metrics_val.json', 'confusion_val.png'}
    assert any(name.startswith('events.out.tfevents') for name in names)
    assert not any(name.startswith('.') for name in names)  # no temporary file is left
    with open(run_dir / 'train_log.csv') as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ['step', 'epoch', 'phase', 'loss', 'accuracy', 'learning_rate', 'frames_per_second']
    assert [int(row['step']) for row in rows] == list(range(1, len(rows) + 1))
    assert {(row['epoch'], row['phase']) for row in rows} == {('1', '1'), ('2', '2'), ('3', '2')}
    environment = json.loads((run_dir / 'environment.json').read_text())
    assert environment['packages']['tensorflow'] == importlib.metadata.version('tensorflow')
    assert environment['onednn'] == os.environ['TF_ENABLE_ONEDNN_OPTS']
    restored = (run_dir / 'restored.txt').read_text()
    assert restored.count('fresh: no --init_from') == 32
    assert '0 of 32 variables restored, 32 fresh' in out


def test_tensorboard_scalars(trained):
    run_dir, _ = trained
    (events,) = run_dir.glob('events.*')
    found = {
        (value.tag, event.step)
        for event in tf.train.summary_iterator(str(events))
        for value in event.summary.value
        if not value.tag.startswith('_hparams_')  # tests/test_hparams.py
    }
    assert {tag for tag, _ in found} == {
        *(f'train/{name}' for name in ('loss', 'accuracy', 'learning_rate', 'frames_per_second', 'gradient_norm')),
        'validation/accuracy',
        'validation/f1',
    }


def test_every_official_video_is_scored(trained, painted):
    run_dir, out = trained
    results = read_results(run_dir / 'results_val.txt')
    official = [line.split(',')[0] for line in (painted / 'val.ledger.csv').read_text().splitlines()[1:]]
    assert results.video_ids == official
    assert len(official) == 10
    faceless = official.index('val_faceless')
    assert (results.frames[faceless], results.fallback[faceless]) == (0, 'no_face')
    # Of 15 training videos 3 are Neutral, one of them without faces. The prior adds one video to each class.
    np.testing.assert_allclose(results.logits[faceless, :2], np.log([4 / 22, 3 / 22]))
    metrics = json.loads((run_dir / 'metrics_val.json').read_text())
    assert (metrics['total'], metrics['with_faces']['total']) == (10, 9)
    assert metrics['results_sha256'] == hashlib.sha256(read_bytes(run_dir)).hexdigest()
    assert datetime.fromisoformat(metrics['written']).utcoffset() == timedelta(0)
    assert metrics['commit'] == json.loads((run_dir / 'environment.json').read_text())['commit']
    assert '/10 = ' in out
    assert '/9 = ' in out


def test_validation_in_training_equals_evaluate(trained):
    run_dir, _ = trained
    with open(run_dir / 'val_log.csv') as file:
        *_, last = csv.DictReader(file)
    metrics = json.loads((run_dir / 'metrics_val.json').read_text())
    assert int(last['correct']) == metrics['correct']
    assert float(last['f1']) == pytest.approx(metrics['f1'])


def test_replay_from_flags_is_bit_identical(trained, tmp_path, painted):
    run_dir, _ = trained
    replay = tmp_path / 'replay'
    run('train.py', f'--flagfile={run_dir / "flags.txt"}', f'--run_dir={replay}')
    run('evaluate.py', f'--run_dir={replay}', f'--manifest={painted / "val.txt"}')
    assert read_bytes(replay) == read_bytes(run_dir)
    first, second = weights(run_dir), weights(replay)
    assert all((first[name] == second[name]).all() for name in first)


def test_another_seed_gives_other_results(trained, tmp_path, painted):
    train_and_evaluate(tmp_path / 'seed1', painted, '--seed=1')
    assert read_bytes(trained[0]) != read_bytes(tmp_path / 'seed1')


@pytest.mark.slow
def test_a_missing_score_is_computed_on_resume(trained, tmp_path, painted):
    """The run folder is as after a kill between its first checkpoint and validation, with half a row in the log."""
    run_dir, _ = trained
    killed = tmp_path / 'killed'
    steps = len((run_dir / 'train_log.csv').read_text().splitlines()) - 1
    run('train.py', *tiny_flags(painted), f'--run_dir={killed}', f'--max_steps={steps // 3}')
    header = (killed / 'val_log.csv').read_text().splitlines()[0]
    (killed / 'val_log.csv').write_text(header + '\n')
    with open(killed / 'train_log.csv', 'a') as log:
        log.write('1')
    run('train.py', *tiny_flags(painted), f'--run_dir={killed}', '--resume')
    assert (killed / 'val_log.csv').read_bytes() == (run_dir / 'val_log.csv').read_bytes()
    steps_logged = [row.split(',')[0] for row in (killed / 'train_log.csv').read_text().split()[1:]]
    assert steps_logged == [str(step) for step in range(1, steps + 1)]


def test_a_split_without_faces_is_answered(trained, tmp_path):
    run_dir, _ = trained
    (tmp_path / 'val.txt').write_text('')
    rows = [LedgerRow('a', 0, 9, 0, 0.36, 'no_face'), LedgerRow('b', 3, 9, 0, 0.36, 'no_face')]
    write_ledger(tmp_path / 'val.ledger.csv', rows)
    done = run('evaluate.py', f'--run_dir={run_dir}', f'--manifest={tmp_path / "val.txt"}', f'--output={tmp_path}')
    assert 'val: 1/2 = 50.0%' in done.out
    results = read_results(tmp_path / 'results_val.txt')
    assert results.fallback == ['no_face', 'no_face']


@pytest.mark.slow
def test_resuming_inside_an_epoch_changes_nothing(trained, tmp_path, painted):
    run_dir, _ = trained
    resumed = tmp_path / 'resumed'
    run('train.py', *tiny_flags(painted), f'--run_dir={resumed}', '--max_steps=5')
    train_and_evaluate(resumed, painted, '--resume')
    assert read_bytes(resumed) == read_bytes(run_dir)
    assert (resumed / 'environment_5.json').exists()
    losses = [[row.split(',')[3] for row in (d / 'train_log.csv').read_text().split()] for d in (run_dir, resumed)]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_phase_one_moves_the_dense_layers_only(tmp_path, painted):
    before, after, last = tmp_path / 'one', tmp_path / 'two', tmp_path / 'three'
    run('train.py', *tiny_flags(painted), f'--run_dir={before}', '--max_steps=1')
    run('train.py', *tiny_flags(painted), f'--run_dir={after}', '--max_steps=2')
    run('train.py', *tiny_flags(painted), f'--run_dir={last}', '--train_epochs=1', '--max_steps=2')
    model = [name for name in weights(before) if name.startswith('vgg_face/')]
    moved = {name for name in model if (weights(before)[name] != weights(after)[name]).any()}
    assert moved == {name for name in model if name.split('/')[1] in ('fc6', 'fc7', 'fc8')}
    assert len(moved) == 6
    single_phase = {name for name in model if (weights(before)[name] != weights(last)[name]).any()}
    assert single_phase == set(model)


def test_init_from_restores_a_run(trained, tmp_path, painted):
    run_dir, _ = trained
    flags = [*tiny_flags(painted), '--val_manifest=', '--max_steps=1']
    done = run('train.py', *flags, f'--init_from={run_dir}', f'--run_dir={tmp_path / "r"}')
    assert '32 of 32 variables restored, 0 fresh' in done.out
    larger = ('--image_size=64', f'--init_from={run_dir}', f'--run_dir={tmp_path / "s"}')
    done = run('train.py', *flags, *larger)
    assert '30 of 32 variables restored, 2 fresh' in done.out
    fresh = [line for line in (tmp_path / 's' / 'restored.txt').read_text().splitlines() if 'fresh: on another' in line]
    assert [line.split('\t')[0] for line in fresh] == ['vgg_face/fc6/weights', 'vgg_face/fc6/biases']
    other_width = ('--width=0.1', f'--init_from={run_dir}', f'--run_dir={tmp_path / "t"}')
    done = run('train.py', *flags, *other_width, ok=False)
    assert done.code == 2
    assert 'conv1_1' in done.err
    assert not (tmp_path / 't').exists()


def test_unlabelled_manifest_gives_results_without_metrics(trained, tmp_path, painted):
    run_dir, _ = trained
    lines = (painted / 'val.txt').read_text().splitlines()
    (tmp_path / 'test.txt').write_text('\n'.join(line.rpartition(',')[0] for line in lines))
    flags = (f'--data_root={painted}', '--split=test', f'--output={tmp_path / "out"}')
    done = run('evaluate.py', f'--run_dir={run_dir}', f'--manifest={tmp_path / "test.txt"}', *flags)
    assert 'no labels, no metrics' in done.out
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['results_test.txt']
    unlabelled, labelled = (
        read_results(tmp_path / 'out' / 'results_test.txt'),
        read_results(run_dir / 'results_val.txt'),
    )
    assert (unlabelled.labels == -1).all()
    row = labelled.video_ids.index(unlabelled.video_ids[0])
    assert (unlabelled.logits[0] == labelled.logits[row]).all()


@pytest.mark.slow
@pytest.mark.parametrize(('classify', 'aggregate'), [('frame', 'mean'), ('padded', 'median')])
def test_other_ways_to_classify_repeat_to_the_bit(tmp_path, painted, classify, aggregate):
    flags = (f'--classify={classify}', f'--aggregate={aggregate}', '--max_steps=3')
    for name in ('a', 'b'):
        train_and_evaluate(tmp_path / name, painted, *flags)
    assert read_bytes(tmp_path / 'a') == read_bytes(tmp_path / 'b')


def test_epochs_of_one_and_two_phases():
    epochs = settings_of(TrainConfig)['train_epochs']
    assert epochs.parse('30') == (30,)
    assert epochs.parse('5, 25') == (5, 25)
    assert epochs.format((5, 25)) == '5,25'
    assert [phase_of_epoch(epoch, (5, 25)) for epoch in (0, 4, 5, 29)] == [1, 1, 2, 2]
    assert phase_of_epoch(0, (30,)) == 2
    assert [phases_of(epochs) for epochs in ((30,), (5, 25), (20, 0))] == [(2,), (1, 2), (1,)]
    assert [phase_of_epoch(epoch, (20, 0)) for epoch in (0, 19)] == [1, 1]


@pytest.mark.parametrize('text', ['', '5,', '1,2,3', '2.5', '-1', '5,-1', 'ten'])
def test_malformed_epochs_are_refused(text):
    epochs = settings_of(TrainConfig)['train_epochs']
    with pytest.raises(InputError, match=f'--train_epochs={text}: expected 30, or two phases as 5,25'):
        epochs.check(epochs.parse(text))


def test_reducing_learning_rate_is_a_staircase():
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int64, [])
        reduce, static = (
            learning_rate(TrainConfig(learning_rate=1e-4, lr_schedule=schedule), 20000, step)
            for schedule in ('reduce', 'static')
        )
        found = [session.run([reduce, static], {step: n}) for n in (0, 4999, 5000, 14999)]
    np.testing.assert_allclose(found, [[1e-4] * 2, [1e-4] * 2, [0.95e-4, 1e-4], [0.9025e-4, 1e-4]], rtol=1e-6)


@pytest.mark.parametrize('warmup', [0, 10])
def test_cosine_learning_rate_equals_keras(warmup):
    config = TrainConfig(learning_rate=0.1, lr_schedule='cosine', warmup_steps=warmup)
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int64, [])
        rate = learning_rate(config, 110, step)
        keras = tf.keras.optimizers.schedules.CosineDecay(0.1, 110 - warmup)(step - warmup)
        steps = (warmup, 40, 73, 109, 110)
        found, expected = zip(*[session.run([rate, keras], {step: n}) for n in steps], strict=True)
        first = [session.run(rate, {step: n}) for n in range(warmup)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(first, 0.1 * np.arange(1, warmup + 1) / max(warmup, 1), rtol=1e-6)
