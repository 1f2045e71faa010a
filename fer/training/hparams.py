# SPDX-License-Identifier: Apache-2.0
"""TensorBoard's HParams tab: every run below its --logdir with its settings and its validation scores."""

from typing import Any

from tensorboard.plugins.hparams import api_pb2, summary

from fer.runs.config import TrainConfig
from fer.settings import Setting, settings_of
from fer.training.events import EventFile

_PLACES = ('run_dir', 'data_root')  # not shown: they are different in every run
_TYPES = {
    bool: api_pb2.DATA_TYPE_BOOL,
    int: api_pb2.DATA_TYPE_FLOAT64,
    float: api_pb2.DATA_TYPE_FLOAT64,
    str: api_pb2.DATA_TYPE_STRING,
}
# The datasets of 6.1, each scored by itself. TensorBoard takes its columns from the run that it reads first, so every
# run names all of them, even those that it does not use.
_DATASETS = ('', 'rafdb/', 'affectnet/', 'fer2013/')


def write_start(writer: EventFile, config: TrainConfig) -> None:
    """Adds the columns of the tab and the start of a session with these settings.

    A resumed run adds them again. TensorBoard keeps those that it read first.

    Args:
      writer: writes to the run's folder.
      config: the settings of the run.
    """
    settings = {name: one for name, one in settings_of(TrainConfig).items() if name not in _PLACES}
    columns = [
        api_pb2.HParamInfo(name=name, type=_TYPES[str if one.is_tuple else one.kind]) for name, one in settings.items()
    ]
    scores = [
        api_pb2.MetricInfo(
            name=api_pb2.MetricName(tag=f'validation/{dataset}{metric}'), display_name=f'{dataset}{metric}'
        )
        for dataset in _DATASETS
        for metric in ('accuracy', 'f1')
    ]
    writer.add_summary(summary.experiment_pb(columns, scores))
    values = {name: _shown(one, getattr(config, name)) for name, one in settings.items()}
    writer.add_summary(summary.session_start_pb(values))


def _shown(setting: Setting, value: Any) -> Any:
    return setting.format(value) if setting.is_tuple else value


def write_end(writer: EventFile) -> None:
    """Adds the end of a session that succeeded.

    A session that failed adds nothing. TensorBoard keeps the status that it read first, so a failure would remain after
    the run was resumed and finished.
    """
    writer.add_summary(summary.session_end_pb(api_pb2.STATUS_SUCCESS))
