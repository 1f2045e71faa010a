# SPDX-License-Identifier: Apache-2.0
"""CREMA-D: VideoFlash/1001_DFA_ANG_XX.flv, at any depth. A file's name is actor_sentence_emotion_level.

The set has no splits, so actors are held out.
"""

import re
from pathlib import Path

from fer import emotions
from fer.prepare.datasets.recordings import RecordingName, find_named_recordings
from fer.prepare.layout import SourceVideo, Splits, find_class

# The level has two letters, except in one published audio file: AudioWAV/1040_ITH_SAD_X.wav. Its video is
# VideoFlash/1040_ITH_SAD_XX.flv, but in some copies the video may be named like the audio file.
_NAME = re.compile(r'(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})')


def find_recordings(source: str | Path, seed: int = 0, fold: int = 1) -> Splits[SourceVideo]:
    """Finds the videos of each split, or the audio files if there are no videos, sorted by path.

    Args:
      source: folder of the dataset.
      seed: chooses the actors of val and test.
      fold: for audio of fewer than five actors, the number of the actor who is held out, from 1.

    Raises:
      InputError: no file has such a name, or there are fewer than three actors, for audio fewer than two.
    """
    return find_named_recordings(Path(source), 'CREMA-D', 'VideoFlash/1001_DFA_ANG_XX.flv', _read_name, seed, fold)


def _read_name(path: Path, audio_only: bool) -> RecordingName | None:
    match = _NAME.fullmatch(path.stem)
    if not match:
        return None
    actor, _, emotion, _ = match.groups()
    label, _ = find_class(emotions.CREMAD_CODES, emotion)
    problem = '' if label is not None else f'unknown emotion {emotion}'
    return RecordingName(actor, path.stem, label, f'CREMA-D/{actor}/{path.stem}', problem)
