# SPDX-License-Identifier: Apache-2.0
"""The audio of a script: a source-filter voice (Fant, Acoustic Theory of Speech Production, 1960) with noise."""

from typing import NamedTuple

import numpy as np
from scipy import signal

from fer.emotions import EMOTIONS
from fer.prepare.media import FRAMES_PER_SECOND
from fer.prepare.synthetic.expressions import mouth_opening
from fer.prepare.synthetic.script import Script

SAMPLE_RATE = 16000  # Hz, 640 samples per frame

# The first four formants of an adult male's a, e, i, o, u, in Hz (Peterson and Barney, 1952, rounded).
_FORMANTS = np.array(
    [
        [730, 1090, 2440, 3400],
        [530, 1840, 2480, 3500],
        [270, 2290, 3010, 3700],
        [570, 840, 2410, 3300],
        [300, 870, 2240, 3200],
    ]
)
_BANDWIDTHS = np.array([80, 100, 140, 200])  # Hz


class Prosody(NamedTuple):
    """The voice of an emotion at full intensity (after Scherer's reviews of vocal affect)."""

    pitch: float  # semitones above the speaker's own pitch
    melody: float  # range of the pitch, relative to neutral
    energy: float  # dB
    brightness: float  # share of the sharp glottal pulse, added to the neutral 0.4
    tremor: float  # semitones, at 6 Hz
    breath: float  # share of noise in the voice


PROSODY = {
    'Neutral': Prosody(0, 1.0, 0, 0.0, 0, 0.02),
    'Anger': Prosody(4, 1.5, 8, 0.5, 0, 0.02),
    'Disgust': Prosody(-2, 1.1, -1, -0.15, 0, 0.08),
    'Fear': Prosody(7, 0.7, 1, 0.1, 0.8, 0.2),
    'Happy': Prosody(4, 2.3, 4, 0.2, 0, 0.03),
    'Sad': Prosody(-3, 0.4, -7, -0.3, 0.2, 0.12),
    'Surprise': Prosody(7, 3.0, 4, 0.2, 0, 0.08),
}

VOICE_FLOOR = 0.5  # share of the emotion that is in the voice for the whole clip. The rest follows the apex


def speak(script: Script, rng: np.random.Generator) -> np.ndarray:
    """Makes the mono audio at 16 kHz of a script of T frames, int16 [T * 640]."""
    num_frames = len(script.shots)
    time = np.arange(num_frames * SAMPLE_RATE // FRAMES_PER_SECOND) / SAMPLE_RATE
    voice = script.voice
    audio = np.zeros(len(time))
    if len(voice.syllables):
        audio = _voice(script, time, rng)
    if voice.noise:
        audio += 10 ** (-voice.snr / 20) * _background(rng, len(time))
    audio *= 10 ** (voice.level / 20) * 32767
    return np.clip(np.rint(audio), -32768, 32767).astype(np.int16)


def _voice(script: Script, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Makes the voice, float64 [N]. Neutral speech has a root mean square of 1."""
    identity, voice = script.identity, script.voice
    prosody = PROSODY[EMOTIONS[script.plan.emotion]]
    frame_times = np.arange(len(script.intensity)) / FRAMES_PER_SECOND
    apex = np.interp(time, frame_times, script.intensity)
    # The voice keeps a share of the emotion before and after the apex.
    mood = voice.expressiveness * (VOICE_FLOOR * script.intensity.max() + (1 - VOICE_FLOOR) * apex)

    melody = _melody(voice.syllables, time, rng) * (1 + (prosody.melody - 1) * mood)
    tremor = prosody.tremor * mood * np.sin(2 * np.pi * 6 * time)
    pitch = identity.pitch * 2 ** ((prosody.pitch * mood + melody + tremor) / 12)
    cycle = np.cumsum(pitch / SAMPLE_RATE) % 1
    sharp = 2 * cycle - 1
    soft = np.sin(2 * np.pi * cycle)
    brightness = np.clip(0.4 + prosody.brightness * mood, 0, 1)
    source = brightness * sharp + (1 - brightness) * soft
    source += (0.02 + (prosody.breath - 0.02) * mood) * rng.standard_normal(len(time))

    spoken = np.zeros(len(time))
    for vowel, formants in enumerate(_FORMANTS * identity.formant_scale):
        loudness = mouth_opening(voice.syllables[voice.syllables[:, 2] == vowel], time)
        if loudness.any():
            spoken += np.sqrt(loudness) * _resonate(source, formants)
    talking = np.abs(spoken) > 0
    spoken /= np.sqrt(np.mean(spoken[talking] ** 2))
    return spoken * 10 ** (prosody.energy * mood / 20)


def _melody(syllables: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Samples pitch accents of the syllables over a falling line, float64 [N], in semitones."""
    middles = syllables[:, 0] + syllables[:, 1] / 2
    accents = rng.normal(0, 1.3, size=len(middles))
    return np.interp(time, middles, accents) + np.linspace(0.8, -0.8, len(time))


def _resonate(source: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Filters the source with one resonator per formant, one after another."""
    radius = np.exp(-np.pi * _BANDWIDTHS / SAMPLE_RATE)
    a1, a2 = -2 * radius * np.cos(2 * np.pi * formants / SAMPLE_RATE), radius**2
    zeros = np.zeros(len(formants))
    sections = np.stack([1 + a1 + a2, zeros, zeros, np.ones(len(formants)), a1, a2], axis=1)
    return signal.sosfilt(sections, source)


def _background(rng: np.random.Generator, length: int) -> np.ndarray:
    """Makes noise of a random colour that swells slowly, float64 [N] with a root mean square of 1."""
    noise = signal.lfilter([1], [1, -rng.uniform(0.3, 0.97)], rng.standard_normal(length))
    swell = 1 + 0.4 * np.sin(2 * np.pi * (rng.uniform(0.1, 1.5) * np.arange(length) / SAMPLE_RATE + rng.random()))
    noise *= swell
    return noise / np.sqrt(np.mean(noise**2))
