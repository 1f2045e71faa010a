# SPDX-License-Identifier: Apache-2.0
"""Writes features and logits of every frame: python -m fer.extract --init_from=RUN --manifest=val.txt --output=val.npz

The weights come from any run or from public weights. The file has a row for each line of the manifest: video_id [N],
path [N], features float32 [N, D] and logits float32 [N, C]. C is the number of classes of the weights' own classifier,
0 if they have none that fits. Settings that are not given are those of the run, or those of the public weights'
training. With --on_bad_frame=skip, lines that are left out have no row and stand in val.bad_frames.csv. Exit code 2:
bad input, nothing written.
"""

import functools

from fer import cli
from fer.extract.request import ExtractionRequest
from fer.flags import define_flags, read_flags

define_flags(ExtractionRequest)


def main() -> None:
    # Imported here, not above: TensorFlow takes seconds to import, and --help does not need it.
    from fer.extract.extract import extract

    extract(read_flags(ExtractionRequest))


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
