"""Videos to aligned faces, wav and openSMILE features, in parallel; what is finished is not done again.

Of each video: faces/<folder>/00001.jpg and so on, numbered by time (frame n is at (n - 1) x 0.04 s), so that a gap in
the numbers is a gap in time; faces/<folder>/frames.csv, a row per frame, kept or not; wav/<folder>.wav;
clips/<folder>/00001.csv, the features of the 0.04 s of sound that begin with frame 1, for kept frames only, so that a
face and a clip of one number are of one instant; and functionals/<folder>.csv, the features of all its sound.
"""

import csv
import os
import shutil
import wave
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fer.errors import InputError
from fer.files import atomic_write, naming
from fer.manifest import LedgerRow
from fer.prepare.detectors import Detector, make_detector
from fer.prepare.faces import Face, align
from fer.prepare.layout import SourceVideo
from fer.prepare.media import FRAMES_PER_SECOND, Choice, Findings, MediaError, extract_wav, read_frames
from fer.prepare.prepared import FRAMES_FILE, HELD, KEPT, MIN_FRAMES, REUSED_BOX, Prepared, without_sound
from fer.prepare.records import key_of, load_record, record_path, save_record
from fer.prepare.smile.extract import Clips, clip_features, functionals, write_features
from fer.prepare.tracking import Seen, follow, take_largest
from fer.prepare.workers import Workers
from fer.progress import progress

MISSING_FACES = ('skip', 'hold', 'reuse_box')
PERSONS = ('follow', 'largest')
AUDIO_FEATURES = ('clips', 'functionals')

SILENT, PADDED = 'silent', 'padded'  # what frames.csv says of sound
_POINTS = ('left_eye', 'right_eye', 'nose', 'left_mouth', 'right_mouth')
FRAMES_COLUMNS = (
    *('frame', 'time', 'status', 'sound', 'score', 'left', 'top', 'width', 'height'),
    *(f'{point}_{axis}' for point in _POINTS for axis in 'xy'),
)
_JPEG_QUALITY = 95


class Settings(NamedTuple):
    """What every video of a corpus is prepared with. All of it decides what is written."""

    detector: str  # see fer.prepare.detectors.make_detector
    image_size: int  # side of the aligned faces in pixels
    margin: float  # see fer.prepare.faces.align
    person: str  # one of PERSONS
    missing_faces: str  # one of MISSING_FACES
    audio_features: tuple[str, ...]  # of AUDIO_FEATURES
    clip_context: str  # see fer.prepare.smile.extract.clip_features
    arff: bool  # whether features are written as ARFF as well
    streams: Choice  # which streams of a file are read
    sample_rate: int | None  # of the wav, in Hz; None keeps the file's


class Shard(NamedTuple):
    """Which of a split's videos a job prepares: share `number`, from 1, of `total`."""

    number: int
    total: int


def make_workers(settings: Settings, output: Path, jobs: int) -> Workers:
    """Returns the processes that prepare videos and stills. They start with the first item."""
    return Workers(jobs, _start, (settings, output))


def prepare_videos(
    split: str, videos: Sequence[SourceVideo], output: Path, workers: Workers, shard: Shard
) -> list[Prepared | None]:
    """Prepares this shard's videos of one split.

    A video that cannot be decoded, or shows no face, is a row of the ledger and does not stop the rest.

    Returns:
      What came of each video of the split. Those of other shards are None, all of them, while some are not done.

    Raises:
      OSError: what is written does not fit, or may not be written.
    """
    done: list[Prepared | None] = [None] * len(videos)
    mine = range(shard.number - 1, len(videos), shard.total)
    waiting = workers.map(_prepare_video, [videos[index] for index in mine], _died)
    bar = progress(waiting, label=f'preparing {split}', unit='video', total=len(mine))
    for index, prepared in zip(mine, bar, strict=True):
        done[index] = prepared
    others = [index for index in range(len(videos)) if index not in mine]
    if all(_may_be_done(videos[index], output) for index in others):
        found = list(workers.map(_load_video, [videos[index] for index in others], _died))
        if None not in found:
            for index, loaded in zip(others, found, strict=True):
                done[index] = loaded
    return done


def _may_be_done(video: SourceVideo, output: Path) -> bool:
    unreadable = bool(video.problem) or not os.access(video.path, os.R_OK)
    return unreadable or record_path(output, video.folder).exists()


_detect: Detector
_settings: Settings
_output: Path


def _start(settings: Settings, output: Path) -> None:
    """Makes the detector once per process: MTCNN takes seconds to load."""
    global _detect, _settings, _output
    cv2.setNumThreads(1)  # the processes already fill the cores
    _settings, _output = settings, output
    _detect = make_detector(settings.detector)


