# SPDX-License-Identifier: Apache-2.0
"""Evaluates a run on a split: python evaluate.py --run_dir=RUN --manifest=DATA/val.txt --split=val

Every video of the manifest's ledger gets an answer. Writes results_<split>.txt and, if the manifest has labels,
metrics_<split>.json and confusion_<split>.png. With --on_bad_frame=skip, bad_frames_<split>.csv lists the frames that
are left out. Exit code 2: bad input, nothing written.
"""

import functools

from fer import cli
from fer.flags import define_flags, read_flags
from fer.training.requests import EvaluationRequest

define_flags(EvaluationRequest)


def main() -> None:
    # Imported here, not above: TensorFlow takes seconds to import, and --help does not need it.
    from fer.training.evaluate import evaluate

    evaluate(read_flags(EvaluationRequest))


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
