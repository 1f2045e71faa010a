# SPDX-License-Identifier: Apache-2.0
"""The streams of a media file: which are read, when their packets are due, and their decoded frames.

FFmpeg's libraries decode. They come inside PyAV's wheel, so they need neither root nor a system package.
"""

import math
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
import av.logging
from av._core import library_meta

from fer.prepare.media.clock import Clock, Jump, Stamp, set_clock

FRAMES_PER_SECOND = 25  # AFEW's rate. The dissertation's frames and audio clips are 0.04 s apart (2.2.2)
HALF_FRAME = 0.5 / FRAMES_PER_SECOND
_LONGEST_GAP = 10.0  # seconds by which stamps may be ahead of all packets before them
_LONGEST_PAUSE = 60.0  # the same limit without audio, because a recording of a screen may show one frame for so long
_STAMPS_JUMP = 0x200  # flag of a container format: AVFMT_TS_DISCONT
# A player prefers streams without these marks.
_SECONDARY = (
    *('comment', 'descriptions', 'dub', 'hearing_impaired', 'karaoke', 'visual_impaired'),
    *('dependent', 'still_image'),
)
_COVERS = ('attached_pic', 'timed_thumbnails')  # cover images, not videos
_HARMLESS = ('Error parsing Opus packet header.',)  # FFmpeg 8 logs this at the end of every Opus stream

av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)  # otherwise the last message about a file arrives with the next file


class MediaError(Exception):
    """A file that FFmpeg cannot read. The message is FFmpeg's first one."""


class Choice(NamedTuple):
    """The streams of a file to read. None takes the stream that a player would take."""

    video: int | None = None  # number among the file's video streams, from 0, without cover images
    audio: int | None = None  # number among its audio streams, from 0


PLAYERS_CHOICE = Choice()


class Findings:
    """Problems and facts that were found while reading a file.

    Attributes:
      problems: what is damaged or had to be limited, a line each.
      facts: what the file has several of, and which of them is used, by kind.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.facts: dict[str, str] = {}

    def add_problem(self, problem: str) -> None:
        """Adds a problem, unless reading the other stream found it too."""
        if problem not in self.problems:
            self.problems.append(problem)


class ReadingPlan(NamedTuple):
    """The streams of a file that are read, and when their packets are due."""

    streams: dict[str, int]  # index by kind, `video` or `audio`, without the kinds that the file does not have
    offsets: dict[str, list[float]]  # by kind, seconds to add to the stamps of each packet of the stream
    clock: Clock
    audio_end: float  # seconds, declared by the container, or infinite
    counted: bool  # the video has no presentation stamps, so frames are placed by their order
    late_by_decoding: bool  # if the first counted frame is late, its stamp is when it is decoded, not when it is shown
    longest_gap: float  # seconds, _LONGEST_GAP or _LONGEST_PAUSE


def ffmpeg_build() -> tuple[str, ...]:
    """Returns the version of FFmpeg, and how its libraries were built."""
    built = {f'{name} {library["version"]} {library["configuration"]}' for name, library in library_meta.items()}
    return av.ffmpeg_version_info, *sorted(built)


@contextmanager
def open_media(path: str | Path, errors: list[str]) -> Iterator[av.container.InputContainer]:
    """Opens a file for reading, and closes it at the end.

    Args:
      path: of the file, with any name and suffix.
      errors: receives the errors that FFmpeg logs while it opens the file.

    Raises:
      MediaError: FFmpeg cannot read the file.
    """
    try:
        with _capture_errors(errors):
            # The name gets the prefix `file:`, because a name may begin like another protocol.
            container = av.open(f'file:{path}', metadata_errors='replace')
    except av.error.FFmpegError as error:
        raise MediaError(find_truncation(path) or error.strerror or str(error)) from None
    with container:
        container.flags &= ~av.container.Flags.gen_pts.value  # clock.py completes the stamps
        yield container


@contextmanager
def _capture_errors(errors: list[str]) -> Iterator[None]:
    """Collects the errors that FFmpeg logs."""
    with av.logging.Capture() as logs:
        yield
    texts = (message.strip() for level, _, message in logs if level <= av.logging.ERROR)
    errors += [text for text in texts if text and text not in _HARMLESS]


def plan_reading(path: str | Path, choice: Choice, findings: Findings) -> ReadingPlan:
    """Chooses the streams of a file, and decides when each of their packets is due. Decodes nothing.

    Args:
      path: of the file.
      choice: of its streams.
      findings: receives which streams were taken, if there are several, and jumps of the time stamps.
    """
    with open_media(path, []) as container:
        stamps = _read_stamps(container)
        filled = {stamp.stream for stamp in stamps}
        streams = {
            kind: stream.index
            for kind, number in (('video', choice.video), ('audio', choice.audio))
            if (stream := _choose(container, kind, number, filled, findings))
        }
        stamps = [stamp for stamp in stamps if stamp.stream in streams.values()]
        # Packets stamped before 0, such as the first samples of Opus and AAC, only prepare a decoder.
        start = None if container.start_time is None else max(0.0, container.start_time / av.time_base)
        gap = _LONGEST_GAP if 'audio' in streams else _LONGEST_PAUSE
        counted = container.format.name == 'avi' or not any(
            stamp.shown is not None for stamp in stamps if stamp.stream == streams.get('video')
        )
        # FFmpeg's own AVI muxer stamps a late first frame with its decoding time. Others stamp when it is shown.
        late_by_decoding = container.metadata.get('software', '').startswith('Lavf')
        declared = _declared_audio_end(container, streams)
        format_flags = container.format.flags
    clock = set_clock(stamps, start, gap)
    # Broadcast formats declare no end, and a file of several pieces declares only the end of the first piece.
    audio_end = math.inf
    if declared is not None and not clock.jumps and not format_flags & _STAMPS_JUMP:
        audio_end = declared + clock.offsets[0]
    _report_jumps(clock.jumps, findings)
    offsets = _split_offsets(streams, stamps, clock)
    return ReadingPlan(streams, offsets, clock, audio_end, counted, late_by_decoding, gap)


def _read_stamps(container: av.container.InputContainer) -> list[Stamp]:
    """Returns the stamps of all packets of a file, in its order."""
    stamps = []
    for packet in _packets(container, None, []):
        if packet.dts is None and packet.pts is None and not packet.size:
            continue
        decoded, shown = (
            None if ticks is None else float(ticks * packet.time_base) for ticks in (packet.dts, packet.pts)
        )
        stamps.append(Stamp(packet.stream_index, decoded, shown, float((packet.duration or 0) * packet.time_base)))
    return stamps


def _declared_audio_end(container: av.container.InputContainer, streams: dict[str, int]) -> float | None:
    """Returns the stamp at which the container ends the audio, in seconds. None if it declares none."""
    audio = container.streams[streams['audio']] if 'audio' in streams else None
    if not audio or not audio.duration:
        return None
    return float((audio.start_time or 0) + audio.duration) * audio.time_base


def _split_offsets(streams: dict[str, int], stamps: list[Stamp], clock: Clock) -> dict[str, list[float]]:
    """Returns the offsets of each stream's packets, by kind."""
    offsets: dict[str, list[float]] = {kind: [] for kind in streams}
    kinds = {index: kind for kind, index in streams.items()}
    for stamp, offset in zip(stamps, clock.offsets, strict=True):
        offsets[kinds[stamp.stream]].append(offset)
    return offsets


