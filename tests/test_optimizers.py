# SPDX-License-Identifier: Apache-2.0
"""Optimisers compared with NumPy, phases that share one or not, and runs of the new layers only."""

import dataclasses
import json

import numpy as np
import pytest
from conftest import choices, tiny_config
from runs import assert_same_run, rows, weights

from fer.errors import InputError
from fer.runs.config import TrainConfig
from fer.tf1 import tf
from fer.training.checks import check_config
from fer.training.evaluate import evaluate
from fer.training.graph import build_step
from fer.training.losses import Loss
from fer.training.optimizers import parameter_groups
from fer.training.requests import EvaluationRequest
from fer.training.schedule import Phase, learning_rate
from fer.training.tower import Tower
from fer.training.train import train

# Tests share runs, so one of pytest-xdist's processes runs them all.
pytestmark = [pytest.mark.xdist_group(__name__), pytest.mark.usefixtures('quick_runs')]

FIRST = {'new': np.array([0.9, -0.4, 0.3]), 'old': np.array([-0.7, 0.2])}
RATES = [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]  # halved every two steps


def slopes_of(values):
    """Returns the gradients of `loss_of`."""
    joint = sum(value.sum() for value in values.values())
    return {name: 3 * value**2 + joint for name, value in values.items()}


def loss_of(variables):
    joint = tf.add_n([tf.reduce_sum(variable) for variable in variables])
    return tf.add_n([tf.reduce_sum(variable**3) for variable in variables]) + joint**2 / 2


class Reference:
    """One optimiser in NumPy, in float64, for all its variables."""

    def __init__(self, kind, momentum=0.9):
        self.kind, self.momentum, self.steps = kind, momentum, 0
        self.first, self.second = {}, {}

    def step(self, values, slopes, rate):
        self.steps += 1
        for name, slope in slopes.items():
            m, v = self.first.get(name, 0.0), self.second.get(name, 1.0 if self.kind == 'rmsprop' else 0.0)
            if self.kind == 'sgd':
                change = rate * slope
            elif self.kind == 'momentum':
                m = self.momentum * m + slope
                change = rate * m
            elif self.kind == 'rmsprop':
                v = 0.9 * v + 0.1 * slope**2
                change = rate * slope / np.sqrt(v + 1e-10)
            else:
                m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
                change = rate * (m / (1 - 0.9**self.steps)) / (np.sqrt(v / (1 - 0.999**self.steps)) + 1e-8)
            self.first[name], self.second[name] = m, v
            values[name] = values[name] - change


def expected_values(kind, phases, *, keep, clip=0.0, momentum=0.9):
    """Returns the variables after a step of each of `phases`, in NumPy."""
    values, owners = dict(FIRST), {}
    course = []
    for number, phase in enumerate(phases):
        slopes = {name: slope for name, slope in slopes_of(values).items() if phase == 2 or name == 'new'}
        norm = np.sqrt(sum((slope**2).sum() for slope in slopes.values()))
        scale = clip / norm if clip and norm > clip else 1.0
        for name in slopes:
            owner = (1 if name == 'new' else 2) if keep else phase
            owners.setdefault(owner, Reference(kind, momentum))
        for owner, reference in owners.items():
            own = {n: s * scale for n, s in slopes.items() if ((1 if n == 'new' else 2) if keep else phase) == owner}
            if own:
                reference.step(values, own, RATES[number])
        course.append(np.concatenate([values['new'], values['old']]))
    return np.array(course)


def found_values(config, phases):
    """Returns the variables after a step of each of `phases`, and the names of all variables."""
    with tf.Graph().as_default(), tf.Session() as session:
        global_step = tf.train.get_or_create_global_step()
        new, old = (tf.get_variable(name, initializer=FIRST[name].astype(np.float32)) for name in ('new', 'old'))
        loss = loss_of([new, old])
        tower = Tower(new, new, loss, Loss(loss, loss, []))
        decay = dataclasses.replace(config, learning_rate=0.1, lr_schedule='reduce', decay_rate=0.5, decay_steps=2)
        rate = learning_rate(decay, len(phases), global_step)
        groups = parameter_groups(config, rate, {Phase.NEW_LAYERS: [new], Phase.ALL: [old, new]})
        steps = {
            phase: build_step(tower, groups[phase], config.clip_norm, phase, mixed_precision=config.mixed_precision)
            for phase in Phase
        }
        names = {variable.op.name for variable in tf.global_variables()}
        session.run(tf.global_variables_initializer())
        course = []
        for phase in phases:
            session.run(steps[Phase(phase)].train)
            course.append(np.concatenate(session.run([new, old])))
        assert session.run(global_step) == len(phases)
    return np.array(course), names


