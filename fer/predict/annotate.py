# SPDX-License-Identifier: Apache-2.0
"""The annotated video: each face with its box, its person, its most probable emotion and a bar for each emotion.

The video has 25 frames/s, as the answer does. It is read, painted and encoded frame by frame. The audio is copied.
"""

import itertools
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from fer.emotions import EMOTIONS
from fer.files import atomic_write
from fer.predict.answer import RESPONSIBLE_USE, Answer, FrameRow, name_tier
from fer.predict.palette import COLOURS, to_rgb
from fer.prepare.faces import Box
from fer.prepare.media import (
    FRAMES_PER_SECOND,
    PLAYERS_CHOICE,
    Choice,
    MediaError,
    extract_wav,
    open_audio_packets,
    read_frames,
)

VIDEO_FILE = 'annotated.mp4'
LONGEST_SIDE = 1920  # pixels. Larger videos are scaled down, because few players decode them without delay
_ENCODER = {'preset': 'veryfast', 'crf': '23'}
_KEY_FRAMES = 50  # frames between two that a player can jump to
_BT601, _BT709, _STUDIO_RANGE = 6, 1, 1  # FFmpeg's numbers. OpenCV makes luma and chroma as in BT.601
_COPIED = ('aac', 'ac3', 'alac', 'eac3', 'flac', 'mp3', 'opus')  # codecs of audio that an MP4 may hold
_AUDIO_BITS = 128_000  # per second, of audio that is encoded again
_PANELS = 4  # faces with bars in one frame, the largest ones. Others have a line of text
_GAP_FRAMES = 25  # a hidden face stays hidden where the detector misses it for at most so long
_HIDDEN_MARGIN = 0.3  # on each side of a hidden face, as a share of its box
_HIDDEN_CELLS = 5  # number of blocks across a hidden face
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


class _Scene(NamedTuple):
    """The faces of one frame."""

    rows: list[FrameRow]
    hidden: list[Box]


class _Layout(NamedTuple):
    """Sizes of what is painted, in pixels of the written picture."""

    font: float  # scale of the font
    line: int  # height of a line of text
    names: int  # width of the names of the emotions
    bars: int  # width of a bar of 1
    pad: int

    @property
    def panel(self) -> tuple[int, int]:
        """Returns width and height of the bars of a face."""
        return self.names + self.bars + 3 * self.pad, self.line * len(EMOTIONS) + 2 * self.pad


def write_video(answer: Answer, *, blur_others: bool = False, streams: Choice = PLAYERS_CHOICE) -> list[str]:
    """Writes annotated.mp4: H.264 at 25 frames/s, even sides of at most LONGEST_SIDE pixels, and the audio.

    A player shows it in sync with the answer, because both begin at the source's time 0. The audio is copied. It is
    encoded again, as mono AAC, only if an MP4 cannot hold its codec or its time stamps jump.

    Args:
      answer: for a video that can still be read.
      blur_others: whether to hide the faces of everyone except the main person. A face stays hidden where the detector
        misses it for up to a second.
      streams: of the video that the answer is for.

    Returns:
      Remarks for the user: what had to be changed, or why there is no video.
    """
    path = answer.folder / VIDEO_FILE
    remarks: list[str] = []
    scenes = _hide_others(answer) if blur_others else (_Scene(rows, []) for rows in _rows_by_frame(answer))
    try:
        with atomic_write(path, 'wb') as file, av.open(file, 'w', format='mp4') as target, ExitStack() as stack:
            frames = read_frames(answer.video, streams)
            first = next(frames)
            target.metadata['comment'] = f'Responsible use: {RESPONSIBLE_USE} of the software'
            video = _add_video(target, first, remarks)
            audio = _PacketQueue(target, _add_audio(target, (answer.video, streams), stack, remarks))
            count = 0
            for count, (image, scene) in enumerate(zip(itertools.chain([first], frames), scenes, strict=False), 1):
                target.mux(video.encode(_to_video_frame(_paint(image, scene, (video.width, video.height)), count - 1)))
                audio.mux_until(count / FRAMES_PER_SECOND)
            target.mux(video.encode(None))
            audio.mux_until(float('inf'))
    except MediaError as error:
        path.unlink(missing_ok=True)
        return [f'no {VIDEO_FILE}: {answer.video}: {error}']
    if count != answer.summary['frames']:
        remarks.append(f'{VIDEO_FILE} has {count} frames, but the answer has {answer.summary["frames"]}')
    if blur_others:
        remarks.append(
            f'{VIDEO_FILE} hides faces that were found; watch it before you pass it on, voices are unchanged'
        )
    return remarks


def _rows_by_frame(answer: Answer) -> Iterator[list[FrameRow]]:
    """Yields the rows of each frame, from frame 1 on."""
    expected = 1
    for frame, rows in itertools.groupby(answer.frames(), lambda row: row.frame):
        yield from ([] for _ in range(expected, frame))
        yield [row for row in rows if row.person]
        expected = frame + 1