def _choose(
    container: av.container.InputContainer, kind: str, number: int | None, filled: set[int], findings: Findings
) -> av.stream.Stream | None:
    """Returns the stream of a kind to read.

    Args:
      container: the file.
      kind: `video` or `audio`.
      number: among the streams of the kind, from 0. None takes the one that a player would take: the default stream,
        then the largest.
      filled: indices of the streams that have packets.
      findings: receives which stream was taken, if there are several.
    """
    streams = [s for s in container.streams if s.type == kind and not any(_has(s, name) for name in _COVERS)]
    usable = [stream for stream in streams if stream.index in filled and stream.codec_context]
    if number is not None:
        chosen = streams[number] if number < len(streams) else None
    else:
        chosen = max(usable, key=_rank, default=None)
    if chosen and len(usable) > 1:
        findings.facts[f'several {kind} streams'] = f'took {kind} stream {streams.index(chosen)} of {len(streams)}'
    return chosen


def _has(stream: av.stream.Stream, name: str) -> bool:
    return bool(stream.disposition & av.stream.Disposition[name])


def _rank(stream: av.stream.Stream) -> tuple:
    size = stream.codec_context.width * stream.codec_context.height if stream.type == 'video' else stream.channels
    return _has(stream, 'default'), not any(_has(stream, name) for name in _SECONDARY), size, -stream.index


def _report_jumps(jumps: list[Jump], findings: Findings) -> None:
    """Adds a fact for stamps that begin again, and a problem for each gap that is left out."""
    back = [jump for jump in jumps if jump.after < jump.before]
    if back:
        findings.facts['joined'] = f'{len(back) + 1} pieces, because its time stamps begin again'
    for jump in jumps:
        if jump.after >= jump.before:
            findings.add_problem(
                f'time stamps jump from {jump.before:.2f} to {jump.after:.2f} s, which no packet fills; the gap of '
                f'{jump.after - jump.before:.0f} s is left out'
            )


