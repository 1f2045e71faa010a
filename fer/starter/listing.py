# SPDX-License-Identifier: Apache-2.0
"""The networks of the starter set by name, and the table of their cards."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer.errors import InputError
from fer.nets.weights.starter import CARD_FILE, NAMES, find_starter, read_card
from fer.results.metrics import describe_interval
from fer.runs.names import STARTER_PREFIX


def read_cards() -> list[tuple[str, dict[str, Any] | str]]:
    """Returns the name of each network of the set and its card, or why it cannot be read."""
    found: list[tuple[str, dict[str, Any] | str]] = []
    for name in NAMES:
        try:
            found.append((f'{STARTER_PREFIX}{name}', read_card(locate(name))))
        except InputError as error:
            found.append((f'{STARTER_PREFIX}{name}', str(error)))
    return found


def locate(name: str) -> Path:
    """Returns the folder of a network, given its name or its folder. Raises InputError if it does not exist."""
    folder = find_starter(name if Path(name).is_dir() else f'{STARTER_PREFIX}{name.removeprefix(STARTER_PREFIX)}')
    if folder is None:
        raise InputError(f'--name={name}: no {CARD_FILE} with its weights in this folder; expected face or voice')
    return folder


def describe_cards(cards: Sequence[tuple[str, dict[str, Any] | str]]) -> list[str]:
    """Returns a table with a row for each network.

    Args:
      cards: (name, card) of each network, or (name, why there is no card).
    """
    lines = ['network        model           data      N test  accuracy                 F1    ECE   MB']
    for name, card in cards:
        first, *others = [card] if isinstance(card, str) else _describe_card(card)
        lines += [f'{name:13}  {first}', *(f'{"":13}  {text}' for text in others)]
    return lines


def _describe_card(card: dict[str, Any]) -> list[str]:
    """Returns the cells of a card, then its remarks, or the fault of a card that was changed."""
    try:
        scores = card['scores']
        data = '+'.join(row['title'] for row in card['data'])
        accuracy = f'{scores["accuracy"]:.1%} {describe_interval(scores["interval_95"])}'
        return [
            f'{card["network"]["model"]:14}  {data:8}  {scores["total"]:6,}  {accuracy:22}  '
            f'{100 * scores["f1"]:4.1f}  {card["calibration"]["ece_after"]:.3f}  {card["megabytes"]:.1f}',
            scores['of'],
            card['notice'],
        ]
    except (KeyError, TypeError, ValueError) as error:
        return [f'{CARD_FILE}: {type(error).__name__}: {error}; build the network again']
