# SPDX-License-Identifier: Apache-2.0
"""Writes the files of one video: faces, the table of its frames, wav and openSMILE features."""

import csv
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
from fer.prepare.faces import Face, align
from fer.prepare.layout import SourceVideo
from fer.prepare.media import FRAMES_PER_SECOND, Findings, MediaError, extract_wav, read_frames
from fer.prepare.prepared import FRAMES_FILE, FUNCTIONALS, HELD, KEPT, MIN_FRAMES, REUSED_BOX, Prepared
from fer.prepare.processes import ProcessState
from fer.prepare.settings import Settings
from fer.prepare.smile.extract import Clips, clip_features, functionals, write_features
from fer.prepare.smile.sets import EMO_LARGE, SETS, name_functionals
from fer.prepare.tracking import TrackedFrame, follow, take_largest

SILENT, PADDED = 'silent', 'padded'  # states of a frame's audio in frames.csv
_POINTS = ('left_eye', 'right_eye', 'nose', 'left_mouth', 'right_mouth')
FRAMES_COLUMNS = (
    *('frame', 'time', 'status', 'sound', 'score', 'left', 'top', 'width', 'height'),
    *(f'{point}_{axis}' for point in _POINTS for axis in 'xy'),
)
_JPEG_QUALITY = 95


class _Places(NamedTuple):
    """The folders and files of a video below the output folder."""

    faces: Path  # folder
    clips: Path  # folder
    wav: Path
    functionals: dict[str, Path]  # the file of each set, by the name of its functionals

    @property
    def features(self) -> tuple[Path, ...]:
        """Returns the files and folders of openSMILE's features."""
        return self.clips, *self.functionals.values()


def write_video(video: SourceVideo, state: ProcessState) -> tuple[Prepared, list[str]]:
    """Writes the faces, table, wav and features of a video.

    Returns:
      The result, and the names of the written files below the output folder.

    Raises:
      MediaError: the video cannot be decoded. Without audio it is still usable.
    """
    settings = state.settings
    places = _empty_places(video, state)
    findings = Findings()
    try:
        tracked = _track_person(video, state, findings)
        statuses, numbers = _write_faces(video, tracked, places.faces, settings)
    except MediaError:
        _remove(places.faces)
        raise
    seconds, clips = _write_audio_if_any(video, places, settings, findings, len(tracked), numbers)
    audio_states = _find_audio_states(clips, len(tracked))
    _write_table(places.faces / FRAMES_FILE, tracked, statuses, audio_states)
    gap = '' if len(numbers) >= MIN_FRAMES else 'no_face'
    row = LedgerRow(video.video_id, video.label, len(tracked), len(numbers), seconds, gap)
    prepared = _make_result(video, row, places, findings, numbers if clips else [])._replace(
        frames=[f'faces/{video.folder}/{number:05d}.jpg' for number in numbers],
        statuses=Counter(statuses),
        sound=Counter(audio_states[number - 1] for number in numbers if audio_states[number - 1]),
    )
    files = [*prepared.frames, f'faces/{video.folder}/{FRAMES_FILE}']
    return prepared, files + _list_audio_files(video, prepared, settings)


def write_recording(video: SourceVideo, state: ProcessState) -> tuple[Prepared, list[str]]:
    """Writes the wav and features of a recording without pictures. Clips of 0.04 s cover it from beginning to end.

    Returns:
      The result, and the names of the written files below the output folder.

    Raises:
      MediaError: the file has no audio, or it cannot be decoded or analysed.
    """
    places = _empty_places(video, state)
    findings = Findings()
    try:
        seconds = _write_wav(video, places, state.settings, findings)
        if not seconds:
            raise MediaError('no audio stream')
        numbers = range(1, int(seconds * FRAMES_PER_SECOND) + 1)
        clips = _write_features(places, state.settings, len(numbers), numbers)
    except (MediaError, InputError) as error:
        _remove(*places.features, places.wav)
        raise MediaError(str(error).removeprefix(f'{places.wav}: ')) from error
    audio_states = _find_audio_states(clips, len(numbers))
    row = LedgerRow(video.video_id, video.label, None, 0, seconds, '')
    prepared = _make_result(video, row, places, findings, numbers if clips else [])
    prepared = prepared._replace(sound=Counter(filter(None, audio_states)))
    return prepared, _list_audio_files(video, prepared, state.settings)