def _packets(
    container: av.container.InputContainer, stream: av.stream.Stream | None, errors: list[str]
) -> Iterator[av.packet.Packet]:
    """Yields the packets of a stream, or of all streams if `stream` is None, up to where the file breaks off.

    The last packet of each stream is empty.
    """
    packets = container.demux(stream) if stream else container.demux()
    while True:
        with _capture_errors(errors):
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                errors.append(error.strerror or str(error))
                return
        if packet is None:
            return
        yield packet


def decode(
    container: av.container.InputContainer, plan: ReadingPlan, kind: str, errors: list[str]
) -> Iterator[tuple[av.frame.Frame, float | None, float]]:
    """Decodes a stream.

    Args:
      container: the file.
      plan: made for the file.
      kind: `video` or `audio`.
      errors: receives the errors that FFmpeg logs.

    Yields:
      A frame, when it is due in seconds, and the offset of its packet in seconds. The time is None if the file has no
      stamp for it. The offset differs between the pieces of a file.
    """
    stream = container.streams[plan.streams[kind]]
    # Several threads would hide damage differently each time. And the processes that prepare videos fill the cores.
    stream.codec_context.thread_count = 1
    offsets = iter(plan.offsets[kind])
    counted = _CountedFrames(stream, plan) if plan.counted and kind == 'video' else None
    offset = 0.0
    for packet in _packets(container, stream, errors):
        is_last = not packet.size and packet.pts is None and packet.dts is None
        if not is_last:
            offset = next(offsets, offset)
            if not packet.size:
                continue  # a decoder would take an empty packet for the end
            if counted:
                counted.add_packet(packet, offset)
            else:
                _shift_stamps(packet, offset)
        for frame in _decode_packet(packet, counted, errors):
            if counted:
                yield frame, counted.next_due(), offset
            else:
                yield frame, None if frame.pts is None else float(frame.pts * frame.time_base), offset


def read_packets(
    container: av.container.InputContainer, plan: ReadingPlan, kind: str, errors: list[str]
) -> Iterator[av.packet.Packet]:
    """Yields the packets of a stream as they are, with stamps from the file's time 0 on.

    Args:
      container: the file.
      plan: made for the file.
      kind: `video` or `audio`.
      errors: receives the errors that FFmpeg logs.
    """
    offsets = iter(plan.offsets[kind])
    for packet in _packets(container, container.streams[plan.streams[kind]], errors):
        if packet.size or packet.pts is not None or packet.dts is not None:
            offset = next(offsets, 0.0)
            if packet.size and packet.dts is not None:
                _shift_stamps(packet, offset)
                yield packet


def _shift_stamps(packet: av.packet.Packet, offset: float) -> None:
    """Adds an offset in seconds to a packet's stamps."""
    ticks = round(offset / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks


def _decode_packet(
    packet: av.packet.Packet, counted: '_CountedFrames | None', errors: list[str]
) -> list[av.frame.Frame]:
    """Returns the frames that a decoder gives out after a packet. After an error the list is empty."""
    with _capture_errors(errors):
        try:
            return packet.decode()
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            errors.append(error.strerror or str(error))
            if counted:
                counted.drop_packet()
            return []


class _CountedFrames:
    """The times of frames without presentation stamps: the k-th shown frame has the k-th decoding stamp."""

    def __init__(self, stream: av.stream.Stream, plan: ReadingPlan) -> None:
        self._rate = float(stream.average_rate or FRAMES_PER_SECOND)
        self._late_by_decoding = plan.late_by_decoding
        self._due: deque[float] = deque()  # seconds, of the packets whose frames are still to come
        self._delay: float | None = None  # seconds from decoding to showing

    def add_packet(self, packet: av.packet.Packet, offset: float) -> None:
        if packet.dts is not None:
            self._due.append(float(packet.dts * packet.time_base) + offset)

    def drop_packet(self) -> None:
        """Removes the latest packet, which gives no frame."""
        if self._due:
            self._due.pop()

    def next_due(self) -> float | None:
        """Returns when the next frame is due, in seconds. None if no stamp is left for it."""
        if self._delay is None:
            reordered = (len(self._due) - 1) / self._rate
            is_late = self._due and self._due[-1] > reordered + HALF_FRAME
            self._delay = reordered if is_late and self._late_by_decoding else 0.0
        return self._due.popleft() + self._delay if self._due else None


def find_truncation(path: str | Path) -> str:
    """Returns a line if the end of a file is missing, in the cases that FFmpeg does not report. Else returns ''.

    Such files are empty, or shorter than a RIFF header (AVI, wav) declares.
    """
    with open(path, 'rb') as file:
        start = file.read(8)
        size = os.fstat(file.fileno()).st_size
    if not size:
        return 'an empty file'
    declared = int.from_bytes(start[4:8], 'little') + 8
    return f'breaks off at {size} of {declared} bytes' if start[:4] == b'RIFF' and declared > size else ''
