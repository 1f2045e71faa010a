# SPDX-License-Identifier: Apache-2.0
"""Errata: places where the dissertation's results contradict each other, its text, its sources, or arithmetic."""

from typing import NamedTuple

from fer.dissertation.tables import read_table


class Erratum(NamedTuple):
    """A row of `errata.csv`."""

    number: int
    place: str  # in the dissertation
    runs: str | None  # run ids, separated by semicolons, None if no run is concerned
    text: str


def read_errata() -> list[Erratum]:
    """Returns the errata by number."""
    return read_table('errata.csv', Erratum)
