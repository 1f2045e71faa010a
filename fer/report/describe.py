# SPDX-License-Identifier: Apache-2.0
"""The settings of a run as one line of text."""

from collections.abc import Iterator

from fer.dissertation.runs import Run


def describe(run: Run) -> str:
    """Returns the settings that the run's table is about, separated by commas."""
    if run.fusion_method:
        parts = [
            f'method {run.fusion_method}',
            _if_given('{} members', len(run.members.split(';')) if run.members else None),
            _if_given('their mean accuracy {:.1f}', run.avg_accuracy),
        ]
    else:
        parts = [*_network(run), *_windows(run), *_training(run)]
    return ', '.join(part for part in parts if part)


def _network(run: Run) -> Iterator[str]:
    yield _if_given('option {}', run.fusion_option)
    yield _if_given('audio {}', run.audio_run)
    yield _if_given('hidden {}', run.hidden_units)
    if run.rnn_units:
        yield f'{"B" * bool(run.bidirectional)}GRU {run.rnn_layers} x {run.rnn_units}'
    elif run.bidirectional:
        yield 'BGRU'
    yield 'attention' if run.attention else ''
    yield 'batch normalisation' if run.batch_norm else ''


def _windows(run: Run) -> Iterator[str]:
    if run.seq_len == 1:
        yield 'per frame'
    else:
        yield _if_given('windows of {}', run.seq_len)
        yield _if_given('{}', run.classify)
    yield _if_given('{}', run.aggregate)


def _training(run: Run) -> Iterator[str]:
    yield f'LR {run.learning_rate:f}'.rstrip('0') if run.learning_rate else ''
    yield _if_given('{}', run.lr_schedule)
    yield _if_given('batch {}', run.batch_size)
    yield f'epochs {run.epochs.replace(",", " + ")}' if run.epochs else ''
    yield _if_given('global pool {}', run.global_pool)
    yield _if_given('dropout {:g}', run.dropout)
    yield 'dense layers fresh' if run.reinit_fc else ''
    yield f'from {run.init_from.replace(";", ", ")}' if run.init_from else ''


def _if_given(text: str, value: object) -> str:
    return '' if value is None else text.format(value)
