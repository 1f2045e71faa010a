# SPDX-License-Identifier: Apache-2.0
"""absl flags that are made from a class of settings (fer/settings.py)."""

import dataclasses
from typing import Any, TypeVar

from absl import flags

from fer.settings import Setting, settings_of

flags.disclaim_key_flags()  # a flag belongs to the command that defines it

_Settings = TypeVar('_Settings')


class _Parser(flags.ArgumentParser):
    """Parses and checks the text of one flag."""

    syntactic_help = ''  # the help has the values already

    def __init__(self, setting: Setting):
        self.setting = setting

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            return argument  # a default
        value = self.setting.parse(argument)
        self.setting.check(value)
        return value


class _Serializer(flags.ArgumentSerializer):
    """Writes the value of one flag as text."""

    def __init__(self, setting: Setting):
        self.setting = setting

    def serialize(self, value: Any) -> str:
        return self.setting.format(value)


def define_flags(settings: type, values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines a flag for each field of a class of settings, by default among the flags of the command line."""
    for name, one in settings_of(settings).items():
        is_required = one.default is dataclasses.MISSING
        default = None if is_required else one.default
        is_switch = one.kind is bool  # --name and --noname need no value
        flag = flags.Flag(_Parser(one), _Serializer(one), name, default, one.describe(), boolean=is_switch)
        flags.DEFINE_flag(flag, values, required=is_required)


def read_flags(settings: type[_Settings], values: flags.FlagValues = flags.FLAGS) -> _Settings:
    """Returns the settings that the flags of `define_flags` have been given."""
    return settings(**{name: values[name].value for name in settings_of(settings)})
