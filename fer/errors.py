"""The one exception that means: the input is wrong, and the reader can mend it."""


class InputError(Exception):
    """Bad input. The message is one line: the file, the line, what was found, what was expected.

    `fer.cli.run` prints it without a traceback and exits with code 2.
    """
