"""Trains one run: python train.py --model=vgg_face --stage=finetune --seq_len=80 --train_manifest=DATA/train.txt ...

fer/training/flags.py defines the flags, --help lists them. A wheel installs this command as fer-train.
"""

from fer.commands.train import run

if __name__ == '__main__':
    run()
