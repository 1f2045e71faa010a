# SPDX-License-Identifier: Apache-2.0
"""The frames of a media file at 25 per second: upright, with square pixels, deinterlaced if they are interlaced."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np

from fer.prepare.media.streams import FRAMES_PER_SECOND, Findings, ReadingPlan, decode

_TICK = 1_000_000 // FRAMES_PER_SECOND  # microseconds from one frame of the output to the next
_PAUSE = 100_000  # microseconds. Frames of the source further apart make a pause, because no moving picture is so slow


class _TimedFrame(NamedTuple):
    """A frame of the source. Times are in microseconds."""

    due: int
    duration: int  # 0 if unknown
    frame: av.video.frame.VideoFrame


def frames_at_25(
    container: av.container.InputContainer, plan: ReadingPlan, errors: list[str], findings: Findings
) -> Iterator[np.ndarray]:
    """Yields the frame of the source that is due, every 0.04 s, uint8 [H, W, 3] RGB."""
    to_rgb = _ToRgb(container.streams[plan.streams['video']])
    held: _TimedFrame | None = None
    shown = 0  # frames
    for timed in _deinterlace(_timed_frames(container, plan, errors), findings):
        if held is not None:
            takes_over = timed.due - _lead(timed.due - held.due)
            if shown * _TICK < takes_over:
                image = to_rgb(held.frame)
            while shown * _TICK < takes_over:
                yield image
                shown += 1
        held = timed
    if held is None:
        return
    duration = _limit_duration(held, plan, findings)
    end = held.due + duration - _lead(duration)  # as if another frame followed
    image = to_rgb(held.frame)
    while shown * _TICK < end:
        yield image
        shown += 1
    if len(to_rgb.sizes) > 1:
        findings.facts['picture size changes'] = ', '.join(f'{width}x{height}' for width, height in to_rgb.sizes)


def _lead(pause: int) -> int:
    """Returns how many microseconds before its time a frame replaces the frame before it.

    This is half the time between them, so that the nearest frame is shown, but at most one frame of the output. After a
    time longer than _PAUSE the limit is half a frame, because the frame before was meant to stay.
    """
    return max(0, min((pause + 1) // 2, _TICK) if pause <= _PAUSE else _TICK // 2)


def _limit_duration(last: _TimedFrame, plan: ReadingPlan, findings: Findings) -> int:
    """Returns how long the last frame is shown, in microseconds: up to the end of the audio, or the longest gap."""
    longest = max(plan.clock.ends.get(plan.streams.get('audio', -1), 0.0) - last.due / 1e6, plan.longest_gap)
    if last.duration > longest * 1e6:
        findings.add_problem(f'the last frame lasts {last.duration / 1e6:.0f} s, but only {longest:.0f} s are used')
    return min(last.duration, round(longest * 1e6))


def _timed_frames(
    container: av.container.InputContainer, plan: ReadingPlan, errors: list[str]
) -> Iterator[_TimedFrame]:
    """Yields the decoded frames. A frame without a time stamp follows the one before it."""
    rate = container.streams[plan.streams['video']].average_rate or FRAMES_PER_SECOND
    due, duration = 0, round(1_000_000 / rate)
    for number, (frame, seconds, _) in enumerate(decode(container, plan, 'video', errors)):
        if seconds is not None:
            due = round(seconds * 1e6)
        elif number:
            due += duration
        if frame.duration and not plan.counted:
            duration = round(frame.duration * frame.time_base * 1_000_000)
        yield _TimedFrame(due, duration, frame)


def _deinterlace(frames: Iterator[_TimedFrame], findings: Findings) -> Iterator[_TimedFrame]:
    """Yields the frames, and deinterlaces those that are marked as interlaced.

    All frames from the first marked one on pass through the filter, which leaves the others as they are.
    """
    graph, form = None, None
    durations: dict[int, int] = {}
    for timed in frames:
        frame = timed.frame
        if graph is None and not frame.interlaced_frame:
            yield timed
            continue
        findings.facts['interlaced'] = 'deinterlaced'
        if form != (form := (frame.width, frame.height, frame.format.name)):
            yield from _drain(graph, durations)
            graph = _make_graph(frame, ('bwdif', 'mode=send_frame:deint=interlaced'))
        assert graph is not None
        durations[timed.due] = timed.duration
        frame.pts, frame.time_base = timed.due, Fraction(1, 1_000_000)
        graph.push(frame)
        yield from _drain(graph, durations, last=False)
    yield from _drain(graph, durations)


def _make_graph(frame: av.video.frame.VideoFrame, *filters: tuple[str, str]) -> av.filter.Graph:
    """Returns a chain of FFmpeg's filters for frames of this form, with time stamps in microseconds."""
    graph = av.filter.Graph()
    form = f'video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000000'
    form += f':colorspace={int(frame.colorspace)}:range={int(frame.color_range)}'
    nodes = [graph.add('buffer', form)]
    nodes += [graph.add(name, options) for name, options in filters]
    graph.link_nodes(*nodes, graph.add('buffersink')).configure()
    return graph