def main_person(answer: Answer) -> int:
    """Returns whose faces decide the verdict, or who has most frames if the summary does not name one. 0 for none."""
    persons = sorted(answer.summary['persons'], key=lambda person: (-person['frames'], person['id']))
    return answer.summary.get('main_person') or (persons[0]['id'] if persons else 0)


def _hide_others(answer: Answer) -> Iterator[_Scene]:
    """Yields the faces of each frame, and the boxes to hide, also where a face was missed for a short time."""
    main = main_person(answer)
    groups = _rows_by_frame(answer)
    ahead = deque(itertools.islice(groups, _GAP_FRAMES))
    last: dict[int, tuple[int, Box]] = {}  # by person, how many frames ago, and where
    while ahead:
        rows = ahead.popleft()
        ahead.extend(itertools.islice(groups, 1))
        here = {row.person: row.box for row in rows if row.person != main and row.box}
        coming: dict[int, tuple[int, Box]] = {}
        for distance, later in enumerate(ahead, 1):
            for row in later:
                if row.person != main and row.box:
                    coming.setdefault(row.person, (distance, row.box))
        missed = (last.keys() | coming.keys()) - here.keys()
        yield _Scene(rows, [*here.values(), *(_between(last.get(one), coming.get(one)) for one in missed)])
        last = {one: (age + 1, box) for one, (age, box) in last.items() if age < _GAP_FRAMES}
        last |= {one: (1, box) for one, box in here.items()}


def _between(last: tuple[int, Box] | None, coming: tuple[int, Box] | None) -> Box:
    """Returns where a missed face probably is: on the way from its last to its next box, or at the only one of them."""
    if last and coming:
        share = last[0] / (last[0] + coming[0])
        x, y, w, h = np.array(last[1]) * (1 - share) + np.array(coming[1]) * share
        return float(x), float(y), float(w), float(h)
    known = last or coming
    assert known
    return known[1]


def _add_video(target: av.container.OutputContainer, first: np.ndarray, remarks: list[str]) -> av.video.VideoStream:
    """Adds the stream for the frames. Their size is that of the first one, scaled down to LONGEST_SIDE, and even."""
    height, width = first.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    stream = target.add_stream('libx264', rate=FRAMES_PER_SECOND, options=_ENCODER)
    stream.width, stream.height = (max(2, 2 * round(side * scale / 2)) for side in (width, height))
    stream.pix_fmt = 'yuv420p'
    context = stream.codec_context
    context.gop_size = _KEY_FRAMES
    context.color_primaries = context.color_trc = _BT709
    context.colorspace = _BT601
    context.color_range = _STUDIO_RANGE
    if scale < 1:
        remarks.append(f'{VIDEO_FILE} is scaled down from {width}x{height} to {stream.width}x{stream.height}')
    return stream


def _to_video_frame(image: np.ndarray, number: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), 'yuv420p')
    frame.pts = number
    return frame


def _add_audio(
    target: av.container.OutputContainer, video: tuple[Path, Choice], stack: ExitStack, remarks: list[str]
) -> Iterator[av.Packet]:
    """Adds the stream for the audio, if the file has any, and returns its packets."""
    source = stack.enter_context(open_audio_packets(*video))
    if source is None:
        return iter(())
    if source.codec in _COPIED and not source.jumps:
        stream = target.add_stream_from_template(source.stream)
        return _set_stream(source.packets, stream)
    reason = 'its time stamps jump' if source.codec in _COPIED else f'an MP4 cannot hold {source.codec}'
    wav = Path(stack.enter_context(tempfile.TemporaryDirectory()), 'audio.wav')
    if not extract_wav(video[0], wav, video[1]):
        return iter(())
    remarks.append(f'{VIDEO_FILE} has its audio encoded again, as mono AAC, because {reason}')
    container = stack.enter_context(av.open(str(wav)))
    stream = target.add_stream('aac', rate=container.streams.audio[0].rate, layout='mono')
    stream.bit_rate = _AUDIO_BITS
    return (packet for frame in itertools.chain(container.decode(audio=0), [None]) for packet in stream.encode(frame))


def _set_stream(packets: Iterator[av.Packet], stream: av.stream.Stream) -> Iterator[av.Packet]:
    for packet in packets:
        packet.stream = stream
        yield packet


class _PacketQueue:
    """Packets of audio that enter the file as the video does, so that the file's writer never holds many back."""

    def __init__(self, target: av.container.OutputContainer, packets: Iterator[av.Packet]) -> None:
        self._target, self._packets = target, packets
        self._next = next(packets, None)

    def mux_until(self, seconds: float) -> None:
        """Writes the packets that are due before a time."""
        while self._next is not None and float((self._next.dts or 0) * self._next.time_base) < seconds:
            self._target.mux(self._next)
            self._next = next(self._packets, None)


