# SPDX-License-Identifier: Apache-2.0
"""One pass over a video: its faces and the features of its audio, found in a process of their own.

The process decodes, detects, tracks, aligns and encodes. It needs no TensorFlow graph, and a crash of a library that
reads media files ends this process only. Frames leave the tracker in order, as soon as their faces no longer change, so
no more than some 25 pictures are held at a time. Faces are encoded as preparation writes them, byte by byte.
"""

import contextlib
import math
import multiprocessing
import os
import queue
import signal
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from fer.errors import InputError
from fer.predict.sources import CAMERA
from fer.prepare.detectors import Detector, make_detector
from fer.prepare.faces import Box, align
from fer.prepare.media import FRAMES_PER_SECOND, Choice, Findings, MediaError, extract_wav, read_frames
from fer.prepare.smile.extract import clip_features, functionals, read_wav
from fer.prepare.tracking import People, SettledFrame, Tracker, largest_face, main_person
from fer.prepare.video_files import encode_jpeg

LONGEST_WHOLE = 60.0  # seconds. Networks of whole recordings learned from some seconds, and memory stays bounded
_AHEAD = 8  # decoded frames that wait for the tracker
CLIPS_FILE = 'clips.npy'


class Watching(NamedTuple):
    """The settings of a pass."""

    detector: str  # see fer.prepare.detectors.make_detector, '' leaves faces out
    person: str  # follow or largest
    image_size: int  # side of the aligned faces in pixels
    margin: float  # see fer.prepare.faces.align
    streams: Choice
    sample_rate: int | None  # of the audio in Hz, None for the file's own
    opensmile_sets: tuple[str, ...]  # of functionals, empty for none
    clip_context: str  # of the features of clips, '' for none
    audio_window: float  # seconds


class Found(NamedTuple):
    """A face, as the process sends it."""

    frame: int  # from 1
    track: int  # from 0
    box: Box
    score: float
    jpeg: bytes  # the aligned face


class FramesSeen(NamedTuple):
    """Frames that are settled."""

    first: int  # from 1
    number: int
    faces: list[Found]  # by frame


class AudioHeard(NamedTuple):
    """Functionals of a stretch of the audio, of each openSMILE set. The whole audio has `is_window` False."""

    begin_s: float
    end_s: float
    is_window: bool
    names: dict[str, list[str]]  # of the features of each set, in the first stretch only
    values: dict[str, np.ndarray]  # float32 [D] of each set


class Ended(NamedTuple):
    """The end of a pass."""

    frames: int
    size: tuple[int, int]  # width and height of the first picture, (0, 0) without pictures
    people: People
    main: int  # the person who has most of the video, from 0, -1 without people
    audio_seconds: float
    clip_names: list[str]  # of the features in CLIPS_FILE, float32 [frames, D]. Empty without clips
    problems: list[str]


class Failed(NamedTuple):
    """A video that cannot be read."""

    problem: str