def _drain(graph: av.filter.Graph | None, durations: dict[int, int], *, last: bool = True) -> Iterator[_TimedFrame]:
    """Yields the frames that a chain of filters has finished. `last` means that the chain gets no more frames."""
    if graph is None:
        return
    if last:
        graph.push(None)
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        due = round(frame.pts * frame.time_base * 1_000_000)
        yield _TimedFrame(due, durations.pop(due, 0), frame)


class _ToRgb:
    """Converter of frames to uint8 [H, W, 3] RGB, upright and with square pixels.

    Attributes:
      sizes: each (width, height) of the converted frames once, in the order in which they came.
    """

    def __init__(self, stream: av.video.stream.VideoStream) -> None:
        self.sizes: dict[tuple[int, int], None] = {}
        self._stream = stream
        self._ratio_of_codec = stream.codec_context.sample_aspect_ratio
        self._ratio_of_file = stream.sample_aspect_ratio
        self._form: tuple | None = None
        self._rotation: int | None = None  # in degrees, of the last frame
        self._matrix: np.ndarray | None = None  # int32 [9], its display matrix
        self._graph: av.filter.Graph | None = None

    def __call__(self, frame: av.video.frame.VideoFrame) -> np.ndarray:
        now = self._stream.codec_context.sample_aspect_ratio
        # The container's ratio is used, until the codec's own ratio changes within the file.
        ratio = (self._ratio_of_file if now == self._ratio_of_codec else now) or 1
        form = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range), ratio)
        if form != self._form:
            size = f'{max(1, int(frame.width * ratio))}:{frame.height}'
            self._graph = _make_graph(frame, ('scale', size), ('format', 'rgb24'))
            self._form = form
        assert self._graph is not None
        frame.time_base = Fraction(1, 1_000_000)
        self._graph.push(frame)
        # Reading the side data of every frame makes PyAV's memory grow by 1.4 kB a frame.
        if frame.key_frame or frame.rotation != self._rotation:
            self._matrix, self._rotation = _find_matrix(frame), frame.rotation
        image = _turn(self._graph.pull().to_ndarray(), self._matrix)
        self.sizes[image.shape[1], image.shape[0]] = None
        return image


def _find_matrix(frame: av.video.frame.VideoFrame) -> np.ndarray | None:
    """Returns a frame's display matrix, int32 [9], None without one."""
    data = next((data for data in frame.side_data if data.type.name == 'DISPLAYMATRIX'), None)
    return None if data is None else np.frombuffer(bytes(data), np.int32)


def _turn(image: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """Applies a display matrix, [H, W, 3] to [H, W, 3] or [W, H, 3]. Angles are rounded to quarters."""
    if matrix is None:
        return image
    a, b, _, c, d = matrix[:5].tolist()  # x' = a x + c y and y' = b x + d y
    if abs(b) + abs(c) > abs(a) + abs(d):
        image = image.swapaxes(0, 1)
        flip_x, flip_y = c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    return np.ascontiguousarray(image[:: -1 if flip_y else 1, :: -1 if flip_x else 1])
