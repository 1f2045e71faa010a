"""One person through a clip.

Detections are linked into tracks, a track being one person:
- A face continues the track whose box it overlaps best, if they overlap by OVERLAP and are of similar size. The box of
  a track that moves is moved on first. Faces go to the tracks of the frame before, the best overlap first, and only
  what is left over may take up a track that was lost.
- A lost track is taken up by a face that overlaps the place where it was last seen, at a similar size, within MEMORY
  frames. Every other face begins a track.
- Across a cut of the film nothing is alike but what has not moved at all (SAME_PLACE); all other tracks end there.

The person followed is the track with the largest sum of box areas over its frames, size x time; the earliest of equals.
Hence somebody larger for a moment does not win, and no frame shows another track's face. Two who sit side by side stay
two tracks. Two who cross while both are seen stay apart by overlap and motion. Who disappears behind the other is
lost, and is a new person where they come out unless that is near where they went in. Only a stranger who takes a lost
person's very place within MEMORY frames, at the same size, is taken for them.

Most frames are searched only near the tracks. The whole frame is searched when the main person so far is lost, at a
cut, every SCAN_EVERY frames for newcomers, and every SCAN_IDLE frames while nobody is there; whoever a full search
finds is then looked for back through the frames since the one before. So only who shows for less than that is missed.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from fer.prepare.detectors import Detector
from fer.prepare.faces import Box, Face

OVERLAP = 0.3  # intersection over union of a face with where its track is expected
SIZE_RATIO = 2.0  # of the areas, from one frame to the next
LOST_SIZE_RATIO = 1.5  # of the areas, when a lost track is taken up
MEMORY = 50  # frames, 2 s
SAME_PLACE = 0.9  # intersection over union across a cut
CUT = 0.5  # correlation of two frames' thumbnails below which there is a cut between them
MOTION = 4  # frames that a track's motion is measured over

SCAN_EVERY = 25  # frames
SCAN_IDLE = 3  # frames


class Seen(NamedTuple):
    """What a frame shows of the person followed."""

    face: Face | None
    why: str  # '' when the face is there; else 'no_face', or 'other_person' (only somebody else is seen)


class Track:
    """The faces of one person."""

    def __init__(self) -> None:
        self.faces: dict[int, Face] = {}  # by frame
        self.last = -1  # the latest frame
        self.weight = 0.0  # size x time: the sum of the box areas, in pixels
        self.ended = False  # by a cut

    def add(self, time: int, face: Face) -> None:
        """The person shows this face in a frame that had none of theirs."""
        self.faces[time] = face
        self.last = max(self.last, time)
        self.weight += _area(face.box)

    def expected(self, time: int) -> Box:
        """Its box at the frame after the last, moved on as it has moved; later, where it was last seen."""
        left, top, width, height = self.faces[self.last].box
        earlier = self.faces.get(self.last - MOTION)
        if time > self.last + 1 or earlier is None:
            return left, top, width, height
        right = (left + width / 2 - earlier.box[0] - earlier.box[2] / 2) / MOTION
        down = (top + height / 2 - earlier.box[1] - earlier.box[3] / 2) / MOTION
        return left + right, top + down, width, height


def follow(frames: Iterable[np.ndarray], detector: Detector) -> list[Seen]:
    """Finds the clip's main person in each of its frames.

    Args:
      frames: uint8 [H, W, 3] RGB in time order, 0.04 s apart; at most SCAN_EVERY of them are held.
      detector: see fer/prepare/detectors.py.

    Returns:
      As many as there are frames.
    """
    tracks: list[Track] = []
    unscanned: list[np.ndarray] = []  # the frames since the last that was searched as a whole
    before = None
    count = 0
    for time, image in enumerate(frames):
        count = time + 1
        thumbnail = _thumbnail(image)
        cut = before is not None and _is_cut(before, thumbnail)
        before = thumbnail
        alive = [track for track in tracks if not track.ended and time - track.last <= MEMORY]
        present = [track for track in alive if track.last == time - 1]
        scan = time == 0 or cut or len(unscanned) + 1 >= (SCAN_EVERY if present else SCAN_IDLE)
        faces: list[Face] = []
        if alive and not scan:
            faces = detector(image, [track.faces[track.last].box for track in alive])
            linked = [track for track, _ in _link(alive, faces, time, cut)]
            main = max(present, key=lambda track: track.weight, default=None)
            scan = main is not None and main not in linked
        if scan:
            faces = detector(image)
        links = _link(alive, faces, time, cut)
        for track, index in links:
            track.add(time, faces[index])
        for index in sorted(set(range(len(faces))) - {index for _, index in links}):
            newcomer = Track()
            newcomer.add(time, faces[index])
            if scan:
                _look_back(newcomer, time, unscanned, tracks, detector)
            tracks.append(newcomer)
        if cut:
            for track in tracks:
                track.ended = track.last < time
        unscanned = [] if scan else [*unscanned, image]
    followed = max(tracks, key=lambda track: track.weight, default=Track())
    seen = []
    for time in range(count):
        face = followed.faces.get(time)
        others = any(time in track.faces for track in tracks)
        seen.append(Seen(face, '' if face else 'other_person' if others else 'no_face'))
    return seen


def _link(tracks: Sequence[Track], faces: Sequence[Face], time: int, cut: bool) -> list[tuple[Track, int]]:
    """Pairs of a track and the index of its face, the best overlap first, tracks of the frame before lost ones."""
    pairs = []
    for track in tracks:
        lost, box = time - track.last > 1, track.expected(time)
        for index, face in enumerate(faces):
            overlap = iou(box, face.box)
            ratio = _area(face.box) / max(_area(box), 1e-9)
            similar = abs(np.log(max(ratio, 1e-9))) <= np.log(LOST_SIZE_RATIO if lost else SIZE_RATIO)
            if overlap >= (SAME_PLACE if cut else OVERLAP) and similar and not (cut and lost):
                pairs.append((lost, -overlap, track, index))
    pairs.sort(key=lambda pair: pair[:2])
    links: list[tuple[Track, int]] = []
    for _, _, track, index in pairs:
        if all(track is not other and index != taken for other, taken in links):
            links.append((track, index))
    return links


def _look_back(
    newcomer: Track, time: int, frames: Sequence[np.ndarray], tracks: Sequence[Track], detector: Detector
) -> None:
    """Adds the faces of a newcomer at `time` in the frames before it, the latest first, while they are there."""
    box = newcomer.faces[time].box
    for earlier, image in zip(range(time - 1, -1, -1), reversed(frames), strict=False):
        taken = [track.faces[earlier].box for track in tracks if earlier in track.faces]
        faces = [
            face
            for face in detector(image, [box])
            if iou(face.box, box) >= OVERLAP and all(iou(face.box, other) < OVERLAP for other in taken)
        ]
        if not faces:
            return
        face = max(faces, key=lambda face: iou(face.box, box))
        newcomer.add(earlier, face)
        box = face.box


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / max(_area(a) + _area(b) - shared, 1e-9)


def _area(box: Box) -> float:
    return box[2] * box[3]


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """[P] float64 with mean 0, so that a change of the light is no change."""
    small = cv2.resize(image, (32, 18), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    return small - small.mean()


def _is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    return bool(before @ after < CUT * np.linalg.norm(before) * np.linalg.norm(after))
