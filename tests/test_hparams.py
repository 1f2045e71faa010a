# SPDX-License-Identifier: Apache-2.0
"""TensorBoard's HParams tab, as TensorBoard's own backend reads it from run folders."""

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.get_experiment import Handler as ExperimentHandler
from tensorboard.plugins.hparams.list_session_groups import Handler as GroupsHandler

from fer.runs.config import TrainConfig
from fer.settings import settings_of
from fer.training.log import RunLog


def make_config(**settings):
    return TrainConfig(batch_size=4, global_pool=True, initialiser='fan_out', **settings)


@pytest.fixture
def backend(tmp_path):
    """Makes a pretraining run and a run that was interrupted and resumed, each in a folder below one --logdir."""
    one, other = tmp_path / 'pretrain' / 'vgg_face' / 'a', tmp_path / 'temporal' / 'vgg_face' / 'b'
    for folder in (one, other):
        folder.mkdir(parents=True)
    with RunLog(one, 0, make_config(stage='pretrain', learning_rate=1e-4, seed=3)) as log:
        log.log_validation(5, 1, 1, 'rafdb', {'correct': 3, 'total': 4, 'accuracy': 0.75, 'f1': 0.625})
        log.log_validation(5, 1, 1, 'fer2013', {'correct': 1, 'total': 4, 'accuracy': 0.25, 'f1': 0.125})
    config = make_config(stage='temporal', bidirectional=True, rnn_units=128, train_epochs=(5, 25))
    scores = {'correct': 1, 'total': 2, 'accuracy': 0.5, 'f1': 0.375}
    interrupted = RunLog(other, 0, config)
    interrupted.log_validation(1, 1, 1, '-', scores)
    interrupted.__exit__(KeyboardInterrupt, None, None)
    with RunLog(other, 1, config) as log:
        log.log_validation(2, 2, 1, '-', scores | {'correct': 2, 'accuracy': 1.0, 'f1': 0.875})
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    return Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(tmp_path))))


def test_each_run_is_one_session(backend):
    experiment = ExperimentHandler(RequestContext(), backend, '', api_pb2.GetExperimentRequest()).run()
    settings = {info.name for info in experiment.hparam_infos}
    assert settings == set(settings_of(TrainConfig)) - {'run_dir', 'data_root'}
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_SUCCESS],
        col_params=[api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos],
        aggregation_type=api_pb2.AGGREGATION_AVG,
        slice_size=10,
    )
    groups = GroupsHandler(RequestContext(), backend, '', request).run().session_groups
    sessions = {group.sessions[0].name: group for group in groups}
    assert set(sessions) == {'pretrain/vgg_face/a', 'temporal/vgg_face/b'}
    assert all(len(group.sessions) == 1 for group in groups)
    shown = {
        name: {value.name.tag: value.value for value in group.sessions[0].metric_values}
        for name, group in sessions.items()
    }
    assert shown['pretrain/vgg_face/a'] == {
        'validation/rafdb/accuracy': 0.75,
        'validation/rafdb/f1': 0.625,
        'validation/fer2013/accuracy': 0.25,
        'validation/fer2013/f1': 0.125,
    }
    assert shown['temporal/vgg_face/b'] == {'validation/accuracy': 1.0, 'validation/f1': 0.875}
    pretrain, temporal = (sessions[name].hparams for name in sorted(sessions))
    assert pretrain['stage'].string_value == 'pretrain'
    assert pretrain['learning_rate'].number_value == pytest.approx(1e-4)
    assert pretrain['seed'].number_value == 3
    assert temporal['bidirectional'].bool_value is True
    assert temporal['rnn_units'].number_value == 128
    assert temporal['train_epochs'].string_value == '5,25'
