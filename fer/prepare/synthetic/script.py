"""What happens in a clip, frame by frame, before anything is drawn or sounded.

The difficulty of the corpus is decided here. The constants below were set so that a small network that looks at
single frames of unseen people, and averages over the clip, is right about half of the time, and the voice alone
about four times in ten: learning shows within minutes, and nothing comes near 100%.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from fer.emotions import EMOTIONS, NUM_CLASSES
from fer.prepare.media import FRAMES_PER_SECOND
from fer.prepare.synthetic.identity import PEOPLE, SPLITS, ActionUnit, Identity, draw_identity

IMAGE_HEIGHT, IMAGE_WIDTH = 144, 192  # pixels, about a quarter of AFEW's 576 x 720; faces are 50 to 85 wide

# Clips per emotion, in the order of EMOTIONS, of AFEW's training and validation sets; the test set's are not public.
_COUNTS = {'Train': (144, 133, 74, 81, 150, 117, 74), 'Val': (63, 64, 40, 46, 63, 61, 46)}
_COUNTS['Test'] = tuple(np.add(_COUNTS['Train'], _COUNTS['Val']))

# Length of a clip: log-normal, like the histograms of the dissertation's figures 2.1 to 2.3.
MEDIAN_LENGTH, LENGTH_SIGMA, MIN_LENGTH, MAX_LENGTH = 55, 0.5, 10, 144  # frames, natural log, frames, frames

FACELESS_SHARE = 0.03  # clips in which no frame shows a face: 25 of the dissertation's 773 training videos
FACELESS_MIN_CLIPS = 20  # a split this large has at least one
GAP_SHARE = 0.25  # clips that lose the face for a stretch
OCCLUSION_SHARE = 0.22  # clips in which something passes before the face
TALKING_SHARE = 0.85  # clips with a voice; the rest have noise or nothing
QUIET_SHARE = {'Fear': 0.22, 'Surprise': 0.22}  # "too shocked to speak" (dissertation, 9.1); others 1 - TALKING_SHARE

# How strongly the labelled emotion shows. Low values make clips that nobody can tell from Neutral.
MIN_AMPLITUDE = 0.65
AMPLITUDE_BETA = (2.0, 1.1)  # of the rest, up to 1
UNIT_DROPOUT = 0.05  # an action unit of the prototype is missing from a clip this often: nobody acts by the book
CONTAMINATION = 0.2  # share of clips whose apex also shows the emotion it is usually confused with
BLIPS_PER_SECOND = 0.2  # brief flashes of any emotion, in every clip, so that one strong frame proves little
BLIP_AMPLITUDE = (0.15, 0.45)  # below MIN_AMPLITUDE
DISTRACTING_MOTION = 0.25  # share of clips whose head moves in the manner of a random emotion

# FACS prototypes (Ekman and Friesen 1978; the dissertation's 2.1 names the same seven classes).
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
    """How an emotion unfolds, in seconds. It is what a sequence model can see and a single frame cannot."""

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

# Syllables per second over the speaker's own; the rest of the prosody is in voice.py.
TEMPO = {'Neutral': 1.0, 'Anger': 1.25, 'Disgust': 0.8, 'Fear': 1.4, 'Happy': 1.15, 'Sad': 0.65, 'Surprise': 1.1}
NUM_VOWELS = 5


class View(IntEnum):
    """What the camera sees in a frame."""

    FACE = 0
    ABSENT = 1  # the person has left the picture
    CUTAWAY = 2  # another scene
    BACK = 3  # the back of the head
    DARK = 4  # too dark to see


class Plan(NamedTuple):
    """What the corpus as a whole fixes about one clip."""

    split: str
    number: int  # of the clip in its split, from 0
    video_id: str  # nine digits
    emotion: int  # class index
    faceless: bool  # no frame shows a face


class Pose(NamedTuple):
    """Head pose, each `[T]` float64."""

    x: np.ndarray  # centre of the face, pixels from the left
    y: np.ndarray  # pixels from the top
    scale: np.ndarray  # half the face's width, pixels
    roll: np.ndarray  # radians, clockwise in the picture
    yaw: np.ndarray  # radians, positive looks to the right of the picture
    pitch: np.ndarray  # radians, positive looks down


class Light(NamedTuple):
    """Light and camera."""

    gain: np.ndarray  # [T] float64, brightness over a well exposed picture
    cast: np.ndarray  # [3] float64, colour of the light
    side: np.ndarray  # [2] float64, change of brightness over half the picture, to the right and down
    blur: float  # pixels, standard deviation; 0 is sharp
    noise: float  # grey levels, standard deviation


class Occluder(NamedTuple):
    """Something that passes before the face. Positions are in half face widths from the centre of the face."""

    hand: bool  # a hand, otherwise a bar
    at: np.ndarray  # [T, 2] float64, nan where it is out of the picture
    angle: float  # radians
    size: float  # half a palm's width, or half the bar's


class Voice(NamedTuple):
    """What is said. The emotion in the voice follows `Script.intensity`, times `expressiveness`."""

    syllables: np.ndarray  # [S, 3] float64: start and length in seconds, vowel number
    expressiveness: float
    noise: bool  # False: digital silence where nobody speaks
    snr: float  # dB, voice over noise
    level: float  # dB, of the recording


class Script(NamedTuple):
    """One clip of T frames."""

    plan: Plan
    identity: Identity
    intensity: np.ndarray  # [T] float64 in [0, 1], of the labelled emotion
    action_units: np.ndarray  # [T, len(ActionUnit)] float64 in [0, 1]
    pose: Pose
    view: np.ndarray  # [T] int64, `View`
    light: Light
    occluder: Occluder | None
    voice: Voice


def count_emotions(split: str, size: int) -> list[int]:
    """Clips per emotion, in the order of EMOTIONS, of a split of `size` clips: AFEW's shares, by largest remainder.

    From seven clips on, every emotion has at least one.
    """
    shares = np.array(_COUNTS[split]) * size / sum(_COUNTS[split])
    counts = np.floor(shares).astype(int)
    counts[np.argsort(counts - shares, kind='stable')[: size - counts.sum()]] += 1
    while size >= NUM_CLASSES and counts.min() == 0:
        counts[counts.argmin()] += 1
        counts[counts.argmax()] -= 1
    return counts.tolist()


def plan_split(split: str, size: int, seed: int) -> list[Plan]:
    """Ids, emotions and clips without a face of a split; emotions are shuffled, so a clip's number says nothing."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, SPLITS.index(split)], spawn_key=(1,)))
    emotions = rng.permutation(np.repeat(np.arange(NUM_CLASSES), count_emotions(split, size)))
    num_faceless = max(1, round(FACELESS_SHARE * size)) if size >= FACELESS_MIN_CLIPS else 0
    faceless = set(rng.permutation(size)[:num_faceless].tolist())
    return [
        Plan(split, index, _video_id(split, index, seed), int(emotion), index in faceless)
        for index, emotion in enumerate(emotions)
    ]


