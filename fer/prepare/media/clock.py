# SPDX-License-Identifier: Apache-2.0
"""One clock for the frames and the audio of a file, made from the time stamps of its packets.

A recording is one piece whose stamps only grow. Real files often have several pieces: two recordings joined, a DVD, or
a tuner that restarted. Between pieces the stamps of both streams jump, back to zero or far ahead. The streams jump at
different packets, because they are interleaved. This module finds the pieces from the packets of both streams together.
Each piece gets one offset for both streams, so that what was recorded together stays together.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

STEP_BACK = 0.1  # seconds. Decoding stamps that fall by more begin a new piece
_NEAR = 10.0  # seconds. A stream joins a piece of the other stream if its stamps are at most this much earlier


class Stamp(NamedTuple):
    """The time stamps of a packet, in seconds. None if the container has none."""

    stream: int  # index of its stream
    decoded: float | None  # decoding time stamp
    shown: float | None  # presentation time stamp
    duration: float  # seconds, 0 if unknown


class Jump(NamedTuple):
    """A jump of the stamps that the clock removes. In seconds, as the container stamps them."""

    before: float  # the end of all packets before it
    after: float  # the first stamp after it


class Clock(NamedTuple):
    """The times at which a file's packets are due."""

    offsets: list[float]  # seconds to add to the stamps of each packet
    ends: dict[int, float]  # by stream, when its last packet ends
    jumps: list[Jump]  # in the order of the file


class _Piece:
    """Packets whose stamps belong to one recording."""

    def __init__(self, jump: Jump | None) -> None:
        self.jump = jump
        self.first: dict[int, float] = {}  # by stream, the earliest presentation stamp
        self.latest: dict[int, float] = {}  # by stream, the last decoding stamp
        self.reach: dict[int, float] = {}  # by stream, the latest end
        self.came_from: dict[int, tuple[_Piece, float]] = {}  # by stream, the piece before, and the stream's end there
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
        """Returns whether a packet continues the piece.

        It must not step back by more than STEP_BACK. It must begin at most `longest_gap` seconds after the latest end
        of the piece's packets, whatever their stream.
        """
        time = _time(stamp)
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
      longest_gap: seconds. Stamps further ahead of every packet than this are a jump.

    Returns:
      The clock. By its offsets, time 0 is the file's start, and each piece follows the piece before it. A piece begins
      at the latest end of its streams in the piece before, so that no stream overlaps itself.
    """
    pieces, piece_of_packet = _find_pieces(stamps, longest_gap)
    _place_pieces(pieces, start)
    ends: dict[int, float] = {}
    for piece in pieces:
        for stream, reach in piece.reach.items():
            ends[stream] = max(ends.get(stream, -math.inf), reach + piece.offset)
    offset = pieces[0].offset if pieces else 0.0
    offsets = [piece.offset if piece else offset for piece in piece_of_packet]
    return Clock(offsets, ends, [piece.jump for piece in pieces if piece.jump])


def _find_pieces(stamps: Iterable[Stamp], longest_gap: float) -> tuple[list[_Piece], list[_Piece | None]]:
    """Returns the pieces of a file, and each packet's piece, which is None before the first stamp of its stream."""
    pieces: list[_Piece] = []
    current: dict[int, _Piece] = {}  # by stream
    piece_of_packet: list[_Piece | None] = []
    for stamp in stamps:
        time = _time(stamp)
        here = current.get(stamp.stream)
        if time is None:
            piece_of_packet.append(here)
            continue
        if here is None or not here.takes(stamp, longest_gap):
            # The newest piece is tried first, because the other stream may just have begun it.
            there = next((piece for piece in reversed(pieces) if piece.takes(stamp, longest_gap)), None)
            if there is None:
                before = here or (pieces[-1] if pieces else None)
                there = _Piece(Jump(max(before.reach.values()), time) if before else None)
                pieces.append(there)
            if here and stamp.stream not in there.came_from and there is not pieces[0]:
                there.came_from[stamp.stream] = here, here.reach[stamp.stream]
            current[stamp.stream] = here = there
        here.add(stamp._replace(duration=min(stamp.duration, longest_gap)))
        piece_of_packet.append(here)
    return pieces, piece_of_packet


def _place_pieces(pieces: list[_Piece], start: float | None) -> None:
    """Sets the offset of each piece."""
    for piece in pieces:
        if piece is pieces[0]:
            piece.offset = -(min(piece.first.values()) if start is None else start)
        elif piece.came_from:
            piece.offset = max(
                before.offset + end - piece.first[stream] for stream, (before, end) in piece.came_from.items()
            )
        else:  # its only stream begins here
            piece.offset = pieces[0].offset


def _time(stamp: Stamp) -> float | None:
    """Returns the decoding stamp of a packet, or the presentation stamp if there is no decoding stamp."""
    return stamp.shown if stamp.decoded is None else stamp.decoded
