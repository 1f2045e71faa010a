"""Acted speech without pictures: EmoDB, TESS and SAVEE, at any depth; everything is in the name.

None has splits, so speakers are held out. TESS has two and SAVEE four, of whom `--fold` holds out one at a time.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fer import emotions
from fer.errors import InputError
from fer.prepare.layout import (
    SourceVideo,
    Splits,
    class_of,
    contents,
    hold_out,
    insist_on_some,
    recordings_below,
)


class Corpus(NamedTuple):
    """How a corpus names its files."""

    title: str
    name: re.Pattern[str]  # of a file without its suffix; groups `speaker` (may be absent) and `emotion`
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
      seed: chooses the speakers of val and test, where there are five or more.
      fold: which speaker is held out, where there are fewer.

    Raises:
      InputError: no file has such a name, or a fold that there is not.
    """
    title, name, codes, example = CORPORA[corpus]
    source = Path(source)
    found: dict[str, tuple[str, SourceVideo]] = {}  # with the speaker, by id
    left_out: list[str] = []
    problems = []
    paths, _, others = recordings_below(source, lambda path: name.fullmatch(path.stem) is not None)
    for path in paths:
        match = name.fullmatch(path.stem)
        if not match:
            problems.append(f'{path}: not a name of {title}, such as {example}')
            continue
        speaker = (match['speaker'] or path.parent.name).removesuffix('F') if corpus == 'tess' else match['speaker']
        speaker = speaker or path.parent.name
        video_id = path.stem if match['speaker'] else f'{speaker}_{path.stem}'
        label, beyond = class_of(codes, match['emotion'])
        if beyond:
            left_out.append(beyond)
        elif video_id in found:
            left_out.append('second copy')
        else:
            problem = '' if label is not None else f'unknown emotion {match["emotion"]}'
            folder = f'{title}/{speaker}/{video_id}'
            found[video_id] = speaker, SourceVideo(video_id, label, path, folder, problem, audio_only=True)
    if not found:
        raise InputError(f'--source={source}: expected audio such as {example}; found {contents(source)}')
    splits = hold_out(found.values(), seed, fold)
    splits.left_out.update(left_out)
    splits.left_out.update(others)
    splits.problems = problems
    insist_on_some(splits, f'--source={source}')
    return splits
