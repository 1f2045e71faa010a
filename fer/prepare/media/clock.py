"""One clock for the pictures and the audio of a file, from the time stamps of its packets.

A recording is a single piece whose stamps only grow. Files that people have are often several: two recordings joined, a
DVD, a tuner that began again. There the stamps of both streams jump, back to zero or far ahead, and each stream meets
the jump at another packet, because streams are interleaved. This module finds the pieces from the packets of both
streams together, and gives a piece one offset that both streams share. So what was recorded together stays together.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

STEP_BACK = 0.1  # seconds; decoding stamps that fall further begin a new piece
_NEAR = 10.0  # seconds; a stream follows the other into a piece whose stamps are so near


class Stamp(NamedTuple):
    """The time stamps of a packet, in seconds. None where the container has none."""

    stream: int  # which of the streams
    decoded: float | None  # decoding time stamp
    shown: float | None  # presentation time stamp
    duration: float  # 0 if unknown


class Jump(NamedTuple):
    """A change of the stamps that was evened out. Seconds, of the container."""

    before: float  # the end of all packets before it
    after: float  # the first stamp after it


class Clock(NamedTuple):
    """When a file's packets are due."""

    offsets: list[float]  # seconds to add to the stamps of each packet
    ends: dict[int, float]  # by stream, when its last packet ends
    jumps: list[Jump]  # in the order of the file


class _Piece:
    """Packets whose stamps are of one recording."""

    def __init__(self, jump: Jump | None) -> None:
        self.jump = jump
        self.first: dict[int, float] = {}  # by stream, the earliest presentation stamp
        self.latest: dict[int, float] = {}  # by stream, the last decoding stamp
        self.reach: dict[int, float] = {}  # by stream, the latest end
        self.came_from: dict[int, tuple[_Piece, float]] = {}  # by stream, the piece that it left, and its end there
        self.offset = 0.0

    def add(self, stamp: Stamp) -> None:
        shown = stamp.decoded if stamp.shown is None else stamp.shown
        assert shown is not None
        end = shown + stamp.duration
        self.first[stamp.stream] = min(shown, self.first.get(stamp.stream, shown))
        if stamp.decoded is not None:
            self.latest[stamp.stream] = stamp.decoded
        self.reach[stamp.stream] = max(end, self.reach.get(stamp.stream, end))

    def takes(self, stamp: Stamp, longest_gap: float) -> bool:
        """Returns whether a packet continues the piece: no step back, and no gap that no stream fills."""
        time = stamp.shown if stamp.decoded is None else stamp.decoded
        assert time is not None
        if stamp.decoded is not None and stamp.stream in self.latest:
            earliest = self.latest[stamp.stream] - STEP_BACK
        else:
            earliest = min(self.first.values()) - _NEAR
        return earliest <= time <= max(self.reach.values()) + longest_gap


def set_clock(stamps: Iterable[Stamp], start: float | None, longest_gap: float) -> Clock:
    """Decides when each packet of a file is due.

    Args:
      stamps: of the packets of all streams that are used, in the order of the file.
      start: the stamp of the file's time 0. None for the earliest stamp.
      longest_gap: seconds. Stamps that go further ahead than any packet reaches are taken for a jump.

    Returns:
      Offsets such that time 0 is the file's start and every piece follows the one before. A piece begins where the
      streams that it has ended, at the later of them, so that neither overlaps itself.
    """
    pieces: list[_Piece] = []
    current: dict[int, _Piece] = {}
    places: list[_Piece | None] = []
    for stamp in stamps:
        time = stamp.shown if stamp.decoded is None else stamp.decoded
        here = current.get(stamp.stream)
        if time is None:
            places.append(here)
            continue
        if here is None or not here.takes(stamp, longest_gap):
            # The newest piece first: that is the one which the other stream has begun.
            there = next((piece for piece in reversed(pieces) if piece.takes(stamp, longest_gap)), None)
            if there is None:
                before = here or (pieces[-1] if pieces else None)
                there = _Piece(Jump(max(before.reach.values()), time) if before else None)
                pieces.append(there)
            if here and stamp.stream not in there.came_from and there is not pieces[0]:
                there.came_from[stamp.stream] = here, here.reach[stamp.stream]
            current[stamp.stream] = here = there
        here.add(stamp._replace(duration=min(stamp.duration, longest_gap)))
        places.append(here)
    for piece in pieces:
        if piece is pieces[0]:
            piece.offset = -(min(piece.first.values()) if start is None else start)
        elif piece.came_from:
            piece.offset = max(
                before.offset + end - piece.first[stream] for stream, (before, end) in piece.came_from.items()
            )
        else:  # its only stream begins here
            piece.offset = pieces[0].offset
    ends: dict[int, float] = {}
    for piece in pieces:
        for stream, reach in piece.reach.items():
            ends[stream] = max(ends.get(stream, -math.inf), reach + piece.offset)
    offset = pieces[0].offset if pieces else 0.0
    offsets = [piece.offset if piece else offset for piece in places]
    return Clock(offsets, ends, [piece.jump for piece in pieces if piece.jump])
