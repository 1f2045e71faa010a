# SPDX-License-Identifier: Apache-2.0
"""RAVDESS: Actor_06/01-01-06-01-02-01-06.mp4, at any depth.

A file's name is modality-vocal channel-emotion-intensity-statement-repetition-actor. Of the videos, only modality 01
(pictures with audio) is used, because 02 is the same performance without audio. Of the audio files, only modality 03 is
used. The vocal channels speech (01) and song (02) are both used. Calm is not one of the seven classes. The set has no
splits, so actors are held out.
"""

import re
from pathlib import Path

from fer import emotions
from fer.prepare.datasets.recordings import RecordingName, find_named_recordings
from fer.prepare.layout import SourceVideo, Splits, find_class

_NAME = re.compile(r'(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)')
_AUDIO_VIDEO, _AUDIO = '01', '03'


def find_recordings(source: str | Path, seed: int = 0, fold: int = 1) -> Splits[SourceVideo]:
    """Finds the videos of each split, or the audio files if there are no videos, sorted by path.

    Args:
      source: folder of the dataset.
      seed: chooses the actors of val and test.
      fold: for audio of fewer than five actors, the number of the actor who is held out, from 1.

    Raises:
      InputError: no file has such a name, or there are fewer than three actors, for audio fewer than two.
    """
    return find_named_recordings(Path(source), 'RAVDESS', 'Actor_12/01-01-06-01-02-01-12.mp4', _read_name, seed, fold)


def _read_name(path: Path, audio_only: bool) -> RecordingName | None:
    match = _NAME.fullmatch(path.stem)
    if not match:
        return None
    modality, _, emotion, _, _, _, actor = match.groups()
    label, beyond = find_class(emotions.RAVDESS_CODES, int(emotion))
    problem = '' if label is not None else f'unknown emotion {emotion}'
    other = '' if modality == (_AUDIO if audio_only else _AUDIO_VIDEO) else f'modality {modality}'
    return RecordingName(actor, path.stem, label, f'RAVDESS/Actor_{actor}/{path.stem}', problem, other or beyond)
