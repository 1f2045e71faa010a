# SPDX-License-Identifier: Apache-2.0
"""The script of a clip: everything that happens, frame by frame, before its frames and audio are made.

This module decides how difficult the corpus is. Its constants, and those of `expressions.py`, were tuned with a small
network that looks at single frames of unseen people and averages over the clip. It is right about half of the time,
and the voice alone about four times in ten. So learning shows within minutes, and no model comes near 100%.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from fer.emotions import EMOTIONS
from fer.prepare.media import FRAMES_PER_SECOND
from fer.prepare.synthetic.expressions import (
    DYNAMICS,
    Dynamics,
    sample_action_units,
    sample_episode,
    smoothstep,
    wander,
)
from fer.prepare.synthetic.identity import PEOPLE, Identity, sample_identity
from fer.prepare.synthetic.plan import ClipPlan, clip_rng

IMAGE_HEIGHT, IMAGE_WIDTH = 144, 192  # pixels, about a quarter of AFEW's 576 x 720. Faces are 50 to 85 wide

# Length of a clip: log-normal, like the histograms of the dissertation's figures 2.1 to 2.3.
MEDIAN_LENGTH, LENGTH_SIGMA, MIN_LENGTH, MAX_LENGTH = 55, 0.5, 10, 144  # frames, natural log, frames, frames

GAP_SHARE = 0.25  # clips that lose the face for a stretch
OCCLUSION_SHARE = 0.22  # clips in which an object passes before the face
TALKING_SHARE = 0.85  # clips with a voice. The others have noise or silence
QUIET_SHARE = {'Fear': 0.22, 'Surprise': 0.22}  # "too shocked to speak" (dissertation, 9.1). Others: 1 - TALKING_SHARE

# How strongly the labelled emotion shows. With low values, people could not tell clips from Neutral.
MIN_AMPLITUDE = 0.65
AMPLITUDE_BETA = (2.0, 1.1)  # beta distribution of the part above it, up to 1
DISTRACTING_MOTION = 0.25  # share of clips whose head also moves in the manner of a random emotion

# Syllables per second, relative to the speaker's own rate. The rest of the prosody is in voice.py.
TEMPO = {'Neutral': 1.0, 'Anger': 1.25, 'Disgust': 0.8, 'Fear': 1.4, 'Happy': 1.15, 'Sad': 0.65, 'Surprise': 1.1}
NUM_VOWELS = 5


class Shot(IntEnum):
    """The content of a frame."""

    FACE = 0
    ABSENT = 1  # the person has left the frame
    CUTAWAY = 2  # another scene
    BACK = 3  # the back of the head
    DARK = 4  # too dark to see anything


class Pose(NamedTuple):
    """Head pose, each float64 [T]."""

    x: np.ndarray  # centre of the face, pixels from the left
    y: np.ndarray  # pixels from the top
    scale: np.ndarray  # half the face's width, pixels
    roll: np.ndarray  # radians, clockwise in the frame
    yaw: np.ndarray  # radians, positive looks to the right of the frame
    pitch: np.ndarray  # radians, positive looks down


class Light(NamedTuple):
    """Light and camera."""

    gain: np.ndarray  # float64 [T], brightness relative to good exposure
    cast: np.ndarray  # float64 [3], colour of the light
    side: np.ndarray  # float64 [2], change of brightness over half the frame, to the right and down
    blur: float  # standard deviation in pixels, 0 for a sharp frame
    noise: float  # standard deviation in grey levels


class Occluder(NamedTuple):
    """An object that passes before the face. Positions are in half face widths from the centre of the face."""

    hand: bool  # a hand, or else a bar
    at: np.ndarray  # float64 [T, 2], nan while it is out of the frame
    angle: float  # radians
    size: float  # half a palm's width, or half the bar's


class Voice(NamedTuple):
    """The speech of a clip. The emotion in the voice follows `Script.intensity`, times `expressiveness`."""

    syllables: np.ndarray  # float64 [S, 3]: start and length in seconds, vowel number
    expressiveness: float
    noise: bool  # background noise. False gives digital silence between syllables
    snr: float  # dB, of the voice over the noise
    level: float  # dB, of the recording


class Script(NamedTuple):
    """One clip of T frames."""

    plan: ClipPlan
    identity: Identity
    intensity: np.ndarray  # float64 [T] in [0, 1], of the labelled emotion
    action_units: np.ndarray  # float64 [T, len(ActionUnit)] in [0, 1]
    pose: Pose
    shots: np.ndarray  # int64 [T], values of `Shot`
    light: Light
    occluder: Occluder | None
    voice: Voice


def write_script(plan: ClipPlan, seed: int) -> Script:
    """Samples the script of a clip."""
    rng = clip_rng(plan, seed, purpose=0)
    emotion = EMOTIONS[plan.emotion]
    identity = sample_identity(seed, plan.split, int(rng.integers(PEOPLE[plan.split])))
    length = int(np.clip(np.rint(rng.lognormal(np.log(MEDIAN_LENGTH), LENGTH_SIGMA)), MIN_LENGTH, MAX_LENGTH))
    time = np.arange(length) / FRAMES_PER_SECOND
    if emotion == 'Neutral':
        intensity = np.zeros(length)
    else:
        amplitude = MIN_AMPLITUDE + (1 - MIN_AMPLITUDE) * rng.beta(*AMPLITUDE_BETA)
        intensity = amplitude * sample_episode(rng, time, DYNAMICS[emotion])
    voice = _sample_voice(rng, time, intensity, emotion, identity)
    return Script(
        plan=plan,
        identity=identity,
        intensity=intensity,
        action_units=sample_action_units(rng, time, intensity, emotion, identity, voice.syllables),
        pose=_sample_pose(rng, time, intensity, emotion),
        shots=_sample_shots(rng, length, plan.faceless),
        light=_sample_light(rng, time),
        occluder=_sample_occluder(rng, length),
        voice=voice,
    )


def _sample_pose(rng: np.random.Generator, time: np.ndarray, intensity: np.ndarray, emotion: str) -> Pose:
    """Samples a swaying head that moves in the manner of the emotion, and at times of another one."""
    scale = rng.uniform(26, 42)
    sway = wander(rng, time, 2.5, 6)
    x = IMAGE_WIDTH * rng.uniform(0.36, 0.64) + 0.09 * scale * sway[:, 0]
    y = IMAGE_HEIGHT * rng.uniform(0.46, 0.52) + 0.05 * scale * sway[:, 1]
    grown = np.ones(len(time)) + 0.015 * sway[:, 2]
    roll = rng.normal(0, 0.08) + 0.04 * sway[:, 3]
    yaw = rng.normal(0, 0.14) + 0.07 * sway[:, 4]
    pitch = rng.normal(0, 0.08) + 0.04 * sway[:, 5]

    moods = [(emotion, intensity)]
    if rng.random() < DISTRACTING_MOTION:
        strength = rng.uniform(0.3, 0.8)
        moods.append((rng.choice(EMOTIONS[1:]), strength * sample_episode(rng, time, Dynamics(0.3, 0.5, 0.4))))
    for mood, level in moods:
        side = rng.choice([-1, 1])
        frequency = rng.uniform(0.85, 1.15)
        level = level * rng.uniform(0.5, 1.2)
        if mood == 'Anger':  # leans forward
            grown += 0.14 * level
            pitch += 0.12 * level
        elif mood == 'Disgust':  # turns away
            yaw += 0.35 * side * level
            pitch -= 0.12 * level
        elif mood == 'Fear':  # moves back, trembling
            grown -= 0.1 * level
            x += 0.04 * scale * level * np.sin(2 * np.pi * 6 * frequency * time)
        elif mood == 'Happy':  # bobs up and down
            y += 0.07 * scale * level * np.sin(2 * np.pi * 2.3 * frequency * time)
            roll += 0.1 * side * level
        elif mood == 'Sad':  # lets the head droop
            pitch += 0.25 * level
            y += 0.15 * scale * level
        elif mood == 'Surprise':  # moves back suddenly
            pitch -= 0.14 * level
            y -= 0.1 * scale * level
            grown -= 0.06 * level
    return Pose(x, y, scale * grown, np.clip(roll, -0.4, 0.4), np.clip(yaw, -0.5, 0.5), np.clip(pitch, -0.35, 0.35))


def _sample_shots(rng: np.random.Generator, length: int, faceless: bool) -> np.ndarray:
    """Samples the content of each frame, int64 [length]: faces, at times with a gap."""
    shots = np.full(length, Shot.FACE)
    hidden = rng.integers(Shot.ABSENT, Shot.DARK + 1)
    if faceless:
        shots[:] = hidden
    elif rng.random() < GAP_SHARE:
        gap = max(2, round(length * rng.uniform(0.1, 0.45)))
        start = rng.integers(length - gap + 1)
        shots[start : start + gap] = hidden
    return shots


def _sample_light(rng: np.random.Generator, time: np.ndarray) -> Light:
    angle = rng.uniform(0, 2 * np.pi)
    return Light(
        gain=np.clip(rng.lognormal(-0.12, 0.2), 0.6, 1.05) * (1 + 0.02 * wander(rng, time, 1.0, 1)[:, 0]),
        cast=1 + rng.uniform(-0.035, 0.035, size=3),
        side=rng.uniform(0, 0.4) * np.array([np.cos(angle), np.sin(angle)]),
        blur=rng.uniform(0.6, 1.3) if rng.random() < 0.3 else 0.0,
        noise=rng.uniform(1, 7),
    )


def _sample_occluder(rng: np.random.Generator, length: int) -> Occluder | None:
    """Samples an object that passes before the face, or none."""
    if rng.random() >= OCCLUSION_SHARE:
        return None
    present = max(3, round(length * rng.uniform(0.15, 0.5)))
    start = rng.integers(length - present + 1)
    way = np.linspace(0, 1, present)
    hand = rng.random() < 0.5
    target = rng.uniform([-0.8, 0.3], [0.8, 1.1]) if hand else rng.uniform([-0.7, -0.5], [0.7, 1.0])
    # It enters from below, stays, and leaves the same way.
    away = 1 - smoothstep(way / 0.25) + smoothstep((way - 0.75) / 0.25)
    at = np.full((length, 2), np.nan)
    at[start : start + present] = target + away[:, np.newaxis] * np.array([0.5 * np.sign(target[0]), 2.5])
    return Occluder(hand, at, angle=rng.uniform(-0.5, 0.5), size=rng.uniform(0.3, 0.45))


def _sample_voice(
    rng: np.random.Generator, time: np.ndarray, intensity: np.ndarray, emotion: str, identity: Identity
) -> Voice:
    """Samples the syllables of a clip and their recording. A quiet clip has no syllables."""
    quiet = rng.random() < QUIET_SHARE.get(emotion, 1 - TALKING_SHARE)
    tempo = TEMPO[emotion]
    syllables, now = [], rng.uniform(0, 0.4)
    while not quiet and now < time[-1]:
        strength = 0.4 + 0.6 * float(np.interp(now, time, intensity))
        length = rng.lognormal(0, 0.2) / (identity.speech_rate * (1 + (tempo - 1) * strength))
        syllables.append((now, length, rng.integers(NUM_VOWELS)))
        now += length + (rng.exponential(0.35) if rng.random() < 0.15 else 0.02)
    return Voice(
        syllables=np.array(syllables, float).reshape(-1, 3),
        expressiveness=rng.uniform(0.6, 1.5),
        noise=bool(not quiet or rng.random() < 0.7),
        snr=rng.uniform(0, 20),
        level=rng.normal(-24, 3),
    )
