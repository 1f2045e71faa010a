"""RAVDESS: Actor_06/01-01-06-01-02-01-06.mp4, at any depth; everything is in the name.

modality-vocal channel-emotion-intensity-statement-repetition-actor. Of the modalities only 01, pictures with sound, is
taken: 02 is the same performance without sound. Speech (01) and song (02) both are. Calm is none of the seven classes.
The set has no splits, so actors are held out.
"""

import re
from pathlib import Path

from fer import emotions
from fer.errors import InputError
from fer.prepare.layout import SourceVideo, Splits, class_of, contents, distribute, insist_on_some, videos_below

_NAME = re.compile(r'(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)')
_AUDIO_VIDEO = '01'


def find_videos(source: str | Path, seed: int = 0) -> Splits[SourceVideo]:
    """The videos of each split, sorted by path; `seed` chooses the actors of val and test.

    Raises:
      InputError: no video has such a name, or there are fewer than three actors.
    """
    source = Path(source)
    videos: dict[str, tuple[str, SourceVideo]] = {}  # with the actor, by id
    left_out: list[str] = []
    problems = []
    paths, others = videos_below(source)
    for path in paths:
        match = _NAME.fullmatch(path.stem)
        if not match:
            problems.append(f'{path}: not a name of RAVDESS, such as 01-01-06-01-02-01-12.mp4')
            continue
        modality, _, emotion, _, _, _, actor = match.groups()
        label, beyond = class_of(emotions.RAVDESS_CODES, int(emotion))
        if modality != _AUDIO_VIDEO:
            left_out.append(f'modality {modality}')
        elif beyond:
            left_out.append(beyond)
        elif path.stem in videos:
            left_out.append('second copy')
        else:
            problem = '' if label is not None else f'unknown emotion {emotion}'
            folder = f'RAVDESS/Actor_{actor}/{path.stem}'
            videos[path.stem] = actor, SourceVideo(path.stem, label, path, folder, problem)
    if not videos:
        raise InputError(
            f'--source={source}: expected videos such as Actor_12/01-01-06-01-02-01-12.mp4; found {contents(source)}'
        )
    splits = distribute(videos.values(), seed)
    splits.left_out.update(left_out)
    splits.left_out.update(others)
    splits.problems = problems
    insist_on_some(splits, f'--source={source}')
    return splits
