"""CREMA-D: VideoFlash/1001_DFA_ANG_XX.flv, at any depth; everything is in the name.

actor_sentence_emotion_level. The set has no splits, so actors are held out.
"""

import re
from pathlib import Path

from fer import emotions
from fer.prepare.datasets.recordings import Named, find_named
from fer.prepare.layout import SourceVideo, Splits, class_of

# The level has two letters. A single published name lacks one, and that of a sound: AudioWAV/1040_ITH_SAD_X.wav. Its
# video is VideoFlash/1040_ITH_SAD_XX.flv, but somebody may have called it after the sound.
_NAME = re.compile(r'(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})')


def find_recordings(source: str | Path, seed: int = 0, fold: int = 1) -> Splits[SourceVideo]:
    """Finds the videos of each split, or its audio files where there is no video, sorted by path.

    Args:
      source: folder of the dataset.
      seed: chooses the actors of val and test.
      fold: for audio of fewer than five actors, which of them is held out.

    Raises:
      InputError: no file has such a name, or there are fewer than three actors.
    """
    return find_named(Path(source), 'CREMA-D', 'VideoFlash/1001_DFA_ANG_XX.flv', _read_name, seed, fold)


def _read_name(path: Path, audio_only: bool) -> Named | None:
    match = _NAME.fullmatch(path.stem)
    if not match:
        return None
    actor, _, emotion, _ = match.groups()
    label, _ = class_of(emotions.CREMAD_CODES, emotion)
    problem = '' if label is not None else f'unknown emotion {emotion}'
    return Named(actor, path.stem, label, f'CREMA-D/{actor}/{path.stem}', problem)
