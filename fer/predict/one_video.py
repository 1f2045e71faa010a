# SPDX-License-Identifier: Apache-2.0
"""The answer for one video: one pass over it, then its people, their verdicts, and the files of the answer."""

import platform
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fer import __version__
from fer.emotions import EMOTIONS, NUM_CLASSES
from fer.files import naming
from fer.predict.answer import (
    AUDIO_TIER,
    FRAME_SECONDS,
    FRAMES_FILE,
    RESPONSIBLE_USE,
    SEGMENTS_FILE,
    SUMMARY_FILE,
    FrameRow,
    Segment,
    name_tier,
    write_frames,
    write_segments,
    write_summary,
)
from fer.predict.members import CLIPS, FUNCTIONALS, STILL, WINDOW, Member, Network, describe_members, digest_weights
from fer.predict.passes import Heard, Pass, Stretch, Tools
from fer.predict.reasons import explain_video
from fer.predict.request import PredictionRequest
from fer.predict.sources import Source
from fer.predict.spool import Spool
from fer.predict.verdict import Fusion, decide, name_probabilities
from fer.predict.watch import LONGEST_WHOLE, AudioHeard, Found, FramesSeen, Watcher
from fer.training.predict import combine_logits

_PACKAGES = ('tensorflow', 'numpy', 'opencv-python-headless', 'av', 'opensmile', 'mtcnn')
_FRAMES_AT_ONCE = 256  # of windows


def answer_video(
    source: Source, folder: Path, tools: Tools, watcher: Watcher, made_with: str, tick: Callable[[int], Any]
) -> dict[str, Any]:
    """Answers for a video and writes FRAMES_FILE, SEGMENTS_FILE and SUMMARY_FILE.

    Args:
      source: the video.
      folder: of the answer.
      tools: of the command.
      watcher: a process that watches.
      made_with: key of everything that the answer depends on.
      tick: is called with the number of new frames.

    Returns:
      The summary.

    Raises:
      MediaError: the video cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix='fer-faces-') as temporary, naming(temporary):
        keeps = tools.request.explain or any(member.kind == WINDOW for member in tools.members)
        spool = Spool(Path(temporary), len(tools.members), keeps_faces=keeps)
        try:
            seen = watch(source, Path(temporary), spool, tools, watcher, tick)
            rows = rows_of_people(seen)
            logits = answer_people(seen, rows, tools)
            heard = answer_audio(seen, rows, tools)
            segments = [Segments(name_tier(person + 1)) for person in range(len(rows))]
            openface = tools.request.columns == 'openface'
            write_frames(folder / FRAMES_FILE, _frame_rows(seen, tools.fusion, segments), openface=openface)
            spoken = _segments_of_audio(seen.heard, tools.fusion)
            write_segments(folder / SEGMENTS_FILE, [*(one for own in segments for one in own.finish()), *spoken])
            summary = summarise(source, seen, rows, logits, heard, tools) | {'made_with': made_with}
            write_summary(folder / SUMMARY_FILE, summary)
            if tools.request.explain:
                explain_video(
                    folder, seen, rows, _fuse(tools.fusion, logits)[1], _fuse(tools.fusion, [heard])[1][0], tools
                )
        finally:
            spool.close()
    return summary


def watch(
    source: Source, folder: Path, spool: Spool, tools: Tools, watcher: Watcher, tick: Callable[[int], Any]
) -> Pass:
    """Makes the pass. Networks of single faces and of audio answer while the video is decoded."""
    heard = Heard([], {})
    names: dict[str, list[str]] = {}
    for message in watcher.watch(source.path, folder):
        if isinstance(message, FramesSeen):
            spool.add(message.faces, _answer_faces(message.faces, tools))
            tick(message.number)
        elif isinstance(message, AudioHeard):
            names |= message.names
            logits = _answer_functionals(message, names, tools)
            values = _values_of(message, names, tools) if tools.request.explain else {}
            heard.stretches.append(Stretch(message.begin_s, message.end_s, message.is_window, logits, values))
        else:
            ended = message
    return Pass(ended, heard, spool, folder)


def _answer_faces(faces: Sequence[Found], tools: Tools) -> np.ndarray:
    """Returns the logits of faces, float32 [N, M, 7], NaN for networks that do not read single faces."""
    logits = np.full((len(faces), len(tools.members), NUM_CLASSES), np.nan, np.float32)
    if faces:
        for index, network in enumerate(tools.networks):
            if network.member.kind == STILL:
                with tools.lock:
                    logits[:, index] = network.answer_faces([face.jpeg for face in faces])
    return logits


def _answer_functionals(message: AudioHeard, names: dict[str, list[str]], tools: Tools) -> np.ndarray:
    """Returns the logits of a stretch of audio, float32 [M, 7], NaN for networks that do not read functionals.

    Raises:
      InputError: no set has the features of a network.
    """
    logits = np.full((len(tools.members), NUM_CLASSES), np.nan, np.float32)
    for index, network in enumerate(tools.networks):
        if network.member.kind != FUNCTIONALS:
            continue
        fitting = _fitting_set(network.member, names)
        network.check_audio(names[fitting])
        with tools.lock:
            logits[index] = network.answer_windows(None, message.values[fitting][np.newaxis], None)[0][0]
    return logits


def _fitting_set(member: Member, names: dict[str, list[str]]) -> str:
    """Returns the openSMILE set whose features a network learned from, given the names of the features of each set."""
    scaling = member.blueprint.scaling
    assert scaling, 'a run with audio has a scaling'
    return next((name for name in member.opensmile_sets if names[name] == scaling.names), member.opensmile_sets[0])


def _values_of(message: AudioHeard, names: dict[str, list[str]], tools: Tools) -> dict[int, np.ndarray]:
    """Returns the features that each network of functionals takes, float32 [D], by the number of the member."""
    members = enumerate(tools.members)
    return {i: message.values[_fitting_set(one, names)] for i, one in members if one.kind == FUNCTIONALS}


def rows_of_people(seen: Pass) -> list[array]:
    """Returns the numbers of each person's records, by frame."""
    rows = [array('q') for _ in range(seen.ended.people.number)]
    first = 0
    for chunk in seen.spool.chunks():
        for offset, track in enumerate(chunk['track'].tolist()):
            rows[seen.ended.people.of_track[track]].append(first + offset)
        first += len(chunk)
    return rows


