# SPDX-License-Identifier: Apache-2.0
"""The tables of chapter 7: the dissertation's results on AFEW beside those of entrants to EmotiW 2018."""

from typing import NamedTuple

from fer.dissertation.tables import read_table


class Comparison(NamedTuple):
    """A row of tables 1 to 4 of chapter 7."""

    table: int
    table_title: str
    entrant: str  # TP is the dissertation, [n] a number of its bibliography (`entrants.PAPERS`)
    run: str  # name of the entrant's row, empty for the organisers' baseline
    description: str
    val_acc: float  # percent
    test_acc: float | None  # percent
    run_id: str | None  # of a TP row: its run in chapter 6


def read_comparisons() -> list[Comparison]:
    """Returns the 22 rows in the order of the tables."""
    return read_table('chapter7.csv', Comparison)
