# SPDX-License-Identifier: Apache-2.0
"""Expressions over time: the action units of each emotion, and the curves that move them."""

from typing import NamedTuple

import numpy as np

from fer.emotions import EMOTIONS
from fer.prepare.media import FRAMES_PER_SECOND
from fer.prepare.synthetic.identity import ActionUnit, Identity

UNIT_DROPOUT = 0.05  # how often an action unit of the prototype is almost missing from a clip, because people vary
CONTAMINATION = 0.2  # share of clips whose apex also shows the emotion it is usually confused with
BLIPS_PER_SECOND = 0.2  # brief flashes of any emotion, in every clip, so that one strong frame proves little
BLIP_AMPLITUDE = (0.15, 0.45)  # below script.MIN_AMPLITUDE

# FACS prototypes (Ekman and Friesen 1978). The dissertation's 2.1 names the same seven classes.
_AU = ActionUnit
PROTOTYPES = {
    'Anger': {_AU.BROW_LOWER: 1.0, _AU.LID_RAISE: 0.4, _AU.LID_TIGHTEN: 0.8, _AU.LIP_PRESS: 0.9},
    'Disgust': {_AU.NOSE_WRINKLE: 1.0, _AU.UPPER_LIP_RAISE: 0.9, _AU.CORNER_DEPRESS: 0.6, _AU.BROW_LOWER: 0.4},
    'Fear': {
        _AU.INNER_BROW_RAISE: 0.9,
        _AU.OUTER_BROW_RAISE: 0.5,
        _AU.BROW_LOWER: 0.4,
        _AU.LID_RAISE: 0.8,
        _AU.LIP_STRETCH: 0.9,
        _AU.LIPS_PART: 0.5,
    },
    'Happy': {_AU.CHEEK_RAISE: 0.9, _AU.CORNER_PULL: 1.0, _AU.LIPS_PART: 0.4},
    'Sad': {_AU.INNER_BROW_RAISE: 0.9, _AU.BROW_LOWER: 0.35, _AU.CORNER_DEPRESS: 0.9, _AU.LID_DROOP: 0.25},
    'Surprise': {
        _AU.INNER_BROW_RAISE: 0.9,
        _AU.OUTER_BROW_RAISE: 1.0,
        _AU.LID_RAISE: 0.8,
        _AU.LIPS_PART: 0.6,
        _AU.JAW_DROP: 0.9,
    },
}
_CONFUSED_WITH = {'Fear': 'Surprise', 'Surprise': 'Fear', 'Anger': 'Disgust', 'Disgust': 'Anger', 'Sad': 'Disgust'}


class Dynamics(NamedTuple):
    """Seconds of an emotion's rise, apex and fall. They are visible in a sequence, but not in a single frame."""

    onset: float
    apex: float
    offset: float


DYNAMICS = {
    'Anger': Dynamics(0.4, 1.6, 0.7),
    'Disgust': Dynamics(0.3, 0.9, 0.6),
    'Fear': Dynamics(0.2, 1.2, 0.7),
    'Happy': Dynamics(0.4, 1.2, 0.8),
    'Sad': Dynamics(1.0, 1.7, 1.0),
    'Surprise': Dynamics(0.1, 0.7, 0.4),
}
MAX_APEX_SHARE = 0.7  # of a clip's length, so that even short clips begin or end near neutral


def sample_episode(rng: np.random.Generator, time: np.ndarray, dynamics: Dynamics) -> np.ndarray:
    """Samples a rise, an apex and a fall somewhere in the clip: float64 [T] in [0, 1], 1 at the apex."""
    duration = len(time) / FRAMES_PER_SECOND
    onset, apex, offset = np.array(dynamics) * rng.lognormal(0, 0.25, size=3)
    apex = min(apex, MAX_APEX_SHARE * duration)
    if onset + apex + offset < duration:
        start = rng.uniform(0, duration - onset - apex - offset)
    else:  # the apex lies inside the clip, and the rise and the fall are cut
        start = rng.uniform(0, duration - apex) - onset
    rise = smoothstep((time - start) / onset)
    fall = smoothstep((time - start - onset - apex) / offset)
    return rise * (1 - fall)


def smoothstep(position: np.ndarray) -> np.ndarray:
    """Rises smoothly from 0 at position 0 to 1 at position 1."""
    position = np.clip(position, 0, 1)
    return position**2 * (3 - 2 * position)


