# SPDX-License-Identifier: Apache-2.0
"""Plans of clips, made for a split as a whole: id, emotion, and whether the clip shows a face."""

from typing import NamedTuple

import numpy as np

from fer.emotions import NUM_CLASSES
from fer.prepare.synthetic.identity import SPLITS

# Clips per emotion, in the order of EMOTIONS, of AFEW's training and validation sets. The test set's are not public.
_COUNTS = {'Train': (144, 133, 74, 81, 150, 117, 74), 'Val': (63, 64, 40, 46, 63, 61, 46)}
_COUNTS['Test'] = tuple(np.add(_COUNTS['Train'], _COUNTS['Val']))

FACELESS_SHARE = 0.03  # clips in which no frame shows a face: 25 of the dissertation's 773 training videos
FACELESS_MIN_CLIPS = 20  # a split of at least this many clips has at least one clip without a face


class ClipPlan(NamedTuple):
    """The part of a clip that is decided for its split as a whole."""

    split: str
    number: int  # of the clip in its split, from 0
    video_id: str  # nine digits
    emotion: int  # class index
    faceless: bool  # no frame shows a face


def count_emotions(split: str, size: int) -> list[int]:
    """Returns the clips per emotion, in the order of EMOTIONS, of a split of `size` clips.

    They have AFEW's shares, by largest remainder. From seven clips on, every emotion has at least one.
    """
    shares = np.array(_COUNTS[split]) * size / sum(_COUNTS[split])
    counts = np.floor(shares).astype(int)
    counts[np.argsort(counts - shares, kind='stable')[: size - counts.sum()]] += 1
    while size >= NUM_CLASSES and counts.min() == 0:
        counts[counts.argmin()] += 1
        counts[counts.argmax()] -= 1
    return counts.tolist()


def plan_split(split: str, size: int, seed: int) -> list[ClipPlan]:
    """Plans the clips of a split. Emotions are shuffled, so that a clip's number does not reveal its emotion."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, SPLITS.index(split)], spawn_key=(1,)))
    emotions = rng.permutation(np.repeat(np.arange(NUM_CLASSES), count_emotions(split, size)))
    num_faceless = max(1, round(FACELESS_SHARE * size)) if size >= FACELESS_MIN_CLIPS else 0
    faceless = set(rng.permutation(size)[:num_faceless].tolist())
    return [
        ClipPlan(split, index, _video_id(split, index, seed), int(emotion), index in faceless)
        for index, emotion in enumerate(emotions)
    ]


def clip_rng(plan: ClipPlan, seed: int, purpose: int) -> np.random.Generator:
    """Returns the clip's own random numbers. Each purpose (0 script, 1 frames, 2 audio) has independent ones."""
    key = [seed, SPLITS.index(plan.split), plan.number]
    return np.random.default_rng(np.random.SeedSequence(key, spawn_key=(2, purpose)))


def _video_id(split: str, index: int, seed: int) -> str:
    # Multiplication by a number prime to 10 permutes the nine-digit numbers. So ids never collide, and their order is
    # not the order of the clips.
    return f'{((SPLITS.index(split) * 1_000_000 + index) * 387_420_489 + seed * 7_919 + 4_514_600) % 10**9:09d}'