def clip_rng(plan: Plan, seed: int, purpose: int) -> np.random.Generator:
    """The clip's own random numbers; different purposes (script, pictures, sound) have independent ones."""
    key = [seed, SPLITS.index(plan.split), plan.number]
    return np.random.default_rng(np.random.SeedSequence(key, spawn_key=(2, purpose)))


def write_script(plan: Plan, seed: int) -> Script:
    """The script of one clip."""
    rng = clip_rng(plan, seed, purpose=0)
    emotion = EMOTIONS[plan.emotion]
    identity = draw_identity(seed, plan.split, int(rng.integers(PEOPLE[plan.split])))
    length = int(np.clip(np.rint(rng.lognormal(np.log(MEDIAN_LENGTH), LENGTH_SIGMA)), MIN_LENGTH, MAX_LENGTH))
    time = np.arange(length) / FRAMES_PER_SECOND
    if emotion == 'Neutral':
        intensity = np.zeros(length)
    else:
        amplitude = MIN_AMPLITUDE + (1 - MIN_AMPLITUDE) * rng.beta(*AMPLITUDE_BETA)
        intensity = amplitude * _draw_episode(rng, time, DYNAMICS[emotion])
    voice = _draw_voice(rng, time, intensity, emotion, identity)
    return Script(
        plan=plan,
        identity=identity,
        intensity=intensity,
        action_units=_draw_action_units(rng, time, intensity, emotion, identity, voice.syllables),
        pose=_draw_pose(rng, time, intensity, emotion),
        view=_draw_views(rng, length, plan.faceless),
        light=_draw_light(rng, time),
        occluder=_draw_occluder(rng, length),
        voice=voice,
    )


def mouth_opening(syllables: np.ndarray, time: np.ndarray) -> np.ndarray:
    """How far speech opens the mouth: `[T]` in [0, 1] at the times `[T]` in seconds, from `[S, 3]` syllables."""
    opening = np.zeros(len(time))
    for start, length, _ in syllables:
        phase = (time - start) / length
        opening += np.where((phase > 0) & (phase < 1), np.sin(np.pi * np.clip(phase, 0, 1)) ** 2, 0)
    return np.minimum(opening, 1)