def wander(rng: np.random.Generator, time: np.ndarray, period: float, columns: int) -> np.ndarray:
    """Samples smooth curves, [T, columns], with mean 0 and standard deviation about 1. `period` is in seconds."""
    frequency = rng.uniform(0.4, 1.6, size=(4, 1, columns)) / period
    phase = rng.uniform(0, 2 * np.pi, size=(4, 1, columns))
    return np.sin(2 * np.pi * frequency * time[:, np.newaxis] + phase).sum(axis=0) / np.sqrt(2)


def mouth_opening(syllables: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Returns how far speech opens the mouth, [T] in [0, 1].

    Args:
      syllables: [S, 3], see `script.Voice`.
      time: [T], seconds.
    """
    opening = np.zeros(len(time))
    for start, length, _ in syllables:
        phase = (time - start) / length
        opening += np.where((phase > 0) & (phase < 1), np.sin(np.pi * np.clip(phase, 0, 1)) ** 2, 0)
    return np.minimum(opening, 1)


def sample_action_units(
    rng: np.random.Generator,
    time: np.ndarray,
    intensity: np.ndarray,
    emotion: str,
    identity: Identity,
    syllables: np.ndarray,
) -> np.ndarray:
    """Samples the action units of a clip, float64 [T, len(ActionUnit)] in [0, 1].

    Args:
      rng: the script's random numbers.
      time: [T], seconds.
      intensity: [T] in [0, 1], of the labelled emotion.
      emotion: its name.
      identity: the person.
      syllables: [S, 3], see `script.Voice`.
    """
    units = identity.resting + 0.05 * wander(rng, time, 1.5, len(ActionUnit))
    _add_emotions(rng, units, time, intensity, emotion)
    _add_speech(rng, units, time, syllables)
    for start in np.flatnonzero(rng.random(len(time)) < 0.3 / FRAMES_PER_SECOND):
        blink = np.array([0.5, 1, 1, 0.5])[: len(time) - start]
        units[start : start + len(blink), ActionUnit.LID_DROOP] += blink
    return np.clip(units, 0, 1)


def _add_emotions(
    rng: np.random.Generator, units: np.ndarray, time: np.ndarray, intensity: np.ndarray, emotion: str
) -> None:
    """Adds the labelled emotion to the units, at times the one it is confused with, and blips of any emotion."""
    trembling = intensity
    if emotion == 'Fear':
        trembling = intensity * (1 + 0.25 * np.sin(2 * np.pi * rng.uniform(5, 7) * time))
    units += trembling[:, np.newaxis] * _act(rng, emotion)
    if emotion in _CONFUSED_WITH and rng.random() < CONTAMINATION:
        units += rng.uniform(0.2, 0.6) * intensity[:, np.newaxis] * _act(rng, _CONFUSED_WITH[emotion])
    for _ in range(rng.poisson(BLIPS_PER_SECOND * time[-1])):
        blip = rng.uniform(*BLIP_AMPLITUDE) * sample_episode(rng, time, Dynamics(0.15, 0.2, 0.2))
        units += blip[:, np.newaxis] * _act(rng, rng.choice(EMOTIONS[1:]))


def _add_speech(rng: np.random.Generator, units: np.ndarray, time: np.ndarray, syllables: np.ndarray) -> None:
    opening = mouth_opening(syllables, time)
    units[:, ActionUnit.LIPS_PART] += 0.45 * opening
    units[:, ActionUnit.JAW_DROP] += rng.uniform(0.25, 0.5) * opening
    units[:, ActionUnit.LIP_STRETCH] += 0.2 * opening * wander(rng, time, 0.5, 1)[:, 0]


def _act(rng: np.random.Generator, emotion: str) -> np.ndarray:
    """Samples one person's way to show an emotion once, float64 [len(ActionUnit)]. Zeros for Neutral."""
    units = np.zeros(len(ActionUnit))
    for unit, level in PROTOTYPES.get(emotion, {}).items():
        units[unit] = level * (rng.uniform(0.6, 1.15) if rng.random() > UNIT_DROPOUT else 0.1)
    if emotion == 'Happy' and rng.random() < 0.5:
        units[ActionUnit.LIPS_PART] = 0.9  # half of all smiles show the teeth
    if emotion == 'Anger' and rng.random() < 0.3:  # some angry people shout
        units[[ActionUnit.LIPS_PART, ActionUnit.JAW_DROP, ActionUnit.LIP_PRESS]] = 0.7, 0.4, 0
    return units