@pytest.mark.parametrize('keep', [False, True])
@pytest.mark.parametrize('kind', choices('optimizer'))
def test_steps_of_two_phases_equal_numpy(kind, keep):
    if keep and kind == 'sgd':
        return  # it has no moments to keep, and is refused
    phases = [1, 1, 2, 2, 2, 2]
    found, _ = found_values(TrainConfig(optimizer=kind, keep_optimizer=keep), phases)
    expected = expected_values(kind, phases, keep=keep)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    if kind != 'sgd':  # kept moments make other steps
        assert np.abs(found - expected_values(kind, phases, keep=not keep)).max() > 1e-3


def test_clipped_momentum_in_mixed_precision_equals_numpy():
    """Gradients of both optimisers are clipped together."""
    settings = {'optimizer': 'momentum', 'momentum': 0.5, 'keep_optimizer': True, 'clip_norm': 0.6}
    found, _ = found_values(TrainConfig(**settings, mixed_precision=True), [1, 2, 2, 2])
    expected = expected_values('momentum', [1, 2, 2, 2], keep=True, clip=0.6, momentum=0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_names_of_optimisers_variables_stay():
    """Checkpoints of earlier versions have these names."""
    moments = {f'{name}/Adam{end}' for name in ('new', 'old') for end in ('', '_1')}
    powers = {'beta1_power', 'beta2_power'}
    phase_one = {f'phase_1/{name}' for name in moments | powers if 'old' not in name}
    _, names = found_values(TrainConfig(), [])
    assert names == {'global_step', 'new', 'old'} | phase_one | {f'phase_2/{name}' for name in moments | powers}
    _, names = found_values(TrainConfig(keep_optimizer=True), [])
    own = {f'phase_2/{name}' for name in moments | powers if 'new' not in name}
    assert names == {'global_step', 'new', 'old'} | phase_one | own


SETTINGS = {
    'no phase one': ({'train_epochs': '0,20'}, '--train_epochs=0,20: expected at least 1 first'),
    'no epochs': ({'train_epochs': '0'}, '--train_epochs=0: expected at least 1 first'),
    'momentum of adam': ({'momentum': 0.5}, '--momentum=0.5: expected --optimizer=momentum, found adam'),
    'keeping in one phase': ({'keep_optimizer': True, 'train_epochs': '3'}, '--keep_optimizer: expected two phases'),
    'keeping for no epochs': ({'keep_optimizer': True, 'train_epochs': '3,0'}, '--keep_optimizer: expected two phases'),
    'keeping nothing': ({'keep_optimizer': True, 'optimizer': 'sgd'}, '--keep_optimizer: expected an optimiser with'),
    'averages of VGG-Face': ({'batch_norm_decay': 0.9}, '--batch_norm_decay=0.9: --model=vgg_face has no batch norm'),
    'averages that are frozen': (
        {'model': 'resnet50', 'batch_norm_decay': 0.9, 'batch_norm_mode': 'frozen'},
        '--batch_norm_decay=0.9: no moving average changes',
    ),
    'averages without phase two': (
        {'model': 'resnet50', 'batch_norm_decay': 0.9, 'train_epochs': '2,0'},
        '--batch_norm_decay=0.9: no moving average changes',
    ),
    'averages of a GRU': (
        {'stage': 'audio', 'model': 'audio_gru', 'batch_norm': True, 'batch_norm_decay': 0.9},
        '--batch_norm_decay=0.9: --model=audio_gru has no batch normalisation',
    ),
    'averages of a plain ffn': (
        {'stage': 'audio', 'model': 'ffn', 'batch_norm_decay': 0.9},
        '--batch_norm_decay=0.9: --model=ffn has no batch normalisation',
    ),
    'a warm-up of another schedule': (
        {'warmup_steps': 9},
        '--warmup_steps=9: expected --lr_schedule=cosine, found red',
    ),
    'smoothing for focal loss': (
        {'loss': 'focal', 'label_smoothing': 0.1},
        '--label_smoothing=0.1: expected --loss=cross_entropy, found focal',
    ),
    'a stem of VGG-Face': ({'stem_stride': 2}, '--stem_stride=2: --model=vgg_face has no such layers'),
    'a stem of audio': ({'stage': 'audio', 'model': 'ffn', 'stem_stride': 2}, '--stem_stride=2: expected none for'),
    'an optimiser of another name': ({'optimizer': 'adagrad'}, '--optimizer=adagrad: expected one of adam, sgd'),
}


@pytest.mark.parametrize('name', SETTINGS)
def test_settings_that_do_nothing_are_refused(painted_sound, name):
    changes, expected = SETTINGS[name]
    settings = {'stage': 'finetune', 'run_dir': 'run', **changes}
    with pytest.raises(InputError) as error:
        check_config(tiny_config(painted_sound, **settings))
    assert str(error.value).startswith(expected)


RUNS = {
    # Moments of two phases, and gradients that are clipped.
    'finetune': {
        'stage': 'finetune',
        'train_epochs': '1,2',
        'optimizer': 'rmsprop',
        'keep_optimizer': True,
        'clip_norm': 1.0,
    },
    'chunks': {'stage': 'finetune', 'train_epochs': '1,2', 'keep_optimizer': True, 'frames_per_chunk': 5},
    # The new layers only, on features that are computed once.
    'early_fusion': {'stage': 'early_fusion', 'fusion_option': 1, 'train_epochs': '3,0', 'optimizer': 'momentum'},
    'ffn': {'stage': 'audio', 'model': 'ffn', 'batch_norm': True, 'batch_norm_decay': 0.8, 'optimizer': 'sgd'},
}


@pytest.mark.parametrize(
    'name', ['finetune', *(pytest.param(name, marks=pytest.mark.slow) for name in RUNS if name != 'finetune')]
)
def test_resumed_runs_equal_uninterrupted_ones(painted_sound, tmp_path, name):
    """The second session begins inside an epoch."""
    config = tiny_config(painted_sound, run_dir=tmp_path / 'whole', val_manifest='', **RUNS[name])
    parts = dataclasses.replace(config, run_dir=str(tmp_path / 'parts'))
    train(config, resume=False, overwrite=False)
    train(dataclasses.replace(parts, max_steps=4), resume=False, overwrite=False)
    train(parts, resume=True, overwrite=False)
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')


def test_run_of_new_layers_leaves_the_rest(painted_sound, tmp_path, capsys):
    """It reads cached features, may stop early, and is evaluated as it was validated."""
    run_dir = tmp_path / 'run'
    settings = {'train_epochs': '9,0', 'learning_rate': 1e-12, 'early_stopping': 2}
    settings |= {'run_dir': run_dir, 'feature_cache': str(tmp_path / 'cache')}
    train(tiny_config(painted_sound, **RUNS['early_fusion'] | settings), resume=False, overwrite=False)
    assert 'features: 31 frames' in capsys.readouterr().out
    finished = json.loads((run_dir / 'finished.json').read_text())
    assert finished == {'step': 9, 'reason': 'early_stopping', 'checkpoint': 'best.ckpt-3'}
    assert {row['phase'] for log in ('train_log.csv', 'val_log.csv') for row in rows(run_dir, log)} == {'1'}
    moved = {name for name, value in weights(run_dir).items() if name.endswith('biases') and value.any()}
    assert moved == {name for name in weights(run_dir) if name.startswith('early_fusion/') and name.endswith('biases')}
    assert not any(name.startswith('phase_2/') for name in weights(run_dir))
    manifest = str(painted_sound / 'val_audiovisual.txt')
    evaluate(EvaluationRequest(run_dir=str(run_dir), manifest=manifest, output=str(run_dir)))
    metrics = json.loads((run_dir / 'metrics_val.json').read_text())
    assert metrics['correct'] == int(rows(run_dir, 'val_log.csv')[-1]['correct'])
