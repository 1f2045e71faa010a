"""CREMA-D: VideoFlash/1001_DFA_ANG_XX.flv, at any depth; everything is in the name.

actor_sentence_emotion_level. The set has no splits, so actors are held out.
"""

import re
from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.prepare.layout import (
    SourceVideo,
    Splits,
    class_of,
    contents,
    distribute,
    hold_out,
    insist_on_some,
    recordings_below,
)

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
    source = Path(source)
    videos: dict[str, tuple[str, SourceVideo]] = {}  # with the actor, by id
    copies = 0
    problems = []
    paths, audio_only, others = recordings_below(source, lambda path: _NAME.fullmatch(path.stem) is not None)
    for path in paths:
        match = _NAME.fullmatch(path.stem)
        if not match:
            problems.append(f'{path}: not a name of CREMA-D, such as 1001_DFA_ANG_XX.flv')
            continue
        actor, _, emotion, _ = match.groups()
        if path.stem in videos:
            copies += 1
            continue
        label, _ = class_of(emotions.CREMAD_CODES, emotion)
        problem = '' if label is not None else f'unknown emotion {emotion}'
        folder = f'CREMA-D/{actor}/{path.stem}'
        videos[path.stem] = actor, SourceVideo(path.stem, label, path, folder, problem, audio_only)
    if not videos:
        raise InputError(
            f'--source={source}: expected videos such as VideoFlash/1001_DFA_ANG_XX.flv; found {contents(source)}'
        )
    splits = hold_out(videos.values(), seed, fold) if audio_only else distribute(videos.values(), seed)
    splits.left_out.update(others)
    if copies:
        splits.left_out['second copy'] = copies
    splits.problems = problems
    insist_on_some(splits, f'--source={source}')
    return splits