def _empty_places(video: SourceVideo, state: ProcessState) -> _Places:
    """Returns the places of a video's files, without what an earlier run left there."""
    output = state.output
    names = [name for name in state.settings.audio_features if name in FUNCTIONALS]
    places = _Places(
        faces=output / 'faces' / video.folder,
        clips=output / 'clips' / video.folder,
        wav=output / 'wav' / f'{video.folder}.wav',
        functionals={name: output / name / f'{video.folder}.csv' for name in names},
    )
    _remove(places.faces, places.wav, *places.features)
    return places


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _track_person(video: SourceVideo, state: ProcessState, findings: Findings) -> list[TrackedFrame]:
    # With the detector `none`, every picture is a face already. All are used, whoever they show.
    settings = state.settings
    choose = follow if settings.person == 'follow' and settings.detector != 'none' else take_largest
    tracked = choose(read_frames(video.path, settings.streams, findings), state.detect)
    if len(tracked) == 1:
        raise MediaError('a single picture; expected a video')
    return tracked


def _write_faces(
    video: SourceVideo, tracked: Sequence[TrackedFrame], folder: Path, settings: Settings
) -> tuple[list[str], list[int]]:
    """Writes the face of each frame that has one.

    The video is decoded a second time, because the person to follow is known only at its end, and a whole video may
    not fit into memory.

    Returns:
      The status of every frame, and the numbers of the written frames.
    """
    folder.mkdir(parents=True)
    statuses: list[str] = []
    numbers: list[int] = []
    last: Face | None = None
    jpeg = b''
    frames = read_frames(video.path, settings.streams)
    for number, (image, (face, reason_missing)) in enumerate(zip(frames, tracked, strict=False), start=1):
        status = reason_missing or KEPT
        if face is None and last is not None and settings.missing_faces != 'skip':
            face, status = last, HELD if settings.missing_faces == 'hold' else REUSED_BOX
        if face is not None:
            last = face
            if status != HELD:
                jpeg = encode_jpeg(align(image, face, settings.image_size, settings.margin))
            path = folder / f'{number:05d}.jpg'
            with naming(path):  # a half-written file does no harm, because the video's record is written last
                path.write_bytes(jpeg)
            numbers.append(number)
        statuses.append(status)
    if len(statuses) < len(tracked):
        raise MediaError(f'decoded to {len(tracked)} frames first, but only to {len(statuses)} the second time')
    return statuses, numbers


def _write_audio_if_any(
    video: SourceVideo,
    places: _Places,
    settings: Settings,
    findings: Findings,
    num_frames: int,
    numbers: Sequence[int],
) -> tuple[float, Clips | None]:
    """Writes a video's wav and features. If that fails, the problem is added to `findings`.

    Returns:
      Seconds of audio, and the features of the clips of all frames. Without audio they are 0 and None.
    """
    seconds = 0.0
    try:
        seconds = _write_wav(video, places, settings, findings)
        return seconds, _write_features(places, settings, num_frames, numbers) if seconds else None
    except (MediaError, InputError) as error:
        _remove(*places.features)
        findings.add_problem(f'audio lost: {str(error).removeprefix(f"{places.wav}: ")}')
        return seconds, None


def _write_wav(video: SourceVideo, places: _Places, settings: Settings, findings: Findings) -> float:
    places.wav.parent.mkdir(parents=True, exist_ok=True)
    return extract_wav(video.path, places.wav, settings.streams, findings, settings.sample_rate)


