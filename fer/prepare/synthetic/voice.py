"""The sound of a script: a source-filter voice (Fant, Acoustic Theory of Speech Production, 1960) under noise."""

from typing import NamedTuple

import numpy as np
from scipy import signal

from fer.emotions import EMOTIONS
from fer.prepare.media import FRAMES_PER_SECOND
from fer.prepare.synthetic.script import Script, mouth_opening

SAMPLE_RATE = 16000  # Hz; 640 samples a frame

# First four formants in Hz of an adult male's a, e, i, o, u (Peterson and Barney, 1952, rounded).
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
    """How an emotion sounds at full intensity (after Scherer's reviews of vocal affect)."""

    pitch: float  # semitones over the speaker's own
    melody: float  # range of the pitch over the neutral range
    energy: float  # dB
    brightness: float  # share of the sharp glottal pulse, over the neutral 0.4
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

VOICE_FLOOR = 0.5  # share of the emotion that colours the whole clip's voice; the rest follows the apex


def speak(script: Script, rng: np.random.Generator) -> np.ndarray:
    """`[T * 640]` int16, the mono sound at 16 kHz of a script of T frames."""
    num_frames = len(script.view)
    time = np.arange(num_frames * SAMPLE_RATE // FRAMES_PER_SECOND) / SAMPLE_RATE
    voice = script.voice
    sound = np.zeros(len(time))
    if len(voice.syllables):
        sound = _voice(script, time, rng)
    if voice.noise:
        sound += 10 ** (-voice.snr / 20) * _background(rng, len(time))
    sound *= 10 ** (voice.level / 20) * 32767
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)


def _voice(script: Script, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`[N]` float64, of root mean square 1 where an unmoved speaker speaks."""
    identity, voice = script.identity, script.voice
    prosody = PROSODY[EMOTIONS[script.plan.emotion]]
    frame_times = np.arange(len(script.intensity)) / FRAMES_PER_SECOND
    apex = np.interp(time, frame_times, script.intensity)
    # Even before and after its apex a mood is heard.
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
    """Pitch accents of the syllables over a falling line: `[N]` float64, semitones."""
    middles = syllables[:, 0] + syllables[:, 1] / 2
    accents = rng.normal(0, 1.3, size=len(middles))
    return np.interp(time, middles, accents) + np.linspace(0.8, -0.8, len(time))


def _resonate(source: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """The source through one resonator a formant, one after another."""
    radius = np.exp(-np.pi * _BANDWIDTHS / SAMPLE_RATE)
    a1, a2 = -2 * radius * np.cos(2 * np.pi * formants / SAMPLE_RATE), radius**2
    zeros = np.zeros(len(formants))
    sections = np.stack([1 + a1 + a2, zeros, zeros, np.ones(len(formants)), a1, a2], axis=1)
    return signal.sosfilt(sections, source)


def _background(rng: np.random.Generator, length: int) -> np.ndarray:
    """Noise of a random colour with slow swells, `[N]` float64 of root mean square 1."""
    noise = signal.lfilter([1], [1, -rng.uniform(0.3, 0.97)], rng.standard_normal(length))
    swell = 1 + 0.4 * np.sin(2 * np.pi * (rng.uniform(0.1, 1.5) * np.arange(length) / SAMPLE_RATE + rng.random()))
    noise *= swell
    return noise / np.sqrt(np.mean(noise**2))