def answer_people(seen: Pass, rows: Sequence[array], tools: Tools) -> np.ndarray:
    """Returns each person's logits by the networks of faces, float64 [P, M, 7], NaN where a network does not answer."""
    logits = np.full((len(rows), len(tools.members), NUM_CLASSES), np.nan)
    totals, counts = np.zeros(logits.shape), np.zeros(len(rows))
    of_track = np.array(seen.ended.people.of_track, int)
    for chunk in seen.spool.chunks():
        person = of_track[chunk['track']]
        np.add.at(totals, person, chunk['logits'])
        np.add.at(counts, person, 1)
    for index, network in enumerate(tools.networks):
        if network.member.kind == STILL:
            logits[:, index] = totals[:, index] / np.maximum(counts, 1)[:, np.newaxis]
        elif network.member.kind == WINDOW:
            for person, own in enumerate(rows):
                if len(own) >= network.member.blueprint.config.min_frames:
                    logits[person, index] = _answer_windows(seen, own, index, network, tools)
    logits[[len(own) < tools.request.min_faces for own in rows]] = np.nan
    return logits


def _answer_windows(seen: Pass, rows: array, index: int, network: Network, tools: Tools) -> np.ndarray:
    """Returns a person's logits by a network of windows, float64 [7], and keeps those of the frames.

    Without audio, a network that reads audio does not answer.
    """
    clips = seen.open_clips() if network.member.reads_audio else None
    if network.member.reads_audio:
        if clips is None:
            return np.full(NUM_CLASSES, np.nan)
        network.check_audio(seen.ended.clip_names)

    def read(first: int, last: int) -> tuple[list[bytes], np.ndarray | None]:
        records = seen.spool.read(rows[first:last])
        audio = None if clips is None else np.array(clips[records['frame'] - 1])
        return seen.spool.read_faces(records), audio

    logits, of_frames = _answer_sequence(network, len(rows), read, tools)
    seen.spool.set_logits(rows, index, of_frames)
    return logits


