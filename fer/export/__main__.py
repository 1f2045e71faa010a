# SPDX-License-Identifier: Apache-2.0
"""Writes a network for other programs: python -m fer.export --run_dir=RUN --format=onnx --output=OUT

OUT gets model.onnx (or saved_model/), card.json, README.md and example.py. The network takes bytes of images and
features of audio as openSMILE gives them, because the preprocessing is inside. It gives logits and calibrated
probabilities. Before anything is kept, its answers are compared with those of the run. Exit code 2: bad input, nothing
written.
"""

import functools

from fer import cli
from fer.export.request import ExportRequest
from fer.flags import define_flags, read_flags

define_flags(ExportRequest)


def main() -> None:
    # Imported here, not above: TensorFlow takes seconds to import, and --help does not need it.
    from fer.export.export import export

    print('\n'.join(export(read_flags(ExportRequest))))


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
