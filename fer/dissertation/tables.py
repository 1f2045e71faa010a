# SPDX-License-Identifier: Apache-2.0
"""A reader for the CSV files of this package, with a named tuple for each row."""

import csv
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

_FOLDER = Path(__file__).parent

Row = TypeVar('Row')


def read_table(name: str, row_type: type[Row]) -> list[Row]:
    """Reads the rows of a file of this package, in order.

    Args:
      name: of the file.
      row_type: a NamedTuple whose fields are the columns, of type str, int, float or bool, optionally `| None`. An
        empty cell becomes None if the type allows it, else an empty text.
    """
    kinds = typing.get_type_hints(row_type)
    with open(_FOLDER / name, encoding='utf-8', newline='') as file:
        return [
            row_type(**{field: _cell(row[field], kind) for field, kind in kinds.items()})
            for row in csv.DictReader(file)
        ]


def _cell(text: str, kind: Any) -> Any:
    """Converts a cell to the type of its field. `kind` is that type or `type | None`."""
    options = typing.get_args(kind) or (kind,)
    if text == '' and types.NoneType in options:
        return None
    (own,) = [option for option in options if option is not types.NoneType]
    return {'True': True, 'False': False}[text] if own is bool else own(text)