def _answer_sequence(
    network: Network,
    length: int,
    read: Callable[[int, int], tuple[list[bytes] | None, np.ndarray | None]],
    tools: Tools,
) -> tuple[np.ndarray, np.ndarray]:
    """Answers for a sequence of frames window by window, as evaluation does.

    Args:
      network: of windows of faces, or of clips of audio.
      length: frames of the sequence, at least 1.
      read: returns the faces and the audio of the frames from `first` to before `last`.
      tools: of the command.

    Returns:
      The logits of the sequence, float64 [7], and those of its frames, float32 [length, 7].
    """
    lengths = [min(network.seq_len, length - start) for start in range(0, length, network.seq_len)]
    together = max(1, _FRAMES_AT_ONCE // network.seq_len)
    windows, frames = [], []
    for number in range(0, len(lengths), together):
        part = lengths[number : number + together]
        first = number * network.seq_len
        jpegs, audio = read(first, first + sum(part))
        with tools.lock:
            of_windows, of_frames = network.answer_windows(jpegs, audio, part)
        windows.append(of_windows)
        frames.append(of_frames)
    config = network.member.blueprint.config
    found = np.concatenate(frames if config.video_answer == 'median' else windows)
    video = np.zeros(len(lengths), int)
    combined = combine_logits(found, np.array(lengths), video, 1, network.seq_len, config)
    return combined[0], np.concatenate(frames)


def answer_audio(seen: Pass, rows: Sequence[array], tools: Tools) -> np.ndarray:
    """Returns the logits of the audio, float64 [M, 7], NaN for networks that do not read it.

    Audio that is longer than LONGEST_WHOLE has the mean logits of its windows. Networks of clips read the clips of the
    frames that show the main person, as they do in evaluation.
    """
    logits = np.full((len(tools.members), NUM_CLASSES), np.nan)
    whole = [stretch.logits for stretch in seen.heard.stretches if not stretch.is_window]
    if chosen := whole or [stretch.logits for stretch in seen.heard.stretches]:
        logits = np.mean(chosen, axis=0, dtype=np.float64)
    clips = seen.open_clips()
    for index, network in enumerate(tools.networks):
        if network.member.kind != CLIPS or clips is None:
            continue
        network.check_audio(seen.ended.clip_names)
        numbers = np.arange(len(clips))
        if seen.ended.main >= 0:
            numbers = seen.spool.read(rows[seen.ended.main])['frame'] - 1
        if len(numbers) < network.member.blueprint.config.min_frames:
            continue
        logits[index], of_frames = _answer_clips(network, clips, numbers, tools)
        seen.heard.of_clips[index] = numbers + 1, of_frames
    return logits


def _answer_clips(
    network: Network, clips: np.ndarray, numbers: np.ndarray, tools: Tools
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logits of clips of audio together, float64 [7], and of each, float32 [N, 7], by their numbers."""

    def read(first: int, last: int) -> tuple[None, np.ndarray]:
        return None, np.array(clips[numbers[first:last]])

    return _answer_sequence(network, len(numbers), read, tools)


class Segments:
    """The stretches of equal emotion of one tier, which grow frame by frame."""

    def __init__(self, tier: str) -> None:
        self._tier = tier
        self._segments: list[Segment] = []
        self._label, self._first, self._last, self._total = '', 0, -1, 0.0

    def add(self, frame: int, probabilities: np.ndarray) -> None:
        """Adds a frame, from 1, with float [7]."""
        top = int(np.argmax(probabilities))
        if EMOTIONS[top] != self._label or frame != self._last + 1:
            self._end()
            self._label, self._first, self._total = EMOTIONS[top], frame, 0.0
        self._last = frame
        self._total += float(probabilities[top])

    def finish(self) -> list[Segment]:
        """Returns the segments of a finished video."""
        self._end()
        self._label = ''
        return self._segments

    def _end(self) -> None:
        if self._label:
            begin, end = (self._first - 1) * FRAME_SECONDS, self._last * FRAME_SECONDS
            score = self._total / (self._last - self._first + 1)
            self._segments.append(Segment(self._tier, begin, end, self._label, score))


def _frame_rows(seen: Pass, fusion: Fusion, segments: Sequence[Segments]) -> Iterator[FrameRow]:
    """Yields the rows of FRAMES_FILE, and adds them to the segments of each person."""
    expected = 1
    for chunk in seen.spool.chunks():
        _, probabilities = fusion.fuse(chunk['logits'].transpose(1, 0, 2))
        people = np.array(seen.ended.people.of_track, int)[chunk['track']]
        for index in np.lexsort((people, chunk['frame'])):
            record, person = chunk[index], int(people[index])
            frame = int(record['frame'])
            yield from (_empty_row(number) for number in range(expected, frame))
            expected = frame + 1
            own = None if np.isnan(probabilities[index]).any() else probabilities[index]
            if own is not None:
                segments[person].add(frame, own)
            left, top, width, height = map(float, record['box'])
            yield FrameRow(frame, person + 1, (left, top, width, height), float(record['score']), own)
    yield from (_empty_row(number) for number in range(expected, seen.ended.frames + 1))


def _empty_row(frame: int) -> FrameRow:
    return FrameRow(frame, 0, None, 0.0, None)


def _segments_of_audio(heard: Heard, fusion: Fusion) -> list[Segment]:
    """Returns a segment for each window of the audio that has an answer."""
    windows = [stretch for stretch in heard.stretches if stretch.is_window]
    if not windows:
        return []
    _, probabilities = fusion.fuse(np.stack([stretch.logits for stretch in windows], axis=1))
    return [
        Segment(AUDIO_TIER, stretch.begin_s, stretch.end_s, EMOTIONS[int(np.argmax(own))], float(own.max()))
        for stretch, own in zip(windows, probabilities, strict=True)
        if not np.isnan(own).any()
    ]


def summarise(
    source: Source, seen: Pass, rows: Sequence[array], logits: np.ndarray, spoken: np.ndarray, tools: Tools
) -> dict[str, Any]:
    """Returns the content of SUMMARY_FILE.

    The verdict of the video is that of its main person's faces and of the audio. If members read faces, a video with
    pictures has no verdict from the audio alone.

    Args:
      source: the video.
      seen: the pass over it.
      rows: records of each person.
      logits: float64 [P, M, 7], of people by the networks of faces.
      spoken: float64 [M, 7], of the audio.
      tools: of the command.
    """
    request, fusion, ended = tools.request, tools.fusion, seen.ended
    main = logits[ended.main] if ended.main >= 0 else np.full(spoken.shape, np.nan)
    together = np.where(np.isnan(main), spoken, main)
    if ended.frames and any(member.reads_faces for member in tools.members) and np.isnan(main).all():
        together[:] = np.nan  # too few faces, so the audio alone does not decide
    scores, (probabilities, of_audio) = _fuse(fusion, [together, spoken])
    _, of_people = _fuse(fusion, logits)
    hears = any(member.reads_audio for member in tools.members)
    recalling = next((member for member in tools.members if member.recall), None)
    return {
        'video': source.path,
        'duration_s': round(max(ended.frames * FRAME_SECONDS, ended.audio_seconds), 2),
        'frames': ended.frames,
        'frames_with_face': seen.spool.count_frames(),
        'width': ended.size[0],
        'height': ended.size[1],
        'persons': [
            {
                'id': person + 1,
                'frames': len(own),
                'verdict': decide(found, request.threshold),
                'probabilities': name_probabilities(found),
            }
            for person, (own, found) in enumerate(zip(rows, of_people, strict=True))
        ],
        'main_person': ended.main + 1 if ended.main >= 0 else None,
        'audio': {
            'verdict': decide(of_audio, request.threshold),
            'probabilities': name_probabilities(of_audio),
            'seconds': round(ended.audio_seconds, 2),
        }
        if hears
        else None,
        'verdict': decide(probabilities, request.threshold),
        'why': _explain(seen, rows, request, probabilities),
        'probabilities': name_probabilities(probabilities),
        'logits': None if np.isnan(scores[0]).any() else [float(value) for value in scores[0]],
        'threshold': request.threshold,
        'min_faces': request.min_faces,
        'members': describe_members(tools.members),
        'method': fusion.method,
        'temperature': float(fusion.temperature_of(~np.isnan(together).any(axis=1)[:, np.newaxis])[0]),
        'temperature_from': fusion.temperature_from,
        'detector': request.detector,
        'person': request.person,
        'recall': recalling.recall if recalling else None,
        'recall_of': recalling.name if recalling else None,
        'problems': [*ended.problems, *_find_problems(seen, tools)],
        'responsible_use': RESPONSIBLE_USE,
        'versions': _versions(),
        'weights_sha256': digest_weights(tools.members),
    }


def _fuse(fusion: Fusion, rows: Sequence[np.ndarray] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fuses logits, V arrays [M, 7]. Returns scores and probabilities, float64 [V, 7]."""
    if not len(rows):
        return np.zeros((0, NUM_CLASSES)), np.zeros((0, NUM_CLASSES))
    return fusion.fuse(np.stack(list(rows), axis=1))


def _explain(seen: Pass, rows: Sequence[array], request: PredictionRequest, probabilities: np.ndarray) -> str:
    """Returns why there is no verdict or only an uncertain one, '' with a verdict."""
    if np.isnan(probabilities).any():
        if not seen.ended.frames:
            return 'no audio that a member reads'
        faces = len(rows[seen.ended.main]) if seen.ended.main >= 0 else 0
        return f'{faces} faces of the main person, at least {request.min_faces} are needed'
    if probabilities.max() < request.threshold:
        return f'the highest probability is {probabilities.max():.3f}, below the threshold of {request.threshold:g}'
    return ''


def _find_problems(seen: Pass, tools: Tools) -> list[str]:
    """Returns a line for each thing that a reader of the answer should know."""
    problems = []
    hears = [member.name for member in tools.members if member.reads_audio]
    if hears and not seen.ended.audio_seconds:
        problems.append(f'no audio for {" and ".join(hears)}')
    if seen.ended.audio_seconds > LONGEST_WHOLE and any(member.kind == FUNCTIONALS for member in tools.members):
        problems.append(f'audio longer than {LONGEST_WHOLE:.0f} s: its verdict is the mean over its windows')
    sees = [member.name for member in tools.members if member.reads_faces]
    if sees and not seen.ended.frames:
        problems.append(f'no pictures for {" and ".join(sees)}')
    unfitted = [member.name for member in tools.members if member.temperature_from.startswith('not fitted')]
    if unfitted:
        problems.append(f'probabilities of {" and ".join(unfitted)} are not calibrated')
    return problems


def _versions() -> dict[str, str]:
    """Returns the versions of what the answer was made with."""
    return {
        'fer': __version__,
        'python': platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
    }
