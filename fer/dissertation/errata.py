"""Where the dissertation's results contradict each other, its text, or arithmetic."""

from typing import NamedTuple

from fer.dissertation.tables import read_table


class Erratum(NamedTuple):
    """A row of `errata.csv`."""

    number: int
    place: str  # in the dissertation
    runs: str | None  # the run_ids concerned, with semicolons; None where it is about none of them
    text: str


def read_errata() -> list[Erratum]:
    """The 33 inconsistencies, by number."""
    return read_table('errata.csv', Erratum)
