# SPDX-License-Identifier: Apache-2.0
"""Settings as fields of dataclasses, with type, default, values, purpose and dissertation section.

The flags of a command, its checks, flags.txt and the tables of flags in the documentation are made from these fields.
"""

import dataclasses
import math
import os
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fer.errors import InputError

_TRUTH = {'true': True, 't': True, '1': True, 'false': False, 'f': False, '0': False}


@dataclass(frozen=True)
class Setting:
    """The facts of one setting. A number or text has to be one of the choices, or in the range if there is one."""

    help: str  # its purpose, in whole sentences
    section: str = ''  # of the dissertation, empty if the dissertation does not mention the setting
    choices: Mapping[Any, str] = field(default_factory=dict)  # {value: meaning}, the meaning empty if it is obvious
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    noun: str = ''  # the thing that a number counts or is: frames, a rate
    fewest: int = 0  # values of a tuple
    most: int | None = None  # values of a tuple, None for any number
    expected: str = ''  # describes the values where choices and range do not
    by_default: str = ''  # describes a default that the network, the stage or the run decides
    is_path: bool = False
    is_later: bool = False  # whether flags.txt of older runs does not have it
    before: Any = None  # the value that older runs had, None if it is the default
    # From the field itself.
    name: str = ''
    kind: type = str  # bool, int, float or str, of the value or of each value of a tuple
    is_tuple: bool = False  # a flag separates the values by commas
    default: Any = None  # dataclasses.MISSING if the setting has to be given

    def parse(self, text: str) -> Any:
        """Returns the value that a text stands for. Only its type is checked.

        Raises:
          InputError: the text is not of the setting's type.
        """
        try:
            if not self.is_tuple:
                return self._parse_one(text)
            if self.is_path:
                return split_paths(text)
            if self.choices and text.strip() == 'all':
                return tuple(self.choices)
            return tuple(self._parse_one(part.strip()) for part in text.split(',')) if text.strip() else ()
        except (ValueError, KeyError):
            raise InputError(f'--{self.name}={text}: expected {self.describe_values()}') from None

    def _parse_one(self, text: str) -> Any:
        return _TRUTH[text.lower()] if self.kind is bool else self.kind(text)

    def format(self, value: Any) -> str:
        """Returns the text that `parse` reads as the value."""
        if not self.is_tuple:
            return str(value)
        return 'all' if value and value == tuple(self.choices) else ','.join(map(str, value))

    def check(self, value: Any) -> None:
        """Raises InputError for a value that is neither one of the choices nor in the range."""
        values = value if self.is_tuple else (value,)
        is_counted = not self.is_tuple or self.fewest <= len(values) <= (self.most or len(values))
        is_repeated = bool(self.choices) and len(set(values)) < len(values)
        if not is_counted or is_repeated or not all(map(self._allows, values)):
            raise InputError(f'--{self.name}={self.format(value)}: expected {self.describe_values()}')

    def _allows(self, value: Any) -> bool:
        if value in self.choices or not (self.choices or self._has_range()):
            return True
        return (
            self._has_range()
            and math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def _has_range(self) -> bool:
        return any(limit is not None for limit in (self.at_least, self.above, self.at_most, self.below))

    def describe_values(self) -> str:
        """Returns the allowed values in words, such as `one of gru, lstm` or `0 (no limit), or 1 or more steps`."""
        if self.expected:
            return self.expected
        if self._has_range():
            named = ''.join(f'{value} ({meaning}), or ' for value, meaning in self.choices.items())
            return named + (self._describe_whole_numbers() if self.kind is int else self._describe_numbers())
        if self.choices:
            names = ', '.join(filter(None, map(str, self.choices)))
            return f'all, or a comma list of {names}, each at most once' if self.is_tuple else f'one of {names}'
        return {bool: 'True or False', int: 'a whole number', float: 'a number'}.get(self.kind, 'text')

    def _describe_whole_numbers(self) -> str:
        end = 'or more' if self.at_most is None else f'to {self.at_most}'
        return f'{self.at_least} {end} {self.noun}'.rstrip()

    def _describe_numbers(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f'{self.noun or "a number"} from {self.at_least:g} to {self.at_most:g}'
        limits = {'of at least': self.at_least, 'above': self.above, 'at most': self.at_most, 'below': self.below}
        words = [f'{word} {limit:g}' for word, limit in limits.items() if limit is not None]
        return f'{self.noun or "a number"} {" and ".join(words)}'

    def explain_values(self) -> str:
        """Returns the allowed values with their meanings, or an empty text for a switch, a path or a free text."""
        if self.choices and not self.is_tuple and not self._has_range():
            pairs = ((str(value) or 'empty', meaning) for value, meaning in self.choices.items())
            return ', '.join(f'{value} ({meaning})' if meaning else value for value, meaning in pairs)
        return self.describe_values() if self.expected or self.choices or self._has_range() else ''

    def describe(self) -> str:
        """Returns the help of the flag: its purpose, then its values, then its section."""
        values = self.explain_values()
        parts = [
            self.help,
            f'Values: {values}.' if values else '',
            f'Default: {self.by_default}.' if self.by_default else '',
            f'Dissertation: {self.section}.' if self.section else '',
        ]
        return ' '.join(filter(None, parts))


def setting(help: str, default: Any = dataclasses.MISSING, **facts: Any) -> Any:
    """Returns a dataclass field with the facts of a setting, which has to be given if it has no default."""
    return field(default=default, metadata={'setting': Setting(help, **facts)})


def setting_of(settings: type, name: str, **changes: Any) -> Any:
    """Returns a field with the facts of a setting of another class, some of them changed."""
    facts = dataclasses.replace(settings_of(settings)[name], **changes)
    return field(default=facts.default, metadata={'setting': facts})


def settings_of(settings: type) -> dict[str, Setting]:
    """Returns {name: setting} of a dataclass whose fields are made by `setting`, in the order of its fields."""
    hints = typing.get_type_hints(settings)
    found = {}
    for one in dataclasses.fields(settings):
        kinds = [kind for kind in typing.get_args(hints[one.name]) if kind is not type(None)] or [hints[one.name]]
        found[one.name] = dataclasses.replace(
            one.metadata['setting'],
            name=one.name,
            kind=kinds[0],
            is_tuple=typing.get_origin(hints[one.name]) is tuple,
            default=one.default,
        )
    return found


def check_values(settings: Any) -> None:
    """Raises InputError for the first setting whose value is not allowed. Values of None are not checked."""
    for name, one in settings_of(type(settings)).items():
        if (value := getattr(settings, name)) is not None:
            one.check(value)


def parse_values(settings: type, texts: Mapping[str, str]) -> dict[str, Any]:
    """Returns {name: value} of the settings of a class that have a text. Only types are checked.

    Raises:
      InputError: a text is not of its setting's type.
    """
    return {name: one.parse(texts[name]) for name, one in settings_of(settings).items() if name in texts}


def format_values(settings: Any) -> dict[str, str]:
    """Returns {name: text} of settings, in the order of their fields."""
    return {name: one.format(getattr(settings, name)) for name, one in settings_of(type(settings)).items()}


def values_before(settings: type, given: Collection[str]) -> dict[str, Any]:
    """Returns {name: value} of settings that are not given, where an older run had another value than the default.

    The settings of an older run are complete except for later settings, because they come from its flags.txt. Where
    others are missing too, the settings are those of a new run, and the result is empty.

    Args:
      settings: a class of settings.
      given: names of the settings that have a value.
    """
    missing = {name: one for name, one in settings_of(settings).items() if name not in given}
    if not all(one.is_later for one in missing.values()):
        return {}
    return {name: one.before for name, one in missing.items() if one.before is not None}


class FlagRow(NamedTuple):
    """A row of the table of flags in the documentation."""

    flag: str
    default: str
    values: str
    section: str
    help: str


def describe_settings(settings: type) -> list[FlagRow]:
    """Returns the rows of the table of flags, one for each setting of a class, in the order of its fields."""
    rows = []
    for name, one in settings_of(settings).items():
        default = one.by_default
        if not default:
            default = 'required' if one.default is dataclasses.MISSING else one.format(one.default)
        rows.append(FlagRow(f'--{name}', default, one.explain_values(), one.section, one.help))
    return rows


def split_paths(text: str) -> tuple[str, ...]:
    """Returns the paths in a text, separated by commas. A file that has the whole text as its name is one path."""
    return (text,) if os.path.exists(text) else tuple(path.strip() for path in text.split(',') if path.strip())
