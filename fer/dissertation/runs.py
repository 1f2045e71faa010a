"""Every run of the result tables of chapter 6: what its row and its section say of it, and the scores they print.

`runs.csv` beside this module has what the dissertation states, numbers as it prints them; an empty cell is not
applicable or not stated, and `doubt` says what is inferred, misprinted or open. What a run cannot do without and
nothing states is chosen in the flagfiles below configs/, with the reason.
"""

from typing import NamedTuple

from fer.dissertation.tables import read_table


class Run(NamedTuple):
    """A row of `runs.csv`; None where its cell is empty."""

    run_id: str  # <section>-t<table>-r<run>; 6.5e is early fusion, 6.5l late fusion, whose tables count from 1 each
    section: str
    table: int
    run: int
    stage: str  # pretrain, finetune, temporal, audio_video, audio_clips, early_fusion or late_fusion
    model: str | None  # None for late fusion
    learning_rate: float | None
    lr_schedule: str | None
    batch_size: int | None
    epochs: str | None  # 30, or 5,25 for two phases
    seq_len: int | None  # None for stills and for whole videos' sound
    global_pool: bool | None  # None for VGG-Face and for sound
    aggregate: str | None
    classify: str | None
    reinit_fc: bool | None
    bidirectional: bool | None  # of early fusion's classifier, as the next three
    attention: bool | None
    rnn_layers: int | None
    rnn_units: int | None
    hidden_units: str | None  # 1024, or 256,64 for two layers
    dropout: float | None
    batch_norm: bool | None
    fusion_option: int | None  # of early fusion (4.4)
    audio_run: str | None  # the run_id whose GRU early fusion hears with
    fusion_method: int | None  # of late fusion (6.5)
    avg_accuracy: float | None  # percent, the mean of late fusion's members as printed
    init_from: str | None  # the run_ids restored, with semicolons
    # The run_ids that late fusion joins, with semicolons. The tables do not name them: where `doubt` says so they are
    # chosen. 6.2-t0-r1, one of them, has no row.
    members: str | None
    # Percent; F1 is the mean of the classes' F1. AFEW's are of its validation set.
    afew_accuracy: float | None
    afew_f1: float | None
    rafdb_accuracy: float | None
    rafdb_f1: float | None
    affectnet_accuracy: float | None
    affectnet_f1: float | None
    fer2013_accuracy: float | None
    fer2013_f1: float | None
    doubt: str | None  # what of the row is inferred, unstated, misprinted or ambiguous; None where all is stated


def read_runs() -> list[Run]:
    """The 112 runs in the order of the tables."""
    return read_table('runs.csv', Run)
