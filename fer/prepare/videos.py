"""Videos to aligned faces and wav, and a split's manifest and ledger."""

import multiprocessing
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fer import emotions
from fer.manifest import LedgerRow, ledger_path, write_ledger, write_manifest
from fer.prepare.detectors import DETECTORS, Detector
from fer.prepare.faces import align, largest
from fer.prepare.ffmpeg import MediaError, extract_wav, read_frames
from fer.prepare.layout import SourceVideo
from fer.progress import progress

MIN_FRAMES = 2  # a video with fewer faces is no sequence; its ledger row says no_face
_JPEG_QUALITY = 95


class Settings(NamedTuple):
    """What every video of a corpus is prepared with."""

    output: Path
    detector: str  # a key of DETECTORS
    image_size: int  # side of the aligned faces in pixels
    margin: float  # see fer.prepare.faces.align


class Prepared(NamedTuple):
    """What came of one video."""

    frames: list[str]  # its face images below the output folder, in time order
    row: LedgerRow
    problem: str  # why it cannot be used, or its pictures or sound not be decoded; '' if they can


def prepare_split(split: str, videos: Sequence[SourceVideo], settings: Settings, jobs: int) -> list[Prepared]:
    """Prepares the videos of one split, in parallel, and writes OUTPUT/<split>.txt and its ledger.

    A video that cannot be decoded, or shows no face, is a row of the ledger and does not stop the rest.
    """
    context = multiprocessing.get_context('spawn')  # the detector's TensorFlow does not survive a fork
    with ProcessPoolExecutor(jobs, context, _start_worker, (settings,)) as pool:
        prepared = list(
            progress(pool.map(_prepare_video, videos), label=f'preparing {split}', unit='video', total=len(videos))
        )
    write_split(split, prepared, settings.output)
    return prepared


def write_split(split: str, prepared: Sequence[Prepared], output: Path) -> None:
    """Writes OUTPUT/<split>.txt, the frames of what has no gap, and the ledger of everything beside it."""
    manifest = output / f'{split}.txt'
    rows = []
    for done in prepared:
        label = () if done.row.label is None else (emotions.to_one_hot(done.row.label),)
        if not done.row.gap:
            rows += [(frame, *label) for frame in done.frames]
    write_ledger(ledger_path(manifest), (done.row for done in prepared))
    write_manifest(manifest, rows)


_detect: Detector
_settings: Settings


def _start_worker(settings: Settings) -> None:
    """Makes the detector once per process: MTCNN takes seconds to load."""
    global _detect, _settings
    cv2.setNumThreads(1)  # the processes already fill the cores
    _settings = settings
    _detect = DETECTORS[settings.detector]()


def _prepare_video(video: SourceVideo) -> Prepared:
    if video.problem:
        return Prepared([], LedgerRow(video.video_id, video.label, 0, 0, None, 'missing'), video.problem)
    faces = _settings.output / 'faces' / video.folder
    # Frames are written aside, so that a folder in faces/ is always a whole video.
    partial = faces.with_name(f'.{faces.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    names, decoded, problem = [], 0, ''
    try:
        for decoded, image in enumerate(read_frames(video.path), start=1):
            face = largest(_detect(image))
            if face is not None:
                name = f'{decoded:05d}.jpg'  # numbered by time, so that a gap in the numbers is a gap in time
                write_jpeg(partial / name, align(image, face, _settings.image_size, _settings.margin))
                names.append(name)
    except MediaError as error:
        problem = str(error)
    shutil.rmtree(faces, ignore_errors=True)
    if names:
        partial.rename(faces)
    else:
        partial.rmdir()
    wav = _settings.output / 'wav' / f'{video.folder}.wav'
    wav.parent.mkdir(parents=True, exist_ok=True)
    seconds = 0.0
    gap = 'undecodable' if problem else '' if len(names) >= MIN_FRAMES else 'no_face'
    if not problem:
        try:
            seconds = extract_wav(video.path, wav)
        except MediaError as error:
            problem = f'sound lost: {error}'
    row = LedgerRow(video.video_id, video.label, decoded, len(names), seconds, gap)
    return Prepared([f'faces/{video.folder}/{name}' for name in names], row, problem)


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] RGB. Raises OSError where the disk does not take it."""
    coded = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    path.write_bytes(coded.tobytes())