def process_state() -> tuple[Detector, Settings, Path]:
    """Returns what a process of `make_workers` was started with: its detector, the settings and the output folder."""
    return _detect, _settings, _output


def _died(video: SourceVideo) -> Prepared:
    return _unusable(video, 'undecodable', 'the process that prepared it died, and died again with this video alone')


def _prepare_video(video: SourceVideo) -> Prepared:
    """Writes everything of one video, its record last, unless that is there already."""
    done = _load_video(video)
    if done is None:
        key = key_of(video.path, _settings)
        record_path(_output, video.folder).unlink(missing_ok=True)
        done, files = _write_audio(video) if video.audio_only else _write_video(video)
        save_record(_output, video.folder, key, files, done)
    return done


def _load_video(video: SourceVideo) -> Prepared | None:
    """What is known of a video, with the label it has now; None where it has to be prepared."""
    if video.problem:
        return _unusable(video, 'missing', video.problem)
    try:
        done = load_record(_output, video.folder, key_of(video.path, _settings))
    except OSError as error:
        return _unusable(video, 'undecodable', error.strerror or str(error))
    return done and done._replace(row=done.row._replace(video_id=video.video_id, label=video.label))


def _unusable(video: SourceVideo, gap: str, problem: str) -> Prepared:
    return without_sound(LedgerRow(video.video_id, video.label, 0, 0, None, gap), [], problem)


def _write_video(video: SourceVideo) -> tuple[Prepared, list[str]]:
    """What came of the video, and the names of the files that were written."""
    faces, clips = (_output / kind / video.folder for kind in ('faces', 'clips'))
    wav, summary = _output / 'wav' / f'{video.folder}.wav', _output / 'functionals' / f'{video.folder}.csv'
    _remove(faces, clips, wav, summary)
    findings = Findings()
    try:
        # Pictures that are faces already are taken as they come, whoever they show.
        choose = follow if _settings.person == 'follow' and _settings.detector != 'none' else take_largest
        seen = choose(read_frames(video.path, _settings.streams, findings), _detect)
        if len(seen) == 1:
            raise MediaError('a single picture; expected a video')
        statuses, numbers = _write_faces(video, seen, faces)
    except MediaError as error:
        _remove(faces)
        return _unusable(video, 'undecodable', str(error)), []

    seconds, described = 0.0, None
    wav.parent.mkdir(parents=True, exist_ok=True)
    try:
        seconds = extract_wav(video.path, wav, _settings.streams, findings, _settings.sample_rate)
        if seconds and 'functionals' in _settings.audio_features:
            _write_functionals(wav, summary)
        if seconds and numbers and 'clips' in _settings.audio_features:
            described = clip_features(wav, len(seen), _settings.clip_context)
            _write_clips(described, numbers, clips)
    except (MediaError, InputError) as error:
        described = None
        _remove(clips, summary)
        findings.add_problem(f'sound lost: {str(error).removeprefix(f"{wav}: ")}')

    sound = _sound_states(described, len(seen))
    _write_table(faces / FRAMES_FILE, seen, statuses, sound)
    gap = '' if len(numbers) >= MIN_FRAMES else 'no_face'
    done = Prepared(
        row=LedgerRow(video.video_id, video.label, len(seen), len(numbers), seconds, gap),
        frames=[f'faces/{video.folder}/{number:05d}.jpg' for number in numbers],
        clips=[f'clips/{video.folder}/{number:05d}.csv' for number in numbers] if described else [],
        functionals=f'functionals/{video.folder}.csv' if summary.exists() else '',
        statuses=Counter(statuses),
        sound=Counter(state for number in numbers if (state := sound[number - 1])),
        problem='; '.join(findings.problems),
        facts=findings.facts,
        sample_rate=_read_rate(wav) if seconds else None,
    )
    features = [*done.clips, *filter(None, [done.functionals])]
    files = [*done.frames, f'faces/{video.folder}/{FRAMES_FILE}', *features]
    files += [f'wav/{video.folder}.wav'] if seconds else []
    files += [f'{name.removesuffix(".csv")}.arff' for name in features] if _settings.arff else []
    return done, files


