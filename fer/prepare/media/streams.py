"""The streams of a media file: which are read, when their packets are due, and their decoded frames.

FFmpeg's libraries do the decoding. They come inside PyAV's wheel, so nothing needs root or a system package.
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

FRAMES_PER_SECOND = 25  # AFEW's rate; the dissertation's frames and audio clips are 0.04 s apart (2.2.2)
HALF_FRAME = 0.5 / FRAMES_PER_SECOND
_LONGEST_GAP = 10.0  # seconds that stamps may lead over every packet
_LONGEST_PAUSE = 60.0  # seconds, where there are pictures only, as in recordings of a screen that rests
_STAMPS_JUMP = 0x200  # of a container format: AVFMT_TS_DISCONT
# Streams that a player leaves aside, where it has a choice.
_ASIDE = (
    *('comment', 'descriptions', 'dub', 'hearing_impaired', 'karaoke', 'visual_impaired'),
    *('dependent', 'still_image'),
)
_COVERS = ('attached_pic', 'timed_thumbnails')  # covers, not videos
# FFmpeg 8 says so at the end of every Opus stream.
_HARMLESS = ('Error parsing Opus packet header.',)

av.logging.set_level(av.logging.ERROR)
av.logging.set_skip_repeated(False)  # else the last complaint of a file comes with the next file


class MediaError(Exception):
    """A file that FFmpeg cannot read. The message is its own first complaint."""


class Choice(NamedTuple):
    """The streams of a file to read. None takes the stream that a player would take."""

    video: int | None = None  # number among the file's video streams, from 0, without cover pictures
    audio: int | None = None  # number among its audio streams, from 0


PLAYERS_CHOICE = Choice()


class Findings:
    """Problems and facts that were found while reading a file.

    Attributes:
      problems: what is damaged or had to be bounded, a line each.
      facts: what a file has two of, and which was taken, by kind.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.facts: dict[str, str] = {}

    def add_problem(self, problem: str) -> None:
        """Adds a problem, unless reading the other stream found it as well."""
        if problem not in self.problems:
            self.problems.append(problem)


class Plan(NamedTuple):
    """The streams of a file that are read, and when their packets are due."""

    streams: dict[str, int]  # index by kind, `video` or `audio`; a kind that the file does not have is missing
    offsets: dict[str, list[float]]  # seconds to add to the stamps of each packet of the stream
    clock: Clock
    audio_end: float  # seconds, what the container says; infinite if nothing
    counted: bool  # the pictures have no presentation stamps, so their order decides
    late_by_decoding: bool  # where the first counted picture is late, it is so by its decoding stamp
    longest_gap: float  # seconds


def ffmpeg_build() -> tuple[str, ...]:
    """Returns the version of FFmpeg, and how its libraries were built."""
    built = {f'{name} {library["version"]} {library["configuration"]}' for name, library in library_meta.items()}
    return av.ffmpeg_version_info, *sorted(built)


@contextmanager
def open_media(path: str | Path, complaints: list[str]) -> Iterator[av.container.InputContainer]:
    """Opens a file for reading, and closes it at the end.

    Args:
      path: of the file, whatever it is called.
      complaints: receives FFmpeg's, while it opens.

    Raises:
      MediaError: FFmpeg cannot read the file.
    """
    try:
        with _listen(complaints):
            # The protocol stands before the name, because a name may begin like another protocol.
            container = av.open(f'file:{path}', metadata_errors='replace')
    except av.error.FFmpegError as error:
        raise MediaError(cut_short(path) or error.strerror or str(error)) from None
    with container:
        container.flags &= ~av.container.Flags.gen_pts.value  # the stamps are completed by clock.py
        yield container


@contextmanager
def _listen(complaints: list[str]) -> Iterator[None]:
    """Collects what FFmpeg complains of within."""
    with av.logging.Capture() as logs:
        yield
    texts = (message.strip() for level, _, message in logs if level <= av.logging.ERROR)
    complaints += [text for text in texts if text and text not in _HARMLESS]