class Watcher:
    """A process that watches videos, one after the other. A new process replaces one that died.

    Args:
      settings: of the passes.
      threads: of the detector. They change the time and no number.
    """

    def __init__(self, settings: Watching, threads: int) -> None:
        self._settings, self._threads = settings, threads
        self._process: Any = None
        self._connection: Connection
        self.start()

    def start(self) -> None:
        """Starts the process, unless it runs. It loads its detector while the caller does something else."""
        if self._process is not None and self._process.is_alive():
            return
        context = multiprocessing.get_context('spawn')  # a detector's TensorFlow does not survive a fork
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._settings, self._threads), daemon=True)
        self._process.start()
        theirs.close()

    def watch(self, source: str, folder: Path) -> Iterator[FramesSeen | AudioHeard | Ended]:
        """Yields what a video has, in the end `Ended`.

        Args:
          source: path of the video, or `camera:<index>:<seconds>`.
          folder: gets CLIPS_FILE.

        Raises:
          MediaError: the video cannot be read, or the process died with it.
        """
        self.start()
        try:
            self._connection.send((source, str(folder)))
            while True:
                message = self._connection.recv()
                if isinstance(message, Failed):
                    raise MediaError(message.problem)
                yield message
                if isinstance(message, Ended):
                    return
        except (EOFError, ConnectionError):
            self.stop()
            raise MediaError('the process that read it crashed') from None
        except GeneratorExit:
            self.stop()  # what it would still send belongs to nothing
            raise

    def stop(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.kill()
        self._process.join()
        self._process = None


def _serve(connection: Connection, settings: Watching, threads: int) -> None:
    """Watches the videos that are asked for, until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles an interruption
    cv2.setNumThreads(threads)
    lock = threading.Lock()

    def send(message: Any) -> None:
        with lock:
            connection.send(message)

    detector: Detector | None = None
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            source, folder = connection.recv()
            try:
                if settings.detector and detector is None:
                    detector = make_detector(settings.detector)
                send(_watch(source, Path(folder), settings, detector, send))
            except (MediaError, InputError, OSError) as error:
                if isinstance(error, BrokenPipeError):
                    raise
                send(Failed(' '.join(str(error).split())))
    os._exit(0)  # threads that read ahead need not end


def _watch(
    source: str, folder: Path, settings: Watching, detector: Detector | None, send: Callable[[Any], None]
) -> Ended:
    """Sends the faces and the audio of a video, which are found at the same time. Returns the end of the pass."""
    findings = Findings()
    hears = bool(settings.opensmile_sets or settings.clip_context) and not source.startswith(CAMERA)
    with tempfile.TemporaryDirectory(prefix='fer-predict-') as temporary:
        wav = Path(temporary) / 'audio.wav'
        hearing = _Hearing(source, wav, settings, findings, send) if hears else None
        frames, size, people, main = 0, (0, 0), People([], 0), -1
        try:
            if detector is not None:
                frames, size, people, main = _see(source, settings, detector, findings, send)
        except MediaError as error:
            if not hears:
                raise
            assert hearing is not None
            if not hearing.finish():  # neither picture nor audio
                raise
            findings.add_problem(str(error))
        seconds = hearing.finish() if hearing else 0.0
        names: list[str] = []
        if settings.clip_context and seconds and frames:
            with _as_problem(findings):
                clips = clip_features(wav, frames, settings.clip_context)
                np.save(folder / CLIPS_FILE, clips.values)
                names = clips.names
    if not frames and not seconds:
        raise MediaError(findings.problems[0] if findings.problems else 'neither pictures nor audio')
    return Ended(frames, size, people, main, seconds, names, findings.problems)


@contextlib.contextmanager
def _as_problem(findings: Findings) -> Iterator[None]:
    """Turns an error about the audio into a problem of the video."""
    try:
        yield
    except (MediaError, InputError) as error:
        findings.add_problem(f'audio lost: {error}')


def _see(
    source: str, settings: Watching, detector: Detector, findings: Findings, send: Callable[[Any], None]
) -> tuple[int, tuple[int, int], People, int]:
    """Sends the faces of a video. Returns its frames, the size of its first picture, its people and the main person."""
    size, count = (0, 0), 0
    shares = _Shares()
    follows = settings.person == 'follow' and settings.detector != 'none'
    tracker = Tracker(detector)
    for image in _read_ahead(source, settings.streams, findings):
        if not count:
            size = image.shape[1], image.shape[0]
        if follows:
            settled = tracker.add_frame(image)
        else:
            face = largest_face(detector(image))
            settled = [SettledFrame(count, image, [(0, face)] if face else [])]
        count += 1
        shares.add(_send_faces(settled, settings, send))
    if follows:
        shares.add(_send_faces(tracker.finish(), settings, send))
        people = tracker.join()
    else:
        people = People([0], 1) if shares.frames else People([], 0)
    return count, size, people, main_person(people, shares.read())


class _Shares:
    """The tracks and boxes of each frame, in a temporary file until the people are known."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix='fer-boxes-')  # noqa: SIM115 (it lives as long as the pass)
        self.frames = 0  # with a face

    def add(self, frames: list[list[tuple[int, Box]]]) -> None:
        for boxes in filter(None, frames):
            self.frames += 1
            rows = [(self.frames, track, *box) for track, box in boxes]
            self._file.write(np.array(rows, np.float64).tobytes())

    def read(self) -> Iterator[list[tuple[int, Box]]]:
        """Yields the tracks and boxes of each frame with a face."""
        self._file.seek(0)
        frame = 0
        boxes: list[tuple[int, Box]] = []
        while content := self._file.read(48):
            number, track, *box = np.frombuffer(content, np.float64).tolist()
            if number != frame and boxes:
                yield boxes
                boxes = []
            frame = number
            boxes.append((int(track), (box[0], box[1], box[2], box[3])))
        if boxes:
            yield boxes


def _send_faces(
    settled: list[SettledFrame], settings: Watching, send: Callable[[Any], None]
) -> list[list[tuple[int, Box]]]:
    """Aligns, encodes and sends the faces of settled frames. Returns the tracks and boxes of each frame."""
    if not settled:
        return []
    faces = [
        Found(
            frame.time + 1,
            track,
            face.box,
            face.score,
            encode_jpeg(align(frame.image, face, settings.image_size, settings.margin)),
        )
        for frame in settled
        for track, face in frame.faces
    ]
    send(FramesSeen(settled[0].time + 1, len(settled), faces))
    return [[(track, face.box) for track, face in frame.faces] for frame in settled]


def _read_ahead(source: str, streams: Choice, findings: Findings) -> Iterator[np.ndarray]:
    """Yields the frames of a video, which a thread decodes."""
    frames: queue.Queue = queue.Queue(_AHEAD)
    stopped = threading.Event()

    images = _read_camera(source) if source.startswith(CAMERA) else read_frames(source, streams, findings)

    def decode() -> None:
        try:
            for image in images:
                while not stopped.is_set():
                    with contextlib.suppress(queue.Full):
                        frames.put(image, timeout=1)
                        break
                if stopped.is_set():
                    return
            frames.put(None)
        except Exception as error:  # raised again in the thread that takes the frames
            frames.put(error)

    threading.Thread(target=decode, daemon=True).start()
    try:
        while (item := frames.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stopped.set()


def _read_camera(source: str) -> Iterator[np.ndarray]:
    """Yields the picture of a camera every 0.04 s, uint8 [H, W, 3] RGB, for the seconds that `source` names."""
    _, index, seconds = source.split(':')
    camera = cv2.VideoCapture(int(index))
    if not camera.isOpened():
        raise MediaError(f'--camera={index}: OpenCV finds no such camera')
    try:
        began, shown, wanted = time.monotonic(), 0, float(seconds) * FRAMES_PER_SECOND
        while shown < wanted:
            is_read, image = camera.read()
            if not is_read:
                return
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            due = min((time.monotonic() - began) * FRAMES_PER_SECOND, wanted - 1)
            while shown <= due:
                yield image
                shown += 1
    finally:
        camera.release()


class _Hearing:
    """The audio of a video, which a thread extracts and analyses."""

    def __init__(
        self, source: str, wav: Path, settings: Watching, findings: Findings, send: Callable[[Any], None]
    ) -> None:
        self._arguments = (source, wav, settings, findings, send)
        self._seconds = 0.0
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> float:
        """Waits for the end. Returns the seconds of audio, 0 without audio. A problem is among the findings."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._seconds

    def _run(self) -> None:
        source, wav, settings, findings, send = self._arguments
        own = Findings()
        try:
            with _as_problem(own):
                self._seconds = extract_wav(source, wav, settings.streams, own, settings.sample_rate)
                if self._seconds:
                    hear(wav, settings, own, send)
        except OSError as error:
            self._error = error
        for problem in own.problems:
            findings.add_problem(problem)


def hear(wav: Path, settings: Watching, findings: Findings, send: Callable[[Any], None]) -> None:
    """Sends the functionals of the windows of a wav, and those of all of it if it is not longer than LONGEST_WHOLE.

    Windows are `audio_window` seconds long, and each begins half a window after the one before. Silent windows, in
    which every sample is 0, are left out. Silent audio as a whole is analysed, as preparation does.
    """
    if not settings.opensmile_sets:
        return
    with wave.open(str(wav), 'rb') as file:
        rate, length = file.getframerate(), file.getnframes()
    seconds = length / rate
    stretches = [(begin, end, True) for begin, end in cut_windows(seconds, settings.audio_window)]
    if seconds <= LONGEST_WHOLE:
        stretches.append((0.0, seconds, False))
    is_first, is_silent = True, True
    for begin, end, is_window in stretches:
        audio = read_wav(wav, begin, end)
        if is_window and not audio.samples.any():
            continue
        is_silent = is_silent and not audio.samples.any()
        found = {name: functionals(audio, name) for name in settings.opensmile_sets}
        names = {name: names for name, (names, _) in found.items()} if is_first else {}
        send(AudioHeard(begin, end, is_window, names, {name: values for name, (_, values) in found.items()}))
        is_first = False
    if is_silent:
        findings.add_problem('the audio is silent from its beginning to its end')


def cut_windows(seconds: float, window: float) -> list[tuple[float, float]]:
    """Returns the begin and end of windows that overlap by half and cover the audio. The last one may be shorter."""
    step = window / 2
    count = max(1, math.ceil((seconds - window) / step - 1e-9) + 1)
    return [(index * step, min(index * step + window, seconds)) for index in range(count)]
