# SPDX-License-Identifier: Apache-2.0
"""Evaluates a run on a split: python evaluate.py --run_dir=RUN --manifest=DATA/val.txt --split=val

fer/training/requests.py defines the flags, and --help lists them. A wheel installs this command as fer-evaluate.
"""

from fer.commands.evaluate import run

if __name__ == '__main__':
    run()