def _write_features(places: _Places, settings: Settings, num_clips: int, numbers: Sequence[int]) -> Clips | None:
    """Writes the openSMILE features that the settings ask for.

    Args:
      places: the wav, and the places of its features.
      settings: of the preparation.
      num_clips: how many clips of 0.04 s to analyse, from the beginning.
      numbers: which of them to write, from 1.

    Returns:
      The features of all clips. None if no clips are wanted.
    """
    for opensmile_set in SETS:
        if path := places.functionals.get(name_functionals(opensmile_set)):
            path.parent.mkdir(parents=True, exist_ok=True)
            names, values = functionals(places.wav, opensmile_set)
            _write_table_of_features(path, names, values[None], settings)
    if not numbers or 'clips' not in settings.audio_features:
        return None
    clips = clip_features(places.wav, num_clips, settings.clip_context)
    places.clips.mkdir(parents=True)
    for number in numbers:
        path = places.clips / f'{number:05d}.csv'
        _write_table_of_features(path, clips.names, clips.values[number - 1 : number], settings)
    return clips


def _write_table_of_features(path: Path, names: Sequence[str], values: np.ndarray, settings: Settings) -> None:
    write_features(path, names, values, durable=False)
    if settings.arff:
        write_features(path.with_suffix('.arff'), names, values, 'arff', durable=False)


def _find_audio_states(clips: Clips | None, num_frames: int) -> list[str]:
    """Returns SILENT, PADDED (because the audio ended earlier) or '' for the clip of each frame."""
    if clips is None:
        return [''] * num_frames
    filled = num_frames - clips.padded
    return [PADDED if index >= filled else SILENT if clips.silent[index] else '' for index in range(num_frames)]


def _write_table(
    path: Path, tracked: Sequence[TrackedFrame], statuses: Sequence[str], audio_states: Sequence[str]
) -> None:
    """Writes frames.csv, a row for each frame of the video, with boxes and landmarks in pixels of the frame.

    A frame that reuses an earlier box has that box in its row. It has no score and no landmarks, because no face was
    found in it.
    """
    box: list[str] = []
    with atomic_write(path, durable=False) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(FRAMES_COLUMNS)
        for index, ((face, _), status, state) in enumerate(zip(tracked, statuses, audio_states, strict=True)):
            found = ['', *[''] * 14]
            if face is not None:
                box = [f'{value:.2f}' for value in face.box]
                found = [f'{face.score:.6f}', *box, *(f'{value:.2f}' for value in face.landmarks.ravel())]
            elif status == REUSED_BOX:
                found[1:5] = box
            writer.writerow([index + 1, f'{index / FRAMES_PER_SECOND:.2f}', status, state, *found])


def _make_result(
    video: SourceVideo, row: LedgerRow, places: _Places, findings: Findings, clip_numbers: Sequence[int]
) -> Prepared:
    """Returns the result without frames."""
    written = {name: f'{name}/{video.folder}.csv' for name, path in places.functionals.items() if path.exists()}
    return Prepared(
        row=row,
        frames=[],
        clips=[f'clips/{video.folder}/{number:05d}.csv' for number in clip_numbers],
        functionals=written.pop(name_functionals(EMO_LARGE), ''),
        statuses={},
        sound={},
        problem='; '.join(findings.problems),
        facts=findings.facts,
        sample_rate=_read_rate(places.wav) if row.audio_seconds else None,
        other_functionals=written,
    )


def _list_audio_files(video: SourceVideo, prepared: Prepared, settings: Settings) -> list[str]:
    features = [*prepared.clips, *prepared.all_functionals.values()]
    arffs = [f'{name.removesuffix(".csv")}.arff' for name in features] if settings.arff else []
    return [*features, *arffs, *([f'wav/{video.folder}.wav'] if prepared.row.audio_seconds else [])]


def _read_rate(wav: Path) -> int:
    """Returns the sampling rate of a wav in Hz."""
    with wave.open(str(wav), 'rb') as file:
        return file.getframerate()


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encodes uint8 [H, W, 3] RGB as JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
