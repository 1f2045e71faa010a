# SPDX-License-Identifier: Apache-2.0
"""The settings that decide what preparation writes for a video or still."""

from typing import NamedTuple

from fer.prepare.media import Choice

MISSING_FACES = ('skip', 'hold', 'reuse_box')
PERSONS = ('follow', 'largest')
AUDIO_FEATURES = ('clips', 'functionals')


class Settings(NamedTuple):
    """The settings of a preparation. Keys of records contain their `repr`, so names must not change."""

    detector: str  # see fer.prepare.detectors.make_detector
    image_size: int  # side of the aligned faces in pixels
    margin: float  # see fer.prepare.faces.align
    person: str  # one of PERSONS
    missing_faces: str  # one of MISSING_FACES
    audio_features: tuple[str, ...]  # some of clips, and `name_functionals` of the sets
    clip_context: str  # see fer.prepare.smile.extract.clip_features
    arff: bool  # True to write features as ARFF as well
    streams: Choice  # the streams of a file to read
    sample_rate: int | None  # of the wav, in Hz. None keeps the file's.