def _video_id(split: str, index: int, seed: int) -> str:
    # Multiplication by a number prime to 10 permutes the nine-digit numbers, so ids never collide and the order of
    # the ids is not the order of the clips.
    return f'{((SPLITS.index(split) * 1_000_000 + index) * 387_420_489 + seed * 7_919 + 4_514_600) % 10**9:09d}'


def _draw_episode(rng: np.random.Generator, time: np.ndarray, dynamics: Dynamics) -> np.ndarray:
    """A rise, an apex and a fall somewhere in the clip: `[T]` float64 in [0, 1], 1 at the apex."""
    duration = len(time) / FRAMES_PER_SECOND
    onset, apex, offset = np.array(dynamics) * rng.lognormal(0, 0.25, size=3)
    apex = min(apex, MAX_APEX_SHARE * duration)
    if onset + apex + offset < duration:
        start = rng.uniform(0, duration - onset - apex - offset)
    else:  # the apex lies inside the clip, the rise and the fall are cut
        start = rng.uniform(0, duration - apex) - onset
    rise = _smoothstep((time - start) / onset)
    fall = _smoothstep((time - start - onset - apex) / offset)
    return rise * (1 - fall)


def _smoothstep(position: np.ndarray) -> np.ndarray:
    position = np.clip(position, 0, 1)
    return position**2 * (3 - 2 * position)


def _wander(rng: np.random.Generator, time: np.ndarray, period: float, columns: int) -> np.ndarray:
    """Smooth random curves, `[T, columns]` of mean 0 and standard deviation about 1; `period` in seconds."""
    frequency = rng.uniform(0.4, 1.6, size=(4, 1, columns)) / period
    phase = rng.uniform(0, 2 * np.pi, size=(4, 1, columns))
    return np.sin(2 * np.pi * frequency * time[:, np.newaxis] + phase).sum(axis=0) / np.sqrt(2)


def _draw_action_units(
    rng: np.random.Generator,
    time: np.ndarray,
    intensity: np.ndarray,
    emotion: str,
    identity: Identity,
    syllables: np.ndarray,
) -> np.ndarray:
    units = identity.resting + 0.05 * _wander(rng, time, 1.5, len(ActionUnit))

    trembling = intensity
    if emotion == 'Fear':
        trembling = intensity * (1 + 0.25 * np.sin(2 * np.pi * rng.uniform(5, 7) * time))
    units += trembling[:, np.newaxis] * _act(rng, emotion)
    if emotion in _CONFUSED_WITH and rng.random() < CONTAMINATION:
        units += rng.uniform(0.2, 0.6) * intensity[:, np.newaxis] * _act(rng, _CONFUSED_WITH[emotion])
    for _ in range(rng.poisson(BLIPS_PER_SECOND * time[-1])):
        blip = rng.uniform(*BLIP_AMPLITUDE) * _draw_episode(rng, time, Dynamics(0.15, 0.2, 0.2))
        units += blip[:, np.newaxis] * _act(rng, rng.choice(EMOTIONS[1:]))

    opening = mouth_opening(syllables, time)
    units[:, ActionUnit.LIPS_PART] += 0.45 * opening
    units[:, ActionUnit.JAW_DROP] += rng.uniform(0.25, 0.5) * opening
    units[:, ActionUnit.LIP_STRETCH] += 0.2 * opening * _wander(rng, time, 0.5, 1)[:, 0]
    for start in np.flatnonzero(rng.random(len(time)) < 0.3 / FRAMES_PER_SECOND):
        blink = np.array([0.5, 1, 1, 0.5])[: len(time) - start]
        units[start : start + len(blink), ActionUnit.LID_DROOP] += blink
    return np.clip(units, 0, 1)


def _act(rng: np.random.Generator, emotion: str) -> np.ndarray:
    """One person's way to show an emotion once: `[len(ActionUnit)]` float64; zeros for Neutral."""
    units = np.zeros(len(ActionUnit))
    for unit, level in PROTOTYPES.get(emotion, {}).items():
        units[unit] = level * (rng.uniform(0.6, 1.15) if rng.random() > UNIT_DROPOUT else 0.1)
    if emotion == 'Happy' and rng.random() < 0.5:
        units[ActionUnit.LIPS_PART] = 0.9  # half of all smiles show the teeth
    if emotion == 'Anger' and rng.random() < 0.3:
        units[[ActionUnit.LIPS_PART, ActionUnit.JAW_DROP, ActionUnit.LIP_PRESS]] = 0.7, 0.4, 0  # and some anger shouts
    return units


