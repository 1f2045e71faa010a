# SPDX-License-Identifier: Apache-2.0
"""Reads the text files in which datasets list their items. Each error names the file and the line."""

import csv
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from fer.errors import InputError


def read_rows(path: Path, delimiter: str = ',', columns: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yields (line number, stripped fields) of each line of a list file. Blank lines are skipped.

    Args:
      path: a file of UTF-8 text.
      delimiter: one character. A space stands for any run of spaces and tabs.
      columns: number of fields of every line. None takes the number of the first line.

    Raises:
      InputError: the file cannot be read, or a line has a different number of fields.
    """
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            if delimiter == ' ':
                rows = ((line, text.split()) for line, text in enumerate(file, start=1))
            else:
                reader = csv.reader(file, delimiter=delimiter, strict=True)
                rows = ((reader.line_num, [field.strip() for field in fields]) for fields in reader)
            for line, fields in rows:
                if fields in ([], ['']):
                    continue
                columns = columns or len(fields)
                if len(fields) != columns:
                    found = f'{len(fields)} columns in {" ".join(fields)[:60]!r}'
                    raise InputError(f'{path}:{line}: found {found}; expected {columns}')
                yield line, fields
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}; expected a list file') from None
    except UnicodeDecodeError:
        raise InputError(f'{path}: not UTF-8 text; expected a list file') from None
    except csv.Error as error:
        raise InputError(f'{path}:{reader.line_num}: {error}; expected a list file') from None


def read_table(path: Path, names: Collection[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line number, fields by name) of a CSV file with a header, whose columns may have any order.

    Raises:
      InputError: the file cannot be read, a line has a different number of fields, or a column of `names` is missing.
    """
    header: list[str] = []
    for line, fields in read_rows(path):
        if header:
            yield line, dict(zip(header, fields, strict=True))
            continue
        header = fields
        if not set(names) <= set(header):
            raise InputError(f'{path}:{line}: found columns {header}; expected {", ".join(names)}')
    if not header:
        raise InputError(f'{path}: no lines; expected columns {", ".join(names)}')


def parse_whole_number(text: str, path: Path, line: int, expected: str) -> int:
    """Returns a field as a whole number. Some lists write 3 as `3.0`.

    Args:
      text: the field.
      path: the list file, for the error.
      line: the number of the line, for the error.
      expected: the meaning of the number, for the error.

    Raises:
      InputError: the text is not a whole number.
    """
    if not re.fullmatch(r'[+-]?[0-9]{1,9}(\.0*)?', text):
        raise InputError(f'{path}:{line}: found {text!r}; expected {expected} as a whole number')
    return int(text.partition('.')[0])
