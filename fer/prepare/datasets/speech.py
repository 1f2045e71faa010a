# SPDX-License-Identifier: Apache-2.0
"""Acted speech without pictures: EmoDB, TESS and SAVEE, at any depth. File names give the speaker and the emotion.

None of them has splits, so speakers are held out. TESS has two speakers and SAVEE four. For these, `--fold` chooses the
one speaker who is held out.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fer import emotions
from fer.prepare.datasets.recordings import RecordingName, find_named_recordings
from fer.prepare.layout import SourceVideo, Splits, find_class


class Corpus(NamedTuple):
    """A corpus, with the form of its file names."""

    title: str
    name: re.Pattern[str]  # form of a name without its suffix, with groups `speaker` (may be absent) and `emotion`
    codes: Mapping[str, str]
    example: str


CORPORA = {
    'emodb': Corpus(
        'EmoDB',
        re.compile(r'(?P<speaker>\d\d)[ab]\d\d(?P<emotion>[A-Z])[a-z]'),
        emotions.EMODB_CODES,
        'wav/03a01Fa.wav',
    ),
    'tess': Corpus(
        'TESS',
        re.compile(r'(?P<speaker>OAF?|YAF)_\w+_(?P<emotion>[a-z]+)'),  # the F is missing in one published name
        emotions.TESS_CODES,
        'OAF_angry/OAF_back_angry.wav',
    ),
    'savee': Corpus(
        'SAVEE',
        re.compile(r'(?:(?P<speaker>DC|JE|JK|KL)_)?(?P<emotion>[a-z]{1,2})\d\d'),
        emotions.SAVEE_CODES,
        'DC/a01.wav or DC_a01.wav',
    ),
}


def find_recordings(corpus: str, source: str | Path, seed: int = 0, fold: int = 1) -> Splits[SourceVideo]:
    """Finds the audio files of each split, sorted by path.

    Args:
      corpus: a key of CORPORA.
      source: folder of the corpus.
      seed: chooses the speakers of val and test, if there are five or more.
      fold: number of the speaker who is held out if there are fewer, from 1.

    Raises:
      InputError: no file has such a name, or the fold does not exist.
    """
    title, pattern, codes, example = CORPORA[corpus]

    def read_name(path: Path, audio_only: bool) -> RecordingName | None:
        match = pattern.fullmatch(path.stem)
        if not match or not audio_only:
            return None
        speaker = match['speaker'] or path.parent.name
        video_id = path.stem if match['speaker'] else f'{speaker}_{path.stem}'
        if corpus == 'tess':
            speaker = speaker.removesuffix('F')
        label, beyond = find_class(codes, match['emotion'])
        problem = '' if label is not None else f'unknown emotion {match["emotion"]}'
        return RecordingName(speaker, video_id, label, f'{title}/{speaker}/{video_id}', problem, beyond)

    return find_named_recordings(Path(source), title, example, read_name, seed, fold)
