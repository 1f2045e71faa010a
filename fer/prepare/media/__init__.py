"""Reads the pictures and the audio of a media file: 25 frames/s and mono samples, both from the file's time 0 on.

When a packet is due is decided once for both streams, in clock.py.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fer.prepare.media.audio import decode_audio, place_audio, write_wav
from fer.prepare.media.pictures import pictures_at_25
from fer.prepare.media.streams import (
    FRAMES_PER_SECOND,
    PLAYERS_CHOICE,
    Choice,
    Findings,
    MediaError,
    cut_short,
    ffmpeg_build,
    make_plan,
    open_media,
)

__all__ = ['FRAMES_PER_SECOND', 'Choice', 'Findings', 'MediaError', 'extract_wav', 'ffmpeg_build', 'read_frames']


def read_frames(
    path: str | Path, choice: Choice = PLAYERS_CHOICE, findings: Findings | None = None
) -> Iterator[np.ndarray]:
    """Decodes a video to 25 frames/s by presentation time, whatever its container and rate.

    Frame k is the frame of the source whose time stamp is nearest to k x 0.04 s. Where the source pauses, no frame is
    shown more than 0.04 s before its time. Time 0 is the file's start, for pictures and for audio (`extract_wav`).
    Where the pictures begin later, the first one is repeated. Pictures that are marked as interlaced are
    deinterlaced, rotation by quarters and mirroring are applied, and pixels that are not square are made so by their
    width.

    Args:
      path: any file that FFmpeg reads.
      choice: the video stream.
      findings: receives what was found. Complete once the last frame has been read.

    Yields:
      uint8 [H, W, 3] RGB, a frame each 0.04 s. H and W change where those of the source do.

    Raises:
      MediaError: not a single frame can be decoded. A file that breaks off later yields what it has.
    """
    findings = Findings() if findings is None else findings
    complaints: list[str] = []
    count = 0
    with open_media(path, complaints) as container:
        plan = make_plan(path, choice, findings)
        if 'video' not in plan.streams:
            number = '' if choice.video is None else f' in video stream {choice.video}'
            raise MediaError(cut_short(path) or f'no video frames{number}')
        for image in pictures_at_25(container, plan, complaints, findings):
            yield image
            count += 1
    complaint = cut_short(path) or (complaints[0] if complaints else '')
    if not count:
        raise MediaError(complaint or 'no video frames')
    if complaint:
        findings.add_problem(complaint)


def extract_wav(
    path: str | Path,
    wav: str | Path,
    choice: Choice = PLAYERS_CHOICE,
    findings: Findings | None = None,
    sample_rate: int | None = None,
) -> float:
    """Writes the audio of a media file as mono 16-bit wav (dissertation 5.1.2).

    The wav begins at the file's time 0, as `read_frames` does. Where the audio begins later, or has a gap, it is
    silent there.

    Args:
      path: any file that FFmpeg reads.
      wav: where to write.
      choice: the audio stream.
      findings: receives what was found.
      sample_rate: of the wav, in Hz. None keeps that of the file's first samples.

    Returns:
      Its length in seconds. 0 where there is no audio stream, and then no file.

    Raises:
      MediaError: there is an audio stream, but it cannot be decoded, or no stream has the chosen number.
    """
    findings = Findings() if findings is None else findings
    complaints: list[str] = []
    with open_media(path, complaints) as container:
        plan = make_plan(path, choice, findings)
        if 'audio' not in plan.streams:
            if choice.audio is not None:
                raise MediaError(f'no audio stream {choice.audio}')
            return 0.0
        sounds = place_audio(decode_audio(container, plan, complaints))
        seconds = write_wav(sounds, plan.audio_end, Path(wav), sample_rate, findings)
    if not seconds and complaints:
        raise MediaError(complaints[0])
    return seconds
