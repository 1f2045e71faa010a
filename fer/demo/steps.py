# SPDX-License-Identifier: Apache-2.0
"""The steps of a demo, each a command in a process of its own."""

import subprocess
import sys

from fer.errors import InputError
from fer.installation import CHECKOUT, script


def step(*arguments: str, label: str = '') -> None:
    """Prints and runs `python ARGUMENTS`.

    Args:
      arguments: arguments of the command, the script or `-m` first.
      label: text before each line of output, for steps that run at the same time.

    Raises:
      InputError: the command fails.
    """
    if CHECKOUT is None and arguments[0].endswith('.py'):
        arguments = (*script(arguments[0]), *arguments[1:])
    print(f'{label}$ python {" ".join(arguments)}', flush=True)
    command = [sys.executable, *arguments]
    if label:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            for line in process.stdout or ():
                print(label + line, end='', flush=True)
        code = process.returncode
    else:
        code = subprocess.run(command).returncode
    if code:
        raise InputError(f'python {" ".join(arguments)}: exit code {code}')