def _write_audio(video: SourceVideo) -> tuple[Prepared, list[str]]:
    """Writes the features of a recording without pictures: clips one after the other, each of 0.04 s, to its end."""
    clips = _output / 'clips' / video.folder
    wav, summary = _output / 'wav' / f'{video.folder}.wav', _output / 'functionals' / f'{video.folder}.csv'
    _remove(clips, wav, summary)
    wav.parent.mkdir(parents=True, exist_ok=True)
    findings = Findings()
    described, numbers = None, range(0)
    try:
        seconds = extract_wav(video.path, wav, _settings.streams, findings, _settings.sample_rate)
        if not seconds:
            raise MediaError('no audio stream')
        if 'functionals' in _settings.audio_features:
            _write_functionals(wav, summary)
        if 'clips' in _settings.audio_features:
            numbers = range(1, int(seconds * FRAMES_PER_SECOND) + 1)
            described = clip_features(wav, len(numbers), _settings.clip_context) if numbers else None
            if described:
                _write_clips(described, numbers, clips)
    except (MediaError, InputError) as error:
        _remove(clips, wav, summary)
        return _unusable(video, 'undecodable', str(error).removeprefix(f'{wav}: ')), []
    names = [f'clips/{video.folder}/{number:05d}.csv' for number in numbers] if described else []
    states = _sound_states(described, len(numbers))
    done = Prepared(
        row=LedgerRow(video.video_id, video.label, None, 0, seconds, ''),
        frames=[],
        clips=names,
        functionals=f'functionals/{video.folder}.csv' if summary.exists() else '',
        statuses={},
        sound=Counter(state for state in states if state),
        problem='; '.join(findings.problems),
        facts=findings.facts,
        sample_rate=_read_rate(wav) if seconds else None,
    )
    features = [*names, *filter(None, [done.functionals])]
    files = [*features, f'wav/{video.folder}.wav']
    return done, files + ([f'{name.removesuffix(".csv")}.arff' for name in features] if _settings.arff else [])


def _read_rate(wav: Path) -> int:
    """Returns the sampling rate of a wav in Hz."""
    with wave.open(str(wav), 'rb') as file:
        return file.getframerate()


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _write_faces(video: SourceVideo, seen: Sequence[Seen], folder: Path) -> tuple[list[str], list[int]]:
    """Writes the face of each frame that has one: every frame's status, and the numbers of those written.

    The video is decoded a second time, because whom to follow is known only at its end, and a whole video may not fit
    into memory.
    """
    folder.mkdir(parents=True)
    statuses: list[str] = []
    numbers: list[int] = []
    last: Face | None = None
    jpeg = b''
    frames = read_frames(video.path, _settings.streams)
    for number, (image, (face, why)) in enumerate(zip(frames, seen, strict=False), start=1):
        status = why or KEPT
        if face is None and last is not None and _settings.missing_faces != 'skip':
            face, status = last, HELD if _settings.missing_faces == 'hold' else REUSED_BOX
        if face is not None:
            last = face
            if status != HELD:
                jpeg = encode_jpeg(align(image, face, _settings.image_size, _settings.margin))
            path = folder / f'{number:05d}.jpg'
            with naming(path):  # a half-written one is no harm: the video's record, which comes last, is not written
                path.write_bytes(jpeg)
            numbers.append(number)
        statuses.append(status)
    if len(statuses) < len(seen):
        raise MediaError(f'decodes to {len(seen)} frames, then to {len(statuses)}')
    return statuses, numbers


def _write_functionals(wav: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names, values = functionals(wav)
    _write_features(path, names, values[None])


def _write_clips(clips: Clips, numbers: Sequence[int], folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in numbers:
        _write_features(folder / f'{number:05d}.csv', clips.names, clips.values[number - 1 : number])


def _write_features(path: Path, names: Sequence[str], values: np.ndarray) -> None:
    write_features(path, names, values, durable=False)
    if _settings.arff:
        write_features(path.with_suffix('.arff'), names, values, 'arff', durable=False)


def _sound_states(clips: Clips | None, num_frames: int) -> list[str]:
    """What frames.csv says of each frame's clip: '' unless it is silent, or padded because the sound ended earlier."""
    if clips is None:
        return [''] * num_frames
    filled = num_frames - clips.padded
    return [PADDED if index >= filled else SILENT if clips.silent[index] else '' for index in range(num_frames)]


def _write_table(path: Path, seen: Sequence[Seen], statuses: Sequence[str], sound: Sequence[str]) -> None:
    """Writes frames.csv, a row per frame of the video; boxes and landmarks in pixels of the frame.

    Where a box was used again, the row has that box, but no score and no landmarks: nothing was found there.
    """
    box: list[str] = []
    with atomic_write(path, durable=False) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(FRAMES_COLUMNS)
        for index, ((face, _), status, state) in enumerate(zip(seen, statuses, sound, strict=True)):
            found = ['', *[''] * 14]
            if face is not None:
                box = [f'{value:.2f}' for value in face.box]
                found = [f'{face.score:.6f}', *box, *(f'{value:.2f}' for value in face.landmarks.ravel())]
            elif status == REUSED_BOX:
                found[1:5] = box
            writer.writerow([index + 1, f'{index / FRAMES_PER_SECOND:.2f}', status, state, *found])


def encode_jpeg(image: np.ndarray) -> bytes:
    """A JPEG of uint8 [H, W, 3] RGB."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
