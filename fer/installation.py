# SPDX-License-Identifier: Apache-2.0
"""Places of the project's own files, in a checkout or inside the package that a wheel installed.

A wheel contains `configs/` as `fer/configs/` and the commit that it was built from as `fer/COMMIT`. It contains neither
the scripts of the top level nor `gpu_jobs/`.
"""

import importlib.resources
from pathlib import Path

PACKAGE = Path(str(importlib.resources.files('fer'))).resolve()
IS_WHEEL = (PACKAGE / 'configs').is_dir()
CHECKOUT = None if IS_WHEEL else PACKAGE.parent
CONFIGS = PACKAGE / 'configs' if CHECKOUT is None else CHECKOUT / 'configs'
COMMIT_FILE = PACKAGE / 'COMMIT'


def find_config(path: str | Path) -> Path:
    """Returns a path as it is, or the project's own file if the path begins with `configs` and does not exist.

    So `--flagfile=configs/demo/vgg_face.flags` works in any folder. A `configs` in that folder has precedence.
    """
    path = Path(path)
    own = CONFIGS.joinpath(*path.parts[1:])
    return own if path.parts[:1] == ('configs',) and own.exists() and not path.exists() else path


def script(name: str) -> tuple[str, ...]:
    """Returns the words after `python` that run `train.py`, `evaluate.py` or `fusion.py` from any folder."""
    if CHECKOUT is None:
        return ('-m', f'fer.commands.{Path(name).stem}')
    return (str(CHECKOUT / name),)
