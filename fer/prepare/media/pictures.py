"""The pictures of a media file at 25 frames/s, upright, with square pixels, deinterlaced where they are interlaced."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np

from fer.prepare.media.streams import FRAMES_PER_SECOND, Findings, Plan, decode

_TICK = 1_000_000 // FRAMES_PER_SECOND  # microseconds between frames
_PAUSE = 100_000  # microseconds between pictures; longer than at any rate that moves


class _Picture(NamedTuple):
    """A frame of the source. Times in microseconds."""

    due: int
    lasts: int
    frame: av.video.frame.VideoFrame


def pictures_at_25(
    container: av.container.InputContainer, plan: Plan, complaints: list[str], findings: Findings
) -> Iterator[np.ndarray]:
    """Yields uint8 [H, W, 3] RGB each 0.04 s, of the frame of the source that is due."""
    to_rgb = _ToRgb(container.streams[plan.streams['video']])
    held: _Picture | None = None
    shown = 0  # frames
    for picture in _deinterlaced(_pictures(container, plan, complaints), findings):
        if held is not None:
            takes_over = picture.due - _half_way(picture.due - held.due)
            if shown * _TICK < takes_over:
                image = to_rgb(held.frame)
            while shown * _TICK < takes_over:
                yield image
                shown += 1
        held = picture
    if held is None:
        return
    longest = max(plan.clock.ends.get(plan.streams.get('audio', -1), 0.0) - held.due / 1e6, plan.longest_gap)
    if held.lasts > longest * 1e6:
        findings.add_problem(f'the last picture asks for {held.lasts / 1e6:.0f} s, of which {longest:.0f} s are used')
    lasts = min(held.lasts, round(longest * 1e6))
    end = held.due + lasts - _half_way(lasts)  # as if another frame followed
    image = to_rgb(held.frame)
    while shown * _TICK < end:
        yield image
        shown += 1
    sizes = to_rgb.sizes
    if len(sizes) > 1:
        findings.facts['picture size changes'] = ', '.join(f'{width}x{height}' for width, height in sizes)


def _half_way(pause: int) -> int:
    """Returns how long before its time a frame takes over from the one before. Microseconds.

    The nearest in time is shown, at most a frame before its time. After a pause that would still be early, because
    the picture before was meant to stay. Half a frame is the limit there.
    """
    return max(0, min((pause + 1) // 2, _TICK) if pause <= _PAUSE else _TICK // 2)


def _pictures(container: av.container.InputContainer, plan: Plan, complaints: list[str]) -> Iterator[_Picture]:
    rate = container.streams[plan.streams['video']].average_rate or FRAMES_PER_SECOND
    due, lasts = 0, round(1_000_000 / rate)
    for number, (frame, seconds, _) in enumerate(decode(container, plan, 'video', complaints)):
        if seconds is not None:
            due = round(seconds * 1e6)
        elif number:
            due += lasts
        if frame.duration and not plan.counted:
            lasts = round(frame.duration * frame.time_base * 1_000_000)
        yield _Picture(due, lasts, frame)


def _deinterlaced(pictures: Iterator[_Picture], findings: Findings) -> Iterator[_Picture]:
    """Passes pictures on. From the first that is marked as interlaced, those that are marked are deinterlaced."""
    graph, form = None, None
    lasts: dict[int, int] = {}
    for picture in pictures:
        frame = picture.frame
        if graph is None and not frame.interlaced_frame:
            yield picture
            continue
        findings.facts['interlaced'] = 'deinterlaced'
        if form != (form := (frame.width, frame.height, frame.format.name)):
            yield from _drain(graph, lasts)
            graph = _make_graph(frame, ('bwdif', 'mode=send_frame:deint=interlaced'))
        assert graph is not None
        lasts[picture.due] = picture.lasts
        frame.pts, frame.time_base = picture.due, Fraction(1, 1_000_000)
        graph.push(frame)
        yield from _drain(graph, lasts, last=False)
    yield from _drain(graph, lasts)


def _make_graph(frame: av.video.frame.VideoFrame, *filters: tuple[str, str]) -> av.filter.Graph:
    """Filters, for frames like this one with stamps in microseconds."""
    graph = av.filter.Graph()
    form = f'video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000000'
    form += f':colorspace={int(frame.colorspace)}:range={int(frame.color_range)}'
    nodes = [graph.add('buffer', form)]
    nodes += [graph.add(name, options) for name, options in filters]
    graph.link_nodes(*nodes, graph.add('buffersink')).configure()
    return graph


def _drain(graph: av.filter.Graph | None, lasts: dict[int, int], last: bool = True) -> Iterator[_Picture]:
    """Yields what has passed a graph. `last` where no more frames come."""
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
        yield _Picture(due, lasts.pop(due, 0), frame)


class _ToRgb:
    """Converts frames to uint8 [H, W, 3] RGB, upright and with square pixels.

    Attributes:
      sizes: (width, height) of the frames converted, in the order in which they came, each once.
    """

    def __init__(self, stream: av.video.stream.VideoStream) -> None:
        self.sizes: dict[tuple[int, int], None] = {}
        self._stream = stream
        self._of_codec = stream.codec_context.sample_aspect_ratio
        self._of_file = stream.sample_aspect_ratio
        self._form: tuple | None = None
        self._graph: av.filter.Graph | None = None

    def __call__(self, frame: av.video.frame.VideoFrame) -> np.ndarray:
        now = self._stream.codec_context.sample_aspect_ratio
        # The container's ratio counts, unless the pictures themselves change theirs.
        ratio = (self._of_file if now == self._of_codec else now) or 1
        form = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range), ratio)
        if form != self._form:
            size = f'{max(1, int(frame.width * ratio))}:{frame.height}'
            self._graph = _make_graph(frame, ('scale', size), ('format', 'rgb24'))
            self._form = form
        assert self._graph is not None
        frame.time_base = Fraction(1, 1_000_000)
        self._graph.push(frame)
        image = _turn(self._graph.pull().to_ndarray(), frame)
        self.sizes[image.shape[1], image.shape[0]] = None
        return image


def _turn(image: np.ndarray, frame: av.video.frame.VideoFrame) -> np.ndarray:
    """Applies a frame's display matrix, [H, W, 3] to [H, W, 3] or [W, H, 3]; angles are rounded to quarters."""
    matrix = next((data for data in frame.side_data if data.type.name == 'DISPLAYMATRIX'), None)
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()  # x' = a x + c y and y' = b x + d y
    if abs(b) + abs(c) > abs(a) + abs(d):
        image = image.swapaxes(0, 1)
        flip_x, flip_y = c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    return np.ascontiguousarray(image[:: -1 if flip_y else 1, :: -1 if flip_x else 1])
