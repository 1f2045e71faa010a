# SPDX-License-Identifier: Apache-2.0
"""Late fusion of results files: python fusion.py --results=A/results_val.txt,B/results_val.txt --output=FOLDER

fer/commands/fusion.py defines the flags, --help lists them. A wheel installs this command as fer-fuse.
"""

from fer.commands.fusion import run

if __name__ == '__main__':
    run()
