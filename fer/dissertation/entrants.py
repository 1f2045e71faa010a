# SPDX-License-Identifier: Apache-2.0
"""Single networks of entrants to EmotiW 2018. Section 6.2 compares its own networks with them (table 7)."""

from typing import NamedTuple

from fer.dissertation.tables import read_table

# {number in the dissertation's bibliography: authors}
PAPERS = {'[18]': 'Fan et al.', '[47]': 'Liu et al.', '[48]': 'Lu et al.', '[56]': 'Vielzeuf et al.'}


class Entrant(NamedTuple):
    """A row of table 7 of section 6.2."""

    section: str
    table: int
    paper: str  # a key of PAPERS
    model: str
    afew_val_acc: float  # percent


def read_entrants() -> list[Entrant]:
    """Returns the five rows of the table."""
    return read_table('entrants_2018.csv', Entrant)
