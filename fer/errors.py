"""The one exception that means: the input is wrong, and the reader can mend it; and what its message looks like."""

_LONGEST = 2000  # characters of a line that are shown; what a file holds instead of a name may be a million


class InputError(Exception):
    """Bad input. The message is one line: the file, the line, what was found, what was expected.

    `fer.cli.run` prints it without a traceback and exits with code 2.
    """


def one_line(text: str) -> str:
    """A text that may quote whatever a file or its name holds, as one line that does nothing to a terminal.

    Control characters, line breaks of every kind, invisible ones and broken UTF-8 are escaped; the middle of a very
    long line is left out.
    """
    text = ''.join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return text if len(text) <= _LONGEST else f'{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}'
