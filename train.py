# SPDX-License-Identifier: Apache-2.0
"""Trains one run: python train.py --model=vgg_face --stage=finetune --seq_len=80

fer/runs/config.py defines the flags, and --help lists them. A wheel installs this command as fer-train.
"""

from fer.commands.train import run

if __name__ == '__main__':
    run()
