# SPDX-License-Identifier: Apache-2.0
"""The start and end of every command: absl flags in, one line per error, an exit code out.

Exit codes are 0 (done), 2 (bad input or flags), 85 (stopped by SIGTERM or SIGUSR1 and can be resumed, see `fer.stop`)
and 130 (interrupted). A command's help lists the codes of its own.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags

from fer.errors import InputError, one_line
from fer.files import REMEDIES, describe
from fer.runs.flagfiles import expand_flagfiles
from fer.stop import STOP_CODE, Stopped

_RESTARTED = 'FER_RESTARTED_FOR_UTF8'


def run(main: Callable[[], int | None]) -> None:
    """Parses the flags, calls `main()` and exits with what it returns (None: 0).

    Args:
      main: takes nothing, reads its flags and returns an exit code. An `InputError` that it raises becomes one line on
        standard error and exit code 2.
    """
    _insist_on_utf8()
    _adopt(main)
    app.run(lambda _: _call(main), flags_parser=_parse)


def run_verb(main: Callable[[str], int | None], verbs: tuple[str, ...], default: str = '') -> None:
    """Runs a command with several verbs, such as `python -m fer.experiment plan --table=6.3`, in the way of `run`.

    Args:
      main: takes the verb and returns an exit code.
      verbs: the first argument has to be one of these.
      default: the verb of a command without arguments, '' if it needs one.
    """
    if default and len(sys.argv) == 1:
        sys.argv.append(default)
    _insist_on_utf8()
    _adopt(main)
    app.run(lambda rest: _call(lambda: main(rest[1])), flags_parser=lambda argv: _parse_verb(argv, verbs))


def _insist_on_utf8() -> None:
    """Starts the command again in Python's UTF-8 mode where the locale has another encoding.

    Names of files are bytes. If they were read as ISO-8859-1, manifests and ledgers would have other names than those
    that a job with a UTF-8 locale writes.
    """
    if sys.getfilesystemencoding().lower() == 'utf-8':
        return
    if _RESTARTED in os.environ:  # Python ignores PYTHONUTF8 after `python -E`
        _fail(f'names of files are read as {sys.getfilesystemencoding()}; set LC_ALL to a locale with UTF-8')
    os.environ |= {'PYTHONUTF8': '1', _RESTARTED: '1'}
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _adopt(main: Callable) -> None:
    """Makes --help show the docstring and the flags of the module of `main`, whichever script called it."""
    if main.__module__ != '__main__':
        sys.modules['__main__'].__doc__ = sys.modules[main.__module__].__doc__
        for flag in flags.FLAGS.get_key_flags_for_module(main.__module__):
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _parse_verb(argv: Sequence[str], verbs: tuple[str, ...]) -> list[str]:
    command, *arguments = argv
    if arguments and arguments[0] in verbs:
        _parse([command, *arguments[1:]])
        return [command, arguments[0]]
    if arguments and arguments[0].startswith('-'):
        _parse(argv)  # answers --help and exits
    _fail(f'{arguments[0] if arguments else "nothing"}: expected one of {", ".join(verbs)}, and flags after it')


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        rest = flags.FLAGS([argv[0], *expand_flagfiles(argv[1:])])
        if len(rest) > 1:
            raise flags.Error(f'{rest[1]!r} is not a flag; every argument is given as --name=value')
    except InputError as error:
        _fail(str(error))
    except flags.Error as error:
        _fail(' '.join(str(error).split()))
    except BrokenPipeError:  # the reader of the help has closed the pipe, as in `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except SystemExit:  # absl has printed the help and would exit with code 1
        sys.exit(0)
    return rest


def _call(main: Callable[[], int | None]) -> int | None:
    try:
        code = main()
        sys.stdout.flush()  # if standard output is on a full disk, this is one line instead of Python's traceback
        return code
    except InputError as error:
        _fail(str(error))
    except OSError as error:  # an unusable path or a full disk
        remedy = REMEDIES.get(error.errno or 0)
        _fail(f'{describe(error)}; {remedy} and run it again' if remedy else describe(error))
    except Stopped as stopped:
        print(f'{_command()}: {stopped}', file=sys.stderr)
        return STOP_CODE
    except KeyboardInterrupt:
        print(f'{_command()}: interrupted', file=sys.stderr)
        return 130


def _fail(message: str) -> NoReturn:
    for stream, text in ((sys.stdout, ''), (sys.stderr, f'{_command()}: {one_line(message)}\n')):
        try:
            stream.write(text)
            stream.flush()
        except OSError:  # this stream is on the full disk too, so the rest of its text is dropped
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(2)


def _command() -> str:
    spec = sys.modules['__main__'].__spec__
    return f'python -m {spec.name.removesuffix(".__main__")}' if spec else os.path.basename(sys.argv[0])
