# SPDX-License-Identifier: Apache-2.0
"""Frames and audio of a media file, both from the file's time 0 on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from fer.prepare.media.audio import decode_audio, find_gaps, write_wav
from fer.prepare.media.frames import frames_at_25
from fer.prepare.media.streams import (
    PLAYERS_CHOICE,
    Choice,
    Findings,
    MediaError,
    find_truncation,
    open_media,
    plan_reading,
    read_packets,
)


class AudioPackets(NamedTuple):
    """The audio of a media file as it is stored."""

    stream: av.audio.AudioStream
    codec: str  # FFmpeg's name of the format, such as `aac`
    jumps: bool  # whether its time stamps jump
    packets: Iterator[av.Packet]  # by time, with stamps from the file's time 0 on


def read_frames(
    path: str | Path, choice: Choice = PLAYERS_CHOICE, findings: Findings | None = None
) -> Iterator[np.ndarray]:
    """Decodes a video to 25 frames/s by presentation time, whatever its container and rate.

    Frame k is the source's frame with the time stamp nearest to k x 0.04 s. But a frame is shown at most 0.04 s before
    its time. If it follows a pause of more than 0.1 s, it is shown at most 0.02 s before its time. Time 0 is the file's
    start, for frames and for audio (`extract_wav`). If the first frame begins later, it is repeated from time 0 on.

    Frames that are marked as interlaced are deinterlaced. Rotation by quarters and mirroring are applied. Pixels that
    are not square are made square by changing the width.

    Args:
      path: any file that FFmpeg reads.
      choice: the video stream.
      findings: receives what was found. It is complete after the last frame.

    Yields:
      A frame every 0.04 s, uint8 [H, W, 3] RGB. H and W change with those of the source.

    Raises:
      MediaError: no frame can be decoded. A truncated file yields the frames before its end.
    """
    findings = Findings() if findings is None else findings
    errors: list[str] = []
    count = 0
    with open_media(path, errors) as container:
        plan = plan_reading(path, choice, findings)
        if 'video' not in plan.streams:
            number = '' if choice.video is None else f' in video stream {choice.video}'
            raise MediaError(find_truncation(path) or f'no video frames{number}')
        for image in frames_at_25(container, plan, errors, findings):
            yield image
            count += 1
    problem = find_truncation(path) or (errors[0] if errors else '')
    if not count:
        raise MediaError(problem or 'no video frames')
    if problem:
        findings.add_problem(problem)


def extract_wav(
    path: str | Path,
    wav: str | Path,
    choice: Choice = PLAYERS_CHOICE,
    findings: Findings | None = None,
    sample_rate: int | None = None,
) -> float:
    """Writes the audio of a media file as mono 16-bit wav (dissertation 5.1.2).

    The wav begins at the file's time 0, like `read_frames`. Silence fills the time before the audio and its gaps.

    Args:
      path: any file that FFmpeg reads.
      wav: the file to write.
      choice: the audio stream.
      findings: receives what was found.
      sample_rate: of the wav, in Hz. None keeps the rate of the file's first samples.

    Returns:
      The length of the wav in seconds. 0 if the file has no audio stream, and then no wav is written.

    Raises:
      MediaError: the audio stream cannot be decoded, or no stream has the chosen number.
    """
    findings = Findings() if findings is None else findings
    errors: list[str] = []
    with open_media(path, errors) as container:
        plan = plan_reading(path, choice, findings)
        if 'audio' not in plan.streams:
            if choice.audio is not None:
                raise MediaError(f'no audio stream {choice.audio}')
            return 0.0
        chunks = find_gaps(decode_audio(container, plan, errors))
        seconds = write_wav(chunks, plan.audio_end, Path(wav), sample_rate, findings)
    if not seconds and errors:
        raise MediaError(errors[0])
    return seconds


@contextmanager
def open_audio_packets(path: str | Path, choice: Choice = PLAYERS_CHOICE) -> Iterator[AudioPackets | None]:
    """Opens the audio that `extract_wav` decodes, to copy it undecoded. Gives None if the file has none.

    Raises:
      MediaError: FFmpeg cannot read the file.
    """
    errors: list[str] = []
    plan = plan_reading(path, choice, Findings())
    if 'audio' not in plan.streams:
        yield None
        return
    with open_media(path, errors) as container:
        stream = container.streams[plan.streams['audio']]
        assert isinstance(stream, av.audio.AudioStream)
        packets = read_packets(container, plan, 'audio', errors)
        yield AudioPackets(stream, stream.codec_context.codec.canonical_name, bool(plan.clock.jumps), packets)


def estimate_seconds(path: str | Path) -> float:
    """Returns the length that a media file states, 0 if it states none or cannot be read."""
    try:
        with av.open(str(path)) as container:
            return max(0.0, (container.duration or 0) / av.time_base)
    except (av.error.FFmpegError, OSError, ValueError):
        return 0.0
