"""RAVDESS: Actor_06/01-01-06-01-02-01-06.mp4, at any depth; everything is in the name.

modality-vocal channel-emotion-intensity-statement-repetition-actor. Of the modalities only 01, pictures with sound, is
taken: 02 is the same performance without sound. Speech (01) and song (02) both are. Calm is none of the seven classes.
The set has no splits, so actors are held out.
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

_NAME = re.compile(r'(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)')
_AUDIO_VIDEO, _AUDIO = '01', '03'


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
    left_out: list[str] = []
    problems = []
    paths, audio_only, others = recordings_below(source, lambda path: _NAME.fullmatch(path.stem) is not None)
    for path in paths:
        match = _NAME.fullmatch(path.stem)
        if not match:
            problems.append(f'{path}: not a name of RAVDESS, such as 01-01-06-01-02-01-12.mp4')
            continue
        modality, _, emotion, _, _, _, actor = match.groups()
        label, beyond = class_of(emotions.RAVDESS_CODES, int(emotion))
        if modality != (_AUDIO if audio_only else _AUDIO_VIDEO):
            left_out.append(f'modality {modality}')
        elif beyond:
            left_out.append(beyond)
        elif path.stem in videos:
            left_out.append('second copy')
        else:
            problem = '' if label is not None else f'unknown emotion {emotion}'
            folder = f'RAVDESS/Actor_{actor}/{path.stem}'
            videos[path.stem] = actor, SourceVideo(path.stem, label, path, folder, problem, audio_only)
    if not videos:
        raise InputError(
            f'--source={source}: expected videos such as Actor_12/01-01-06-01-02-01-12.mp4; found {contents(source)}'
        )
    splits = hold_out(videos.values(), seed, fold) if audio_only else distribute(videos.values(), seed)
    splits.left_out.update(left_out)
    splits.left_out.update(others)
    splits.problems = problems
    insist_on_some(splits, f'--source={source}')
    return splits
