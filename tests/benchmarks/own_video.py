# SPDX-License-Identifier: Apache-2.0
"""Measures fer.predict on a video: python -m tests.benchmarks.own_video --clip=clip.mp4

  python -m tests.benchmarks.own_video --clip=clip.mp4 [--seconds=30] [--detectors=mtcnn,blazeface] [--peer]
  python -m tests.benchmarks.own_video --clip=clip.mp4 --minutes=60

The clip is repeated to --seconds. Prints frames/s from start to end of the command, once with frames.csv, segments.csv
and summary.json, and once with annotated.mp4 too. Then come the CPU seconds of each stage alone, their sum beside those
of the command, and the share of the cores that the command keeps busy after its start. --peer measures
`Video.analyze` of the `fer` package with MTCNN on the same file (tests.benchmarks.peers_venv, with facenet-pytorch).

--minutes makes a long video by repetition instead, and prints the largest memory of the processes together, sampled
every two seconds, at a tenth of the video and at its end.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from absl import flags

from fer import cli
from fer.cpus import count_cpus
from fer.errors import InputError
from fer.prepare.ffmpeg import FFMPEG
from tests.benchmarks import peers_venv

flags.DEFINE_string('clip', None, 'Video with a face.', required=True)
flags.DEFINE_integer('seconds', 30, 'Length that the clip is repeated to.', lower_bound=2)
flags.DEFINE_list('detectors', ['mtcnn', 'blazeface'], 'Values of --detector.')
flags.DEFINE_bool('peer', False, 'Also measure the fer package.')
flags.DEFINE_integer('minutes', 0, 'Measure the memory on a video of this length instead.', lower_bound=0)
flags.DEFINE_string('stages', '', 'Used by the benchmark itself: measure the stages with this detector, on --clip.')

NUMBERS, VIDEO = 'csv,segments,summary', 'csv,segments,summary,video'


def main() -> None:
    values = flags.FLAGS
    if values.stages:
        print(json.dumps(measure_stages(values.clip, values.stages)))
        return
    if not Path(values.clip).exists():
        raise InputError(f'--clip={values.clip}: no such file')
    with tempfile.TemporaryDirectory() as folder:
        if values.minutes:
            report_memory(Path(folder), values.clip, values.minutes, values.detectors[0])
            return
        video = repeat(values.clip, Path(folder) / 'video.mp4', values.seconds)
        for detector in values.detectors:
            report_speed(Path(folder), video, detector)
        if values.peer:
            report_peer(video)


def repeat(clip: str, path: Path, seconds: float) -> Path:
    """Writes a clip again and again, to a video of so many seconds at 25 frames/s."""
    command = [FFMPEG, '-v', 'error', '-stream_loop', '-1', '-i', clip, '-t', str(seconds), '-r', '25', '-preset']
    subprocess.run([*command, 'ultrafast', '-pix_fmt', 'yuv420p', str(path)], check=True)
    return path


def predict(video: Path, output: Path, detector: str, write: str) -> tuple[float, float, int]:
    """Runs the command. Returns its seconds, its CPU seconds and the frames with a face."""
    command = [sys.executable, '-m', 'fer.predict', f'--video={video}', f'--output={output}']
    before, began = os.times(), time.perf_counter()
    subprocess.run([*command, f'--detector={detector}', f'--write={write}'], check=True, stdout=sys.stderr)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    summary = json.loads((output / video.stem / 'summary.json').read_text())
    return time.perf_counter() - began, cpu, summary['frames_with_face']


def report_speed(folder: Path, video: Path, detector: str) -> None:
    """Prints the speed of the command and the share of each stage."""
    short = repeat(str(video), folder / f'short_{detector}.mp4', 1)
    start, start_cpu, _ = predict(short, folder / f'start_{detector}', detector, NUMBERS)
    seconds, cpu, answered = predict(video, folder / f'numbers_{detector}', detector, NUMBERS)
    with_video, _, _ = predict(video, folder / f'video_{detector}', detector, VIDEO)
    rows = list(csv.DictReader(open(folder / f'numbers_{detector}' / video.stem / 'frames.csv')))  # noqa: SIM115
    frames = len({row['frame'] for row in rows})
    print(f'\n{detector}: {frames} frames, {answered} with a face')
    print(f'csv, segments, summary: {seconds:.1f} s, {frames / seconds:.1f} frames/s, start included')
    print(f'with annotated.mp4: {with_video:.1f} s, {frames / with_video:.1f} frames/s')
    busy = (cpu - start_cpu) / (seconds - start) / count_cpus()
    print(f'cores busy after the start: {busy:.0%} of {count_cpus()}')
    command = [sys.executable, '-m', 'tests.benchmarks.own_video', f'--clip={video}', f'--stages={detector}']
    stages = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    print(', '.join(f'{name} {value:.1f}' for name, value in stages.items()) + ' CPU seconds alone')
    total = sum(stages.values())
    print(
        f'sum {total:.1f}, command {cpu:.1f} with {start_cpu:.1f} for a video of 1 s: {(cpu - start_cpu) / total:.2f} x'
    )


def measure_stages(video: str, detector: str) -> dict[str, float]:
    """Returns the CPU seconds of each stage alone, in this process and one after the other."""
    from fer.predict.watch import AudioHeard, Watching, hear
    from fer.prepare.detectors import make_detector
    from fer.prepare.faces import align
    from fer.prepare.media import Choice, Findings, extract_wav, read_frames
    from fer.prepare.tracking import Tracker
    from fer.prepare.video_files import encode_jpeg

    # As the starter set needs it. MTCNN and the starter set's graphs cannot share a process.
    settings = Watching(detector, 'follow', 48, -0.06, Choice(), 16000, ('emo_large',), '', 4.0)
    found: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        found[name] = found.get(name, 0.0) + time.process_time() - began

    with stage('decode'):
        for _ in read_frames(video):
            pass
    tracker = Tracker(make_detector(detector))
    jpegs: list[bytes] = []
    for image in read_frames(video):
        with stage('detect and track'):
            settled = tracker.add_frame(image)
        with stage('align and encode'):
            for frame in settled:
                jpegs += [
                    encode_jpeg(align(frame.image, face, settings.image_size, settings.margin))
                    for _, face in frame.faces
                ]
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / 'audio.wav'
        heard: list[AudioHeard] = []
        with stage('audio'):
            if extract_wav(video, wav, settings.streams, Findings(), settings.sample_rate):
                hear(wav, settings, Findings(), heard.append)
    found['networks'] = _measure_networks(jpegs, len(heard))
    return found


def _measure_networks(jpegs: list[bytes], stretches: int) -> float:
    """Returns the CPU seconds of the shipped networks for faces and stretches of audio, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'faces.npz'
        np.savez(path, sizes=[len(one) for one in jpegs], content=np.frombuffer(b''.join(jpegs), np.uint8))
        done = subprocess.run(
            [sys.executable, '-c', _NETWORKS, str(path), str(stretches)], check=True, capture_output=True, text=True
        )
    return float(done.stdout.splitlines()[-1])