def _paint(image: np.ndarray, scene: _Scene, size: tuple[int, int]) -> np.ndarray:
    """Returns a frame of the written size, with its faces hidden or annotated.

    Args:
      image: uint8 [H, W, 3], RGB.
      scene: its faces, in pixels of `image`.
      size: width and height of the result. A picture of another shape gets black edges.
    """
    scale = min(size[0] / image.shape[1], size[1] / image.shape[0])
    width, height = (min(round(side * scale), most) for side, most in zip(image.shape[1::-1], size, strict=True))
    if abs(width - size[0]) <= 1 and abs(height - size[1]) <= 1:
        width, height = size
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    if (width, height) != image.shape[1::-1]:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    canvas[top : top + height, left : left + width] = image

    def place(box: Box) -> Box:
        x, y, w, h = (scale * value for value in box)
        return x + left, y + top, w, h

    for box in scene.hidden:
        _hide(canvas, place(box))
    layout = _lay_out(size)
    faces = [(row, place(row.box)) for row in scene.rows if row.box]
    by_size = sorted(faces, key=lambda face: -face[1][2] * face[1][3])
    for position, (row, box) in enumerate(by_size):
        _annotate(canvas, row, box, layout, with_bars=position < _PANELS)
    return canvas


def _hide(canvas: np.ndarray, box: Box) -> None:
    """Replaces a face and its surroundings by a few blocks, from which no face can be restored."""
    x, y, w, h = box
    height, width = canvas.shape[:2]
    left, right = (int(np.clip(value, 0, width)) for value in (x - _HIDDEN_MARGIN * w, x + (1 + _HIDDEN_MARGIN) * w))
    top, bottom = (int(np.clip(value, 0, height)) for value in (y - _HIDDEN_MARGIN * h, y + (1 + _HIDDEN_MARGIN) * h))
    if left < right and top < bottom:
        blocks = cv2.resize(canvas[top:bottom, left:right], (_HIDDEN_CELLS,) * 2, interpolation=cv2.INTER_AREA)
        canvas[top:bottom, left:right] = cv2.resize(
            blocks, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR
        )


def _lay_out(size: tuple[int, int]) -> _Layout:
    font = float(np.clip(min(size) / 900, 0.35, 1.2))
    names = max(cv2.getTextSize(name, _FONT, font, 1)[0][0] for name in EMOTIONS)
    return _Layout(font, round(30 * font), names, round(110 * font), round(8 * font))


def _annotate(canvas: np.ndarray, row: FrameRow, box: Box, layout: _Layout, *, with_bars: bool) -> None:
    """Paints the box of a face, its person, its most probable emotion, and its bars if they fit into the picture."""
    height, width = canvas.shape[:2]
    x, y, w, h = (round(value) for value in box)
    text, colour = name_tier(row.person), _WHITE
    if row.probabilities is not None:
        top = int(np.argmax(row.probabilities))
        text += f': {EMOTIONS[top]} {100 * row.probabilities[top]:.0f}%'
        colour = to_rgb(COLOURS[EMOTIONS[top]])
    thickness = max(2, round(3 * layout.font))
    cv2.rectangle(canvas, (x, y), (x + w, y + h), _BLACK, thickness + 2)
    cv2.rectangle(canvas, (x, y), (x + w, y + h), colour, thickness)
    text_width = cv2.getTextSize(text, _FONT, layout.font, 1)[0][0] + 2 * layout.pad
    left = int(np.clip(x, 0, max(0, width - text_width)))
    above = int(np.clip(y - layout.line, 0, max(0, height - layout.line)))
    _darken(canvas, left, above, text_width, layout.line)
    _write(canvas, text, (left + layout.pad, above + round(0.75 * layout.line)), layout.font, _WHITE)
    panel_width, panel_height = layout.panel
    if with_bars and row.probabilities is not None and panel_height <= height and panel_width <= width:
        beside = x + w + thickness if x + w + thickness + panel_width <= width else x - thickness - panel_width
        left = int(np.clip(beside, 0, width - panel_width))
        _paint_bars(canvas, row.probabilities, (left, int(np.clip(y, 0, height - panel_height))), layout)


def _paint_bars(canvas: np.ndarray, probabilities: np.ndarray, corner: tuple[int, int], layout: _Layout) -> None:
    left, top = corner
    _darken(canvas, left, top, *layout.panel)
    first = left + layout.names + 2 * layout.pad
    best = int(np.argmax(probabilities))
    for index, name in enumerate(EMOTIONS):
        line = top + layout.pad + index * layout.line
        colour = _WHITE
        if index == best:
            colour = _BLACK
            cv2.rectangle(canvas, (left, line), (first - layout.pad // 2, line + layout.line), _WHITE, -1)
        _write(canvas, name, (left + layout.pad, line + round(0.75 * layout.line)), layout.font, colour)
        last = first + round(layout.bars * float(probabilities[index]))
        edge = max(1, layout.line // 6)
        cv2.rectangle(canvas, (first, line + edge), (last, line + layout.line - edge), to_rgb(COLOURS[name]), -1)


def _darken(canvas: np.ndarray, left: int, top: int, width: int, height: int) -> None:
    part = canvas[top : top + height, left : left + width]
    part[:] = part // 3


def _write(canvas: np.ndarray, text: str, place: tuple[int, int], font: float, colour: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, place, _FONT, font, colour, 1, cv2.LINE_AA)
