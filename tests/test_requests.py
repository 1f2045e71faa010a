# SPDX-License-Identifier: Apache-2.0
"""Requests: checks of evaluation and extraction, and the settings that train.py completes."""

import dataclasses
import os

import pytest

from fer.commands.train import complete, make_absolute, name_run
from fer.errors import InputError
from fer.extract.request import ExtractionRequest
from fer.runs.config import TrainConfig
from fer.training.evaluate import adapt_config, find_checkpoint
from fer.training.requests import EvaluationRequest

RUN = TrainConfig(
    batch_size=16, nonfinite_audio='mean', on_bad_frame='skip', max_bad_fraction=0.2, frame_cache='/cache', xla=True,
    mixed_precision=True, intra_op_threads=3, seed=5,
)  # fmt: skip


def evaluation(**settings):
    return EvaluationRequest(run_dir='run', manifest='val.txt', **settings)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'split': 'a/b'}, '--split=a/b: expected a name for files'),
        ({'split': ''}, '--split=: expected a name for files'),
        ({'fallback': 'audio'}, '--fallback=audio: expected --audio_results'),
        ({'audio_results': 'results_val.txt'}, '--fallback=prior: expected --audio_results with --fallback=audio'),
        ({'checkpoint': 'first'}, '--checkpoint=first: expected one of last, best'),
        ({'tta_views': 11}, '--tta_views=11: expected 1 to 10 views'),
        ({'batch_size': -1}, '--batch_size=-1: expected 0 .as in training., or 1 or more windows'),
        ({'feature_cache_gb': 0.0}, '--feature_cache_gb=0.0: expected a number above 0'),
        ({'inter_op_threads': -1}, '--inter_op_threads=-1: expected 0 .one per core., or 1 to 4096 threads'),
    ],
)
def test_bad_evaluation_requests_are_refused(settings, message):
    evaluation().check()
    with pytest.raises(InputError, match=message):
        evaluation(**settings).check()


def test_extraction_of_two_manifests_is_refused():
    request = ExtractionRequest(init_from='run', manifest='a.txt,b.txt', output='out.npz')
    with pytest.raises(InputError, match='expected one manifest; give each to a command of its own'):
        request.check()


def test_evaluation_keeps_the_run_settings_by_default():
    adapted = adapt_config(RUN, evaluation())
    changed = {'frame_cache': '', 'xla': False, 'mixed_precision': False, 'intra_op_threads': 0}
    assert adapted == dataclasses.replace(RUN, **changed)


def test_evaluation_settings_replace_those_of_the_run():
    given = {'batch_size': 2, 'nonfinite_audio': 'error', 'on_bad_frame': 'error', 'max_bad_fraction': 0.0}
    adapted = adapt_config(RUN, evaluation(**given, xla=True))
    assert {name: getattr(adapted, name) for name in given} == given
    assert (adapted.xla, adapted.seed) == (True, 5)


def test_a_missing_checkpoint_is_named(tmp_path):
    for name, expected in (('', 'last'), ('last', 'last'), ('best', 'best')):
        with pytest.raises(InputError, match=f'no {expected} checkpoint; expected one that train.py wrote'):
            find_checkpoint(str(tmp_path), name)


def test_network_and_stage_complete_the_settings():
    found = complete(TrainConfig(model='nasnet', stage='pretrain'))
    assert (found.batch_size, found.global_pool) == (64, True)  # NASNet always averages its last map
    assert found.run_dir == 'runs/pretrain/nasnet/exact_mean_len80_lr1e-05_30ep_seed0'
    found = complete(TrainConfig(batch_size=3, global_pool=True, run_dir='here'))
    assert (found.batch_size, found.global_pool, found.run_dir) == (3, True, 'here')


@pytest.mark.parametrize(
    ('settings', 'name'),
    [
        (
            {'stage': 'temporal', 'train_epochs': (5, 25), 'bidirectional': True, 'attention': True},
            'gru2x128_bi_attention_exact_mean_len80_lr1e-05_5+25ep_seed0',
        ),
        (
            {'stage': 'audio', 'model': 'ffn', 'hidden_units': (256, 64)},
            'hidden256+64_exact_mean_len80_lr1e-05_30ep_seed0',
        ),
        (
            {'stage': 'temporal', 'rnn_cell': 'rnn', 'bidirectional': True, 'bidirectional_kind': 'stacks'}
            | {'attention': True, 'attention_kind': 'wrapper', 'fc6_dropout': 0.5, 'vgg_pooling': 'same'},
            'rnn2x128_bistacks_attention_wrapper40_fc6drop0.5_poolsame_exact_mean_len80_lr1e-05_30ep_seed0',
        ),
        ({'stage': 'early_fusion', 'seed': 2}, 'option2_gru2x128_exact_mean_len80_lr1e-05_30ep_seed2'),
    ],
)
def test_runs_are_named_by_their_main_settings(settings, name):
    assert name_run(TrainConfig(**settings)) == name


def test_paths_become_absolute_and_empty_ones_stay_empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = make_absolute(TrainConfig(train_manifest=('a.txt', '/b.txt'), run_dir='run', init_from=''))
    assert found.train_manifest == (os.path.join(tmp_path, 'a.txt'), '/b.txt')
    assert (found.run_dir, found.init_from, found.data_root) == (os.path.join(tmp_path, 'run'), '', '')
