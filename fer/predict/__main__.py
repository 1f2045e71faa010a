# SPDX-License-Identifier: Apache-2.0
"""Answers for videos of your own: python -m fer.predict --video=clip.mp4 --output=OUT

Without --members, the two networks that come with this package answer: starter:face for faces, starter:voice for the
audio. Each video gets a folder OUT/<name>/ with a row for each person and frame, segments, a summary with a verdict,
subtitles, annotations for ELAN and Praat, a video with boxes, and a page to look at. The same command resumes an
earlier one that was stopped. Nothing leaves this machine. Read docs/responsible-use.md first.

Exit codes: 0 done, 1 done but some videos cannot be read (OUT/problems.csv lists them), 2 bad input.
"""

import functools

from fer import cli
from fer.flags import define_flags, read_flags
from fer.predict.request import PredictionRequest

define_flags(PredictionRequest)


def main() -> int:
    # Imported here, not above: TensorFlow takes seconds to import, and --help does not need it.
    from fer.predict.predict import predict

    return predict(read_flags(PredictionRequest))


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