def make_plan(path: str | Path, choice: Choice, findings: Findings) -> Plan:
    """Chooses the streams of a file, and decides when each of their packets is due. Decodes nothing.

    Args:
      path: of the file.
      choice: of its streams.
      findings: receives which streams were taken, where there are several, and jumps of the time stamps.
    """
    stamps: list[tuple[Stamp, bool]] = []  # and whether the packet has a presentation stamp
    with open_media(path, []) as container:
        for packet in _packets(container, None, []):
            if packet.dts is None and packet.pts is None and not packet.size:
                continue
            decoded, shown = (
                None if ticks is None else float(ticks * packet.time_base) for ticks in (packet.dts, packet.pts)
            )
            duration = float((packet.duration or 0) * packet.time_base)
            stamps.append((Stamp(packet.stream_index, decoded, shown, duration), packet.pts is not None))
        filled = {stamp.stream for stamp, _ in stamps}
        streams = {
            kind: stream.index
            for kind, number in (('video', choice.video), ('audio', choice.audio))
            if (stream := _choose(container, kind, number, filled, findings))
        }
        kept = [(stamp, has_pts) for stamp, has_pts in stamps if stamp.stream in streams.values()]
        # What is stamped before 0 only prepares a decoder, such as the first samples of Opus and AAC.
        start = None if container.start_time is None else max(0.0, container.start_time / av.time_base)
        gap = _LONGEST_GAP if 'audio' in streams else _LONGEST_PAUSE
        counted = container.format.name == 'avi' or not any(
            has_pts for stamp, has_pts in kept if stamp.stream == streams.get('video')
        )
        # FFmpeg's own AVI muxer puts a late first picture where it is decoded; others put it where it is shown.
        late_by_decoding = container.metadata.get('software', '').startswith('Lavf')
        audio = container.streams[streams['audio']] if 'audio' in streams else None
        declared = (
            float((audio.start_time or 0) + audio.duration) * audio.time_base if audio and audio.duration else None
        )
    clock = set_clock([stamp for stamp, _ in kept], start, gap)
    # Broadcast formats declare no end, and that of several pieces is the first one's.
    has_end = declared is not None and not clock.jumps and not container.format.flags & _STAMPS_JUMP
    audio_end = declared + clock.offsets[0] if has_end and declared is not None else math.inf
    offsets: dict[str, list[float]] = {kind: [] for kind in streams}
    kinds = {index: kind for kind, index in streams.items()}
    for (stamp, _), offset in zip(kept, clock.offsets, strict=True):
        offsets[kinds[stamp.stream]].append(offset)
    _report_jumps(clock.jumps, findings)
    return Plan(streams, offsets, clock, audio_end, counted, late_by_decoding, gap)


def _choose(
    container: av.container.InputContainer, kind: str, number: int | None, filled: set[int], findings: Findings
) -> av.stream.Stream | None:
    """Returns the stream of a number, or the one that a player would take: the default one, then the largest."""
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
    return _has(stream, 'default'), not any(_has(stream, name) for name in _ASIDE), size, -stream.index


def _report_jumps(jumps: list[Jump], findings: Findings) -> None:
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
    container: av.container.InputContainer, stream: av.stream.Stream | None, complaints: list[str]
) -> Iterator[av.packet.Packet]:
    """Yields the packets of a stream, or of all, and at last an empty one for each. Ends where the file breaks off."""
    packets = container.demux(stream) if stream else container.demux()
    while True:
        with _listen(complaints):
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                complaints.append(error.strerror or str(error))
                return
        if packet is None:
            return
        yield packet


def decode(
    container: av.container.InputContainer, plan: Plan, kind: str, complaints: list[str]
) -> Iterator[tuple[av.frame.Frame, float | None, float]]:
    """Decodes a stream.

    Yields:
      A frame; when it is due in seconds, None where the file does not say; the offset of its packet, which tells the
      pieces of a file apart.
    """
    stream = container.streams[plan.streams[kind]]
    stream.codec_context.thread_count = 1  # several conceal damage differently each time, and videos fill the cores
    offsets = iter(plan.offsets[kind])
    counted = plan.counted and kind == 'video'
    due: deque[float] = deque()  # of packets whose frames are counted
    delay: float | None = None  # seconds between decoding and showing, where frames are counted
    offset = 0.0
    for packet in _packets(container, stream, complaints):
        is_last = not packet.size and packet.pts is None and packet.dts is None
        if not is_last:
            offset = next(offsets, offset)
            if not packet.size:
                continue  # a decoder would take it for the end
            if counted:
                if packet.dts is not None:
                    due.append(float(packet.dts * packet.time_base) + offset)
            else:
                ticks = round(offset / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
        with _listen(complaints):
            try:
                frames = packet.decode()
            except av.error.EOFError:
                frames = []
            except av.error.FFmpegError as error:
                frames = []
                complaints.append(error.strerror or str(error))
                if counted and due:
                    due.pop()  # no frame comes of it
        for frame in frames:
            if counted:
                if delay is None:
                    reordered = (len(due) - 1) / float(stream.average_rate or FRAMES_PER_SECOND)
                    is_late = due and due[-1] > reordered + HALF_FRAME
                    delay = reordered if is_late and plan.late_by_decoding else 0.0
                yield frame, due.popleft() + delay if due else None, offset
            else:
                yield frame, None if frame.pts is None else float(frame.pts * frame.time_base), offset


def cut_short(path: str | Path) -> str:
    """Says so where a file's end is missing and FFmpeg does not mind: none at all, or less than an AVI declares."""
    with open(path, 'rb') as file:
        start = file.read(8)
        size = os.fstat(file.fileno()).st_size
    if not size:
        return 'an empty file'
    declared = int.from_bytes(start[4:8], 'little') + 8
    return f'breaks off at {size} of {declared} bytes' if start[:4] == b'RIFF' and declared > size else ''
