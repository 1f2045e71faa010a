"""People: what stays the same about someone from clip to clip, and the pool of people of each split."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

PEOPLE = {'Train': 330, 'Val': 120, 'Test': 200}  # per split; fewer and a small network learns faces by heart
SPLITS = tuple(PEOPLE)

# How far a resting face may lean towards an expression. It is what makes a single frame ambiguous: a person with
# naturally low brows looks angry at rest, so a model has to learn changes, or many people.
RESTING_LEVEL = 0.25


class ActionUnit(IntEnum):
    """Columns of every action unit array; the facial movements of Ekman and Friesen's FACS (1978), levels 0 to 1."""

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
    upper_height: float  # from the centre of the face up to the top of the skull
    lower_height: float  # and down to the chin
    jaw_power: float  # shape of the jaw: below 1 square, above 1 pointed
    eye_distance: float  # from the middle line to the centre of an eye
    eye_size: float  # half an eye's width
    eye_opening: float  # half an eye's height, over half its width
    brow_height: float  # from the eye up to the brow
    brow_thickness: float
    brow_slope: float  # inner end lower than the outer end when positive
    nose_length: float  # from the eyes to the tip
    nose_width: float
    mouth_height: float  # from the centre of the face down to the mouth
    mouth_width: float  # half the width
    lip_fullness: float
    hair_length: float  # how far down the hair hangs; 0 is at the ears
    hair_volume: float
    fringe: float  # how much of the forehead hair covers, in [0, 1]
    glasses: bool
    skin: np.ndarray  # [3] float64
    hair: np.ndarray  # [3] float64
    iris: np.ndarray  # [3] float64
    clothes: np.ndarray  # [3] float64
    resting: np.ndarray  # [len(ActionUnit)] float64, the expression of the face at rest
    pitch: float  # Hz, of the unmoved voice
    formant_scale: float  # over an adult male's formants
    speech_rate: float  # syllables per second


# Hair and clothes keep away from the reds and browns of skin, which the colour detector of `skin_detector.py` reads.
_HAIR = np.array([[26, 24, 27], [42, 40, 39], [58, 56, 52], [86, 83, 72], [150, 150, 154], [180, 181, 132]], float)
_IRIS = np.array([[48, 34, 28], [70, 50, 36], [62, 92, 120], [70, 104, 78], [96, 104, 110]], float)
_PALEST, _DARKEST = np.array([230, 185, 158], float), np.array([122, 82, 60], float)


def draw_identity(seed: int, split: str, number: int) -> Identity:
    """The person `number` in [0, `PEOPLE[split]`) of a split."""
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
        resting=_draw_resting(rng),
        pitch=rng.normal(205 if female else 122, 18),
        formant_scale=rng.normal(1.15 if female else 1.0, 0.04),
        speech_rate=rng.uniform(3.4, 4.8),
    )


def cool_colour(rng: np.random.Generator) -> np.ndarray:
    """A colour that nobody's skin has: `[3]` float64 RGB with red at most a little above green."""
    grey, blue, green = rng.uniform(20, 220, size=3)
    red = rng.uniform(0.3, 1.05) * green
    return 0.4 * np.array([red, green, blue]) + 0.6 * grey


def _draw_resting(rng: np.random.Generator) -> np.ndarray:
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