def _draw_pose(rng: np.random.Generator, time: np.ndarray, intensity: np.ndarray, emotion: str) -> Pose:
    scale = rng.uniform(26, 42)
    sway = _wander(rng, time, 2.5, 6)
    x = IMAGE_WIDTH * rng.uniform(0.36, 0.64) + 0.09 * scale * sway[:, 0]
    y = IMAGE_HEIGHT * rng.uniform(0.46, 0.52) + 0.05 * scale * sway[:, 1]
    grown = np.ones(len(time)) + 0.015 * sway[:, 2]
    roll = rng.normal(0, 0.08) + 0.04 * sway[:, 3]
    yaw = rng.normal(0, 0.14) + 0.07 * sway[:, 4]
    pitch = rng.normal(0, 0.08) + 0.04 * sway[:, 5]

    moods = [(emotion, intensity)]
    if rng.random() < DISTRACTING_MOTION:
        strength = rng.uniform(0.3, 0.8)
        moods.append((rng.choice(EMOTIONS[1:]), strength * _draw_episode(rng, time, Dynamics(0.3, 0.5, 0.4))))
    for mood, level in moods:
        side = rng.choice([-1, 1])
        frequency = rng.uniform(0.85, 1.15)
        level = level * rng.uniform(0.5, 1.2)
        if mood == 'Anger':  # leans in
            grown += 0.14 * level
            pitch += 0.12 * level
        elif mood == 'Disgust':  # turns away
            yaw += 0.35 * side * level
            pitch -= 0.12 * level
        elif mood == 'Fear':  # backs off, trembling
            grown -= 0.1 * level
            x += 0.04 * scale * level * np.sin(2 * np.pi * 6 * frequency * time)
        elif mood == 'Happy':  # bobs
            y += 0.07 * scale * level * np.sin(2 * np.pi * 2.3 * frequency * time)
            roll += 0.1 * side * level
        elif mood == 'Sad':  # lets the head droop
            pitch += 0.25 * level
            y += 0.15 * scale * level
        elif mood == 'Surprise':  # jerks back
            pitch -= 0.14 * level
            y -= 0.1 * scale * level
            grown -= 0.06 * level
    return Pose(x, y, scale * grown, np.clip(roll, -0.4, 0.4), np.clip(yaw, -0.5, 0.5), np.clip(pitch, -0.35, 0.35))


def _draw_views(rng: np.random.Generator, length: int, faceless: bool) -> np.ndarray:
    view = np.full(length, View.FACE)
    hidden = rng.integers(View.ABSENT, View.DARK + 1)
    if faceless:
        view[:] = hidden
    elif rng.random() < GAP_SHARE:
        gap = max(2, round(length * rng.uniform(0.1, 0.45)))
        start = rng.integers(length - gap + 1)
        view[start : start + gap] = hidden
    return view


def _draw_light(rng: np.random.Generator, time: np.ndarray) -> Light:
    angle = rng.uniform(0, 2 * np.pi)
    return Light(
        gain=np.clip(rng.lognormal(-0.12, 0.2), 0.6, 1.05) * (1 + 0.02 * _wander(rng, time, 1.0, 1)[:, 0]),
        cast=1 + rng.uniform(-0.035, 0.035, size=3),
        side=rng.uniform(0, 0.4) * np.array([np.cos(angle), np.sin(angle)]),
        blur=rng.uniform(0.6, 1.3) if rng.random() < 0.3 else 0.0,
        noise=rng.uniform(1, 7),
    )


def _draw_occluder(rng: np.random.Generator, length: int) -> Occluder | None:
    if rng.random() >= OCCLUSION_SHARE:
        return None
    present = max(3, round(length * rng.uniform(0.15, 0.5)))
    start = rng.integers(length - present + 1)
    way = np.linspace(0, 1, present)
    hand = rng.random() < 0.5
    target = rng.uniform([-0.8, 0.3], [0.8, 1.1]) if hand else rng.uniform([-0.7, -0.5], [0.7, 1.0])
    # It comes in from below, stays, and leaves the same way.
    away = 1 - _smoothstep(way / 0.25) + _smoothstep((way - 0.75) / 0.25)
    at = np.full((length, 2), np.nan)
    at[start : start + present] = target + away[:, np.newaxis] * np.array([0.5 * np.sign(target[0]), 2.5])
    return Occluder(hand, at, angle=rng.uniform(-0.5, 0.5), size=rng.uniform(0.3, 0.45))


def _draw_voice(
    rng: np.random.Generator, time: np.ndarray, intensity: np.ndarray, emotion: str, identity: Identity
) -> Voice:
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
