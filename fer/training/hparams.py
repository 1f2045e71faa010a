"""What TensorBoard's HParams tab shows: every run below its --logdir with its settings and its validation scores."""

import dataclasses
import typing

from tensorboard.plugins.hparams import api_pb2, summary

from fer.runs.config import TrainConfig
from fer.training.events import EventFile

# Settings that say where a run and its data lie, not what it is.
_PLACES = ('run_dir', 'data_root')
_TYPES = {
    bool: api_pb2.DATA_TYPE_BOOL,
    int: api_pb2.DATA_TYPE_FLOAT64,
    float: api_pb2.DATA_TYPE_FLOAT64,
    str: api_pb2.DATA_TYPE_STRING,
}
# The datasets of 6.1, which are scored each. TensorBoard takes its columns from whichever run it reads first, so every
# run names these, its own or not.
_DATASETS = ('', 'rafdb/', 'affectnet/', 'fer2013/')


def write_start(writer: EventFile, config: TrainConfig) -> None:
    """Adds the columns of the tab, and that a session with these settings has begun.

    A run that is resumed says so again; TensorBoard keeps what it read first.

    Args:
      writer: of the run's folder.
      config: the run.
    """
    types = typing.get_type_hints(TrainConfig)
    names = [field.name for field in dataclasses.fields(TrainConfig) if field.name not in _PLACES]
    columns = [api_pb2.HParamInfo(name=name, type=_TYPES[types[name]]) for name in names]
    scores = [
        api_pb2.MetricInfo(
            name=api_pb2.MetricName(tag=f'validation/{dataset}{metric}'), display_name=f'{dataset}{metric}'
        )
        for dataset in _DATASETS
        for metric in ('accuracy', 'f1')
    ]
    writer.add_summary(summary.experiment_pb(columns, scores))
    writer.add_summary(summary.session_start_pb({name: getattr(config, name) for name in names}))


def write_end(writer: EventFile) -> None:
    """Adds that the session ended well.

    One that failed writes nothing: TensorBoard would keep that failure, which it read first, when the run has been
    resumed and is done.
    """
    writer.add_summary(summary.session_end_pb(api_pb2.STATUS_SUCCESS))