_NETWORKS = """
import sys, time
import numpy as np
from fer.predict.members import Network, open_members
from fer.predict.request import STARTERS
from fer.training.session import SessionSettings
stored = np.load(sys.argv[1], allow_pickle=False)
ends = np.cumsum(stored['sizes'])
content = stored['content'].tobytes()
jpegs = [content[end - size : end] for end, size in zip(ends, stored['sizes'])]
face, voice = (Network(member, SessionSettings(intra_op_threads=1)) for member in open_members(STARTERS, 'val'))
face.answer_faces(jpegs[:25])
values = np.zeros((1, len(voice.member.blueprint.scaling.names)), np.float32)
voice.answer_windows(None, values, None)
began = time.process_time()
for first in range(0, len(jpegs), 25):
    face.answer_faces(jpegs[first : first + 25])
for _ in range(int(sys.argv[2])):
    voice.answer_windows(None, values, None)
print(time.process_time() - began)
"""


def report_peer(video: Path) -> None:
    """Prints the speed of the fer package."""
    script = Path(__file__).with_name('own_video_package.py')
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [peers_venv.PYTHON, '-P', script, video], cwd=folder, check=True, capture_output=True, text=True
        )
    found = json.loads(done.stdout.splitlines()[-1])
    print(
        f'\nfer package, Video.analyze with MTCNN: {found["frames"]} frames, {found["answered"]} answered, '
        f'{found["seconds"]:.1f} s, {found["frames"] / found["seconds"]:.1f} frames/s, start included'
    )


def report_memory(folder: Path, clip: str, minutes: int, detector: str) -> None:
    """Prints the memory of the command on a long video."""
    video = repeat(clip, folder / 'long.mp4', 60 * minutes)
    samples: list[tuple[float, float]] = []
    ended = threading.Event()
    began = time.perf_counter()

    def sample() -> None:
        while not ended.wait(2):
            samples.append((time.perf_counter() - began, _memory_of_children()))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        seconds, _, answered = predict(video, folder / 'out', detector, NUMBERS)
    finally:
        ended.set()
        thread.join()
    with open(folder / 'out' / 'long' / 'frames.csv') as file:
        frames = {int(row['frame']) for row in csv.DictReader(file)}
    early = max(memory for at, memory in samples if at <= max(0.1 * seconds, samples[0][0]))
    late = max(memory for _, memory in samples)
    grown = (late - early) / (0.9 * 60 * minutes)
    print(f'{minutes} minutes: {len(frames)} frames, of {min(frames)} to {max(frames)}, {answered} with a face')
    print(f'memory in a tenth of the time {early / 1e6:.0f} MB, at most {late / 1e6:.0f} MB: {grown / 1e3:.2f} kB/s')


def _memory_of_children() -> float:
    """Returns the bytes of memory that the processes below this one have for themselves."""
    total, waiting = 0, [os.getpid()]
    while waiting:
        parent = waiting.pop()
        for task in Path(f'/proc/{parent}/task').glob('*/children'):
            try:
                children = [int(word) for word in task.read_text().split()]
            except OSError:
                continue
            for child in children:
                waiting.append(child)
                total += _read_number(lambda child=child: Path(f'/proc/{child}/smaps_rollup').read_text())
    return total


def _read_number(read: Callable[[], str]) -> int:
    try:
        lines = read().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith('Private_'))


if __name__ == '__main__':
    cli.run(main)
