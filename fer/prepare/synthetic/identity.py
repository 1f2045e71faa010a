# SPDX-License-Identifier: Apache-2.0
"""People: what stays the same about a person in every clip, and the people of each split."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

PEOPLE = {'Train': 330, 'Val': 120, 'Test': 200}  # per split. With fewer, a small network memorises faces
SPLITS = tuple(PEOPLE)

# How far a face at rest may lean towards an expression. This makes a single frame ambiguous: a person with low brows
# looks angry at rest. So a model has to learn how faces change, or learn from many people.
RESTING_LEVEL = 0.25


class ActionUnit(IntEnum):
    """Columns of every array of action units: facial movements of Ekman and Friesen's FACS (1978), levels 0 to 1."""

    INNER_BROW_RAISE = 0  # AU1
    OUTER_BROW_RAISE = 1  # AU2
    BROW_LOWER = 2  # AU4
    LID_RAISE = 3  # AU5
    CHEEK_RAISE = 4  # AU6
    LID_TIGHTEN = 5  # AU7
    NOSE_WRINKLE = 6  # AU9
    UPPER_LIP_RAISE = 7  # AU10
    CORNER_PULL = 8  # AU12
    CORNER_DEPRESS = 9  # AU15
    LIP_STRETCH = 10  # AU20
    LIP_PRESS = 11  # AU23 and AU24
    LIPS_PART = 12  # AU25
    JAW_DROP = 13  # AU26
    LID_DROOP = 14  # AU43


class Identity(NamedTuple):
    """One person. Lengths are in half face widths, colours are RGB in [0, 255]."""

    person: int  # unique over the splits
    upper_height: float  # from the centre of the face to the top of the skull
    lower_height: float  # from the centre of the face to the chin
    jaw_power: float  # shape of the jaw: square below 1, pointed above 1
    eye_distance: float  # from the middle line to the centre of an eye
    eye_size: float  # half an eye's width
    eye_opening: float  # height of an eye, relative to its width
    brow_height: float  # from the eye to the brow
    brow_thickness: float
    brow_slope: float  # positive if the inner end is lower than the outer end
    nose_length: float  # from the eyes to the tip
    nose_width: float
    mouth_height: float  # from the centre of the face to the mouth
    mouth_width: float  # half the width
    lip_fullness: float
    hair_length: float  # from the ears down to the lower end of the hair
    hair_volume: float
    fringe: float  # share of the forehead that hair covers, in [0, 1]
    glasses: bool
    skin: np.ndarray  # float64 [3]
    hair: np.ndarray  # float64 [3]
    iris: np.ndarray  # float64 [3]
    clothes: np.ndarray  # float64 [3]
    resting: np.ndarray  # float64 [len(ActionUnit)], the expression at rest
    pitch: float  # Hz, of the neutral voice
    formant_scale: float  # relative to an adult male's formants
    speech_rate: float  # syllables per second


# Hair and clothes avoid the reds and browns of skin, because `skin_detector.py` finds skin by its colour.
_HAIR = np.array([[26, 24, 27], [42, 40, 39], [58, 56, 52], [86, 83, 72], [150, 150, 154], [180, 181, 132]], float)
_IRIS = np.array([[48, 34, 28], [70, 50, 36], [62, 92, 120], [70, 104, 78], [96, 104, 110]], float)
_PALEST, _DARKEST = np.array([230, 185, 158], float), np.array([122, 82, 60], float)


def sample_identity(seed: int, split: str, number: int) -> Identity:
    """Samples the person `number` of a split, in [0, PEOPLE[split])."""
    split_index = SPLITS.index(split)
    rng = np.random.default_rng(np.random.SeedSequence([seed, split_index, number], spawn_key=(0,)))
    female = rng.random() < 0.5
    tone = rng.random() ** 1.3
    return Identity(
        person=split_index * 1000 + number,
        upper_height=rng.uniform(1.15, 1.35),
        lower_height=rng.uniform(1.25, 1.5),
        jaw_power=rng.uniform(0.72, 1.0),
        eye_distance=rng.uniform(0.4, 0.48),
        eye_size=rng.uniform(0.24, 0.29),
        eye_opening=rng.uniform(0.36, 0.58),
        brow_height=rng.uniform(0.26, 0.38),
        brow_thickness=rng.uniform(0.065, 0.12),
        brow_slope=rng.uniform(-0.04, 0.06),
        nose_length=rng.uniform(0.42, 0.58),
        nose_width=rng.uniform(0.15, 0.23),
        mouth_height=rng.uniform(0.74, 0.86),
        mouth_width=rng.uniform(0.38, 0.46),
        lip_fullness=rng.uniform(0.09, 0.14),
        hair_length=rng.uniform(0.5, 1.6) if female else rng.uniform(-0.3, 0.4),
        hair_volume=rng.uniform(1.08, 1.3),
        fringe=rng.uniform(0.1, 0.8),
        glasses=bool(rng.random() < 0.12),
        skin=_PALEST + tone * (_DARKEST - _PALEST),
        hair=_HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.85, 1.1),
        iris=_IRIS[rng.integers(len(_IRIS))],
        clothes=cool_colour(rng),
        resting=_sample_resting(rng),
        pitch=rng.normal(205 if female else 122, 18),
        formant_scale=rng.normal(1.15 if female else 1.0, 0.04),
        speech_rate=rng.uniform(3.4, 4.8),
    )


def cool_colour(rng: np.random.Generator) -> np.ndarray:
    """Samples a colour that skin never has: float64 [3] RGB with red at most slightly above green."""
    grey, blue, green = rng.uniform(20, 220, size=3)
    red = rng.uniform(0.3, 1.05) * green
    return 0.4 * np.array([red, green, blue]) + 0.6 * grey


def _sample_resting(rng: np.random.Generator) -> np.ndarray:
    """Samples the expression of a face at rest, float64 [len(ActionUnit)]: three slightly active action units."""
    candidates = [
        ActionUnit.INNER_BROW_RAISE,
        ActionUnit.OUTER_BROW_RAISE,
        ActionUnit.BROW_LOWER,
        ActionUnit.LID_RAISE,
        ActionUnit.LID_TIGHTEN,
        ActionUnit.CORNER_PULL,
        ActionUnit.CORNER_DEPRESS,
        ActionUnit.LIP_PRESS,
        ActionUnit.LIPS_PART,
        ActionUnit.LID_DROOP,
    ]
    resting = np.zeros(len(ActionUnit))
    chosen = rng.choice(candidates, size=3, replace=False)
    resting[chosen] = RESTING_LEVEL * rng.random(3)
    return resting
