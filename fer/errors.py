# SPDX-License-Identifier: Apache-2.0
"""The one exception for wrong input, which the user can correct, and the form of its message."""

_LONGEST = 2000  # characters of a line that are shown, because a file may hold a million instead of a name


class InputError(Exception):
    """Wrong input. The message is one line: the file, the line, what was found, what was expected.

    `fer.cli.run` prints it without a traceback and exits with code 2.
    """


def one_line(text: str) -> str:
    """Returns a text, which may quote a file, as one line that is safe to print.

    Control characters, line breaks, invisible characters and broken UTF-8 are escaped. The middle of a very long line
    is left out.
    """
    text = ''.join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return text if len(text) <= _LONGEST else f'{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}'
