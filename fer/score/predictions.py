# SPDX-License-Identifier: Apache-2.0
"""Predictions of any program for the videos of a ledger: a CSV whose columns are found by their names."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer import emotions
from fer.errors import InputError
from fer.manifest import LedgerRow, read_ledger_file

LOST = -1  # the prediction of a video that the program does not answer
UNKNOWN = ('', '-')  # a label or prediction that is not known
PROBABILITY_COLUMNS = tuple(f'p_{name}' for name in emotions.EMOTIONS)


class Predictions(NamedTuple):
    """The predictions of a program for the V videos of a ledger, in the ledger's order."""

    path: str
    ledger: str
    video_ids: list[str]
    labels: np.ndarray  # int [V], class indices
    predictions: np.ndarray  # int [V], class indices, LOST where one is missing
    notes: list[str]  # lines to print about the file


class _Row(NamedTuple):
    line: int
    label: int | None
    prediction: int
    is_tied: bool  # whether several classes have the largest probability


def read_predictions(path: str | Path, ledger_path: str | Path) -> Predictions:
    """Reads predictions and joins them with the videos of a ledger.

    A label comes from the ledger, or from the predictions if the ledger has none.

    Args:
      path: CSV with the columns `id`, optionally `label`, and either `prediction` or `p_Neutral` to `p_Surprise`. An
        empty prediction, or seven empty probabilities, means that the program does not answer the video.
      ledger_path: the ledger (fer/manifest.py).

    Raises:
      InputError: a file is missing or malformed, a column is missing, an id is not in the ledger or comes twice, or a
        label is missing or differs from the ledger's. The message names the line.
    """
    ledger = read_ledger_file(Path(ledger_path))
    if not ledger:
        raise InputError(f'{ledger_path}: no videos; expected one in each row')
    rows, notes = _read_rows(str(path), ledger)
    labels = [_find_label(str(path), str(ledger_path), video, rows.get(video.video_id)) for video in ledger.values()]
    predictions = [rows[video_id].prediction if video_id in rows else LOST for video_id in ledger]
    if ties := sum(row.is_tied for row in rows.values()):
        notes.append(
            f'{path}: in {ties} rows several classes have the largest probability, and the first of them counts'
        )
    return Predictions(str(path), str(ledger_path), list(ledger), np.array(labels), np.array(predictions), notes)


def _read_rows(path: str, ledger: Mapping[str, LedgerRow]) -> tuple[dict[str, _Row], list[str]]:
    """Returns the rows of a CSV by video id, and notes about its columns."""
    rows: dict[str, _Row] = {}
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            reader = csv.reader(file, strict=True)
            try:
                header = [name.strip() for name in next(reader, [])]
                notes = _check_header(header)
                for fields in reader:
                    if not any(field.strip() for field in fields):
                        continue
                    video_id, row = _parse_row(header, fields, reader.line_num)
                    if video_id in rows:
                        raise ValueError(
                            f'id {video_id!r} is already in line {rows[video_id].line}; remove one of both'
                        )
                    if video_id not in ledger:
                        raise ValueError(f'id {video_id!r} is not in the ledger; remove the row, or give its ledger')
                    rows[video_id] = row
            except (ValueError, csv.Error) as error:
                raise InputError(f'{path}:{max(1, reader.line_num)}: {error}') from None
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}; expected a CSV of predictions') from None
    except UnicodeDecodeError:
        raise InputError(f'{path}: not UTF-8 text; expected a CSV of predictions') from None
    if not rows:
        raise InputError(f'{path}: no rows under the header; expected one for each video')
    return rows, [f'{path}: {note}' for note in notes]


def _check_header(header: Sequence[str]) -> list[str]:
    """Returns a note if a file has both kinds of predictions. Raises ValueError for missing or repeated columns."""
    known = ('id', 'label', 'prediction', *PROBABILITY_COLUMNS)
    if repeated := [name for name in known if header.count(name) > 1]:
        raise ValueError(f'column {", ".join(repeated)} comes more than once; remove the others')
    if 'id' not in header:
        raise ValueError(f'no column id; found {", ".join(header) or "no header"}')
    missing = [name for name in PROBABILITY_COLUMNS if name not in header]
    if 'prediction' in header:
        return [] if missing else ['has predictions and probabilities, and the predictions count']
    if len(missing) == len(PROBABILITY_COLUMNS):
        raise ValueError(f'no column prediction and none of {", ".join(PROBABILITY_COLUMNS)}; add one or the other')
    if missing:
        raise ValueError(f'no column {", ".join(missing)}; expected the probabilities of all seven classes')
    return []


def _parse_row(header: Sequence[str], fields: Sequence[str], line: int) -> tuple[str, _Row]:
    if len(fields) != len(header):
        raise ValueError(f'{len(fields)} fields; expected {len(header)}, as in the header')
    row = {name: field.strip() for name, field in zip(header, fields, strict=True)}
    if not row['id']:
        raise ValueError('an empty id; expected the id of a video')
    text = row.get('label', '')
    label = None if text in UNKNOWN else emotions.from_name(text)
    if 'prediction' in row:
        text = row['prediction']
        return row['id'], _Row(line, label, LOST if text in UNKNOWN else emotions.from_name(text), False)
    texts = [row[name] for name in PROBABILITY_COLUMNS]
    if all(text in UNKNOWN for text in texts):
        return row['id'], _Row(line, label, LOST, False)
    values = [_parse_probability(name, text) for name, text in zip(PROBABILITY_COLUMNS, texts, strict=True)]
    largest = max(values)
    return row['id'], _Row(line, label, values.index(largest), values.count(largest) > 1)


def _parse_probability(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ValueError(f'{name} is {text!r}; expected a probability from 0 to 1')
    return value


def _find_label(path: str, ledger_path: str, video: LedgerRow, row: _Row | None) -> int:
    """Returns the label of a video, from the ledger or from its row of the predictions."""
    given = row.label if row else None
    if row and None not in (video.label, given) and video.label != given:
        names = [emotions.EMOTIONS[label] for label in (given, video.label) if label is not None]
        raise InputError(
            f'{path}:{row.line}: video {video.video_id} is {names[0]} here and {names[1]} in {ledger_path}'
        )
    label = given if video.label is None else video.label
    if label is None:
        where = f'{path}:{row.line}' if row else ledger_path
        raise InputError(f'{where}: video {video.video_id} has no label; add it to the ledger or as a column label')
    return label
