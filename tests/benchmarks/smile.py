# SPDX-License-Identifier: Apache-2.0
"""Measures audio clips per second with three methods: python -m tests.benchmarks.smile [--wav=FILE]

contextual   one pass of openSMILE over the whole audio, 40 ms frames 40 ms apart
isolated     openSMILE on each 40 ms clip alone, all within this process
process      a process per clip, which writes the clip's CSV, like the dissertation's tools (5.1.2)

The first two are `fer.prepare.smile.extract.clip_features`. The benchmark checks that `process` computes the same as
`isolated`. Its processes are as light as Python allows: they import NumPy and openSMILE's core without the package
around it, which takes a second more. The `opensmile` wheel has no SMILExtract, which would start faster. Its work on a
clip then takes as long as `isolated`. `process` is so slow that only a few clips of each round use it.

Every round measures all three in turn, so that other load on the machine affects them alike.
"""

import importlib.util
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from absl import flags

from fer import cli
from fer.errors import InputError
from fer.prepare.smile.extract import CLIP_SECONDS, CONFIGS, LONE_FRAME, Wav, clip_features, read_wav
from fer.prepare.synthetic.identity import SPLITS
from fer.prepare.synthetic.plan import clip_rng, plan_split
from fer.prepare.synthetic.script import write_script
from fer.prepare.synthetic.voice import SAMPLE_RATE, speak
from tests.realmedia import realdata

flags.DEFINE_string('wav', None, '16-bit PCM wav to read. Default: real speech if it is there, else a synthetic voice.')
flags.DEFINE_integer('rounds', 7, 'Number of rounds.', lower_bound=1)
flags.DEFINE_integer(
    'clips', 131, 'Number of clips that the audio is cut to. AFEW has up to 144 a video.', lower_bound=1
)
flags.DEFINE_integer('process_clips', 5, 'Number of clips in a round that get a process each.', lower_bound=1)

GOAL = 8  # contextual over isolated
PASSES = 10  # over the audio in a round of `contextual`. One pass is too short to measure well

# Arguments: the folder of the package opensmile, configuration, wav, CSV, then name=value pairs.
_PROCESS = """
import sys, types
package = types.ModuleType('opensmile')
package.__path__ = [sys.argv[1]]
sys.modules['opensmile'] = package
import numpy as np
from opensmile.core.lib import OpenSMILE
config, wav, output, *options = sys.argv[2:]
engine, rows = OpenSMILE(), []
engine.initialize(config, {'I': wav, **dict(option.split('=') for option in options)}, loglevel=0)
names = [engine.external_sink_get_element_name('sink', k) for k in range(engine.external_sink_get_num_elements('sink'))]
engine.external_sink_set_callback('sink', lambda row: rows.append(row.copy()))
engine.run()
engine.free()
np.savetxt(output, np.array(rows), fmt='%.9g', delimiter=',', header=','.join(names), comments='')
"""


class Method(NamedTuple):
    """A method of extracting features, as it is measured."""

    clips: int  # in one pass
    passes: int  # in one round
    extract: Callable[[], np.ndarray]  # makes a pass: float32 [clips, 112]


def main() -> None:
    args = flags.FLAGS
    with tempfile.TemporaryDirectory(prefix='fer-bench-') as temporary:
        folder = Path(temporary)
        source, audio = find_audio(args.wav)
        length = round(CLIP_SECONDS * audio.rate)
        clips = min(args.clips, len(audio.samples) // length)
        if not clips:
            raise InputError(f'--wav={args.wav}: shorter than a clip of {CLIP_SECONDS} s')
        wav = write_wav(folder / 'audio.wav', audio.samples[: clips * length], audio.rate)
        # Spread over the audio, because silence may be quicker than speech.
        chosen = np.linspace(0, clips - 1, min(args.process_clips, clips)).astype(int)
        clip_wavs = [
            write_wav(folder / f'{k}.wav', audio.samples[k * length : (k + 1) * length], audio.rate) for k in chosen
        ]
        methods = {
            'contextual': Method(clips, PASSES, lambda: clip_features(wav, clips, 'contextual').values),
            'isolated': Method(clips, 1, lambda: clip_features(wav, clips, 'isolated').values),
            'process': Method(len(chosen), 1, lambda: np.stack([start_process(path) for path in clip_wavs])),
        }
        # This first use of everything is not measured.
        contextual, isolated, process = (method.extract() for method in methods.values())
        assert contextual.shape == isolated.shape
        np.testing.assert_array_equal(process, isolated[chosen])
        rates = {name: np.zeros(args.rounds) for name in methods}
        for round_ in range(args.rounds):
            for name, method in methods.items():
                start = time.perf_counter()
                for _ in range(method.passes):
                    method.extract()
                rates[name][round_] = method.passes * method.clips / (time.perf_counter() - start)
    print(f'{source}: {clips} clips of 40 ms at {audio.rate} samples/s; rounds: {args.rounds}')
    print(f'{"":<24}{"clips a round":>14}{"clips/s: median":>17}{"lowest":>9}{"highest":>9}')
    for name, values in rates.items():
        count = methods[name].passes * methods[name].clips
        print(f'{name:<24}{count:>14}{np.median(values):>17.1f}{values.min():>9.1f}{values.max():>9.1f}')
    print(f'{"ratio within a round":<24}{"":>14}{"median":>17}{"lowest":>9}{"highest":>9}')
    for above, below in (('contextual', 'isolated'), ('contextual', 'process'), ('isolated', 'process')):
        ratio = rates[above] / rates[below]
        goal = f'   goal: {GOAL}' if (above, below) == ('contextual', 'isolated') else ''
        print(f'{above + " / " + below:<38}{np.median(ratio):>17.1f}{ratio.min():>9.1f}{ratio.max():>9.1f}{goal}')


def find_audio(wav: str | None) -> tuple[str, Wav]:
    """Returns a name and audio: the given wav, real speech, or a synthetic voice of 5 s or more."""
    if wav:
        return wav, read_wav(wav)
    try:
        path = realdata() / 'speech' / 'media-interpretation.wav'
    except pytest.skip.Exception:  # no folder of real clips
        path = Path()
    if path.is_file():
        return path.name, read_wav(path)
    plans = [plan for plan in plan_split(SPLITS[0], 14, seed=0) if not plan.faceless]
    voices = [speak(write_script(plan, 0), clip_rng(plan, 0, purpose=2)) for plan in plans]
    return 'a synthetic voice', Wav(Path(), np.concatenate(voices)[:, None], SAMPLE_RATE)


def write_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    """Writes int16 samples [length, channels]."""
    with wave.open(str(path), 'wb') as file:
        file.setparams((samples.shape[1], 2, rate, len(samples), 'NONE', ''))
        file.writeframes(samples.astype('<i2').tobytes())
    return path


def start_process(wav: Path) -> np.ndarray:
    """Returns the features of one clip's wav, float32 [112], from a process of its own that writes a CSV."""
    spec = importlib.util.find_spec('opensmile')
    assert spec
    assert spec.submodule_search_locations
    framing = {'frameSize': CLIP_SECONDS, 'frameStep': CLIP_SECONDS, 'frameCenter': 'left'} | LONE_FRAME
    output = wav.with_suffix('.csv')
    package = spec.submodule_search_locations[0]
    options = [f'{name}={value}' for name, value in framing.items()]
    command = [sys.executable, '-c', _PROCESS, package, *map(str, (CONFIGS / 'lld.conf', wav, output)), *options]
    subprocess.run(command, check=True)
    return np.loadtxt(output, np.float32, delimiter=',', skiprows=1)


if __name__ == '__main__':
    cli.run(main)
