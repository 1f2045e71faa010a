"""Reading the package's CSV files, each row as its named tuple."""

import csv
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

_FOLDER = Path(__file__).parent

Row = TypeVar('Row')


def read_table(name: str, row_type: type[Row]) -> list[Row]:
    """The rows of a file of this package in their order.

    Args:
      name: of the file.
      row_type: a NamedTuple whose fields are the columns: of type str, int, float or bool, or one of these or None. An
        empty cell is None where the type allows it and an empty text elsewhere.
    """
    kinds = typing.get_type_hints(row_type)
    with open(_FOLDER / name, encoding='utf-8', newline='') as file:
        return [
            row_type(**{field: _cell(row[field], kind) for field, kind in kinds.items()})
            for row in csv.DictReader(file)
        ]


def _cell(text: str, kind: Any) -> Any:
    """A cell as its field's type, `kind` being that type or `type | None`."""
    options = typing.get_args(kind) or (kind,)
    if text == '' and types.NoneType in options:
        return None
    (own,) = [option for option in options if option is not types.NoneType]
    return {'True': True, 'False': False}[text] if own is bool else own(text)
