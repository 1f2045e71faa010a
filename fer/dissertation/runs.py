# SPDX-License-Identifier: Apache-2.0
"""All runs in the result tables of chapter 6: the settings in their rows and sections, and the printed scores.

`runs.csv` beside this module holds the dissertation's statements, with numbers as printed. A cell is empty if it does
not apply or is not stated. The column `doubt` lists what is inferred, misprinted or open. If a run needs a setting that
is not stated anywhere, its flagfile below configs/ chooses a value and gives the reason.
"""

from typing import NamedTuple

from fer.dissertation.tables import read_table


class Run(NamedTuple):
    """A row of `runs.csv`, with None for an empty cell."""

    run_id: str  # <section>-t<table>-r<run>. 6.5e is early fusion, 6.5l late fusion, each with tables from 1
    section: str
    table: int
    run: int
    stage: str  # pretrain, finetune, temporal, audio_video, audio_clips, early_fusion or late_fusion
    model: str | None  # None for late fusion
    learning_rate: float | None
    lr_schedule: str | None
    batch_size: int | None
    epochs: str | None  # 30, or 5,25 for two phases
    seq_len: int | None  # None for stills and for the audio of whole videos
    global_pool: bool | None  # None for VGG-Face and for audio
    aggregate: str | None
    classify: str | None
    reinit_fc: bool | None
    bidirectional: bool | None  # in early fusion, this and the next three are of the classifier
    attention: bool | None
    rnn_layers: int | None
    rnn_units: int | None
    hidden_units: str | None  # 1024, or 256,64 for two layers
    dropout: float | None
    batch_norm: bool | None
    fusion_option: int | None  # of early fusion (4.4)
    audio_run: str | None  # run id of early fusion's audio GRU
    fusion_method: int | None  # of late fusion (6.5)
    avg_accuracy: float | None  # percent, the printed mean of late fusion's members
    init_from: str | None  # run ids restored, separated by semicolons
    # Run ids of late fusion's members, separated by semicolons. The tables do not name members. `doubt` shows which of
    # them we chose. One member, 6.2-t0-r1, has no row.
    members: str | None
    # Percent. F1 is the mean of the classes' F1. AFEW's scores are of its validation set.
    afew_accuracy: float | None
    afew_f1: float | None
    rafdb_accuracy: float | None
    rafdb_f1: float | None
    affectnet_accuracy: float | None
    affectnet_f1: float | None
    fer2013_accuracy: float | None
    fer2013_f1: float | None
    doubt: str | None  # what is inferred, not stated, misprinted or ambiguous, None if everything is stated


def read_runs() -> list[Run]:
    """Returns the 112 runs in the order of the tables."""
    return read_table('runs.csv', Run)
