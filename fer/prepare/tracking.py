"""One person through a clip, across its cuts.

Detections are linked into tracks:
- A face continues the track whose box it overlaps best, if they overlap by OVERLAP and are of similar size. The box of
  a track that moves is moved on first. Faces go to the tracks of the frame before, the best overlap first, and only
  what is left over may take up a track that was lost.
- A lost track is taken up by a face that overlaps the place where it was last seen, at a similar size, within MEMORY
  frames, and looks like it. Every other face begins a track.
- A track ends at a cut of the film. It also ends where the picture inside its box changes at once and the new face
  looks like somebody else, because some cuts leave the rest of the picture as it was.

Tracks are then joined to people by how they look (fer/prepare/appearance.py), the largest track first. Two tracks that
are both seen in one frame are two people.

The person followed is the one who has most of the clip. Each frame counts once, and several faces share it by the
squares of their areas, so that the largest gets most of it. Hence somebody larger for a moment does not win, nor does a
close-up between the shots of another, and no frame shows another person's face. Two who sit side by side stay two
tracks. Two who cross while both are seen stay apart by overlap and motion.

Most frames are searched only near the tracks. The whole frame is searched when the main person so far is lost, at a
cut, every SCAN_EVERY frames for newcomers, and every SCAN_IDLE frames while nobody is there; whoever a full search
finds is then looked for back through the frames since the one before. So only who shows for less than that is missed.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from fer.prepare.appearance import DIFFERENT, SAME, describe, distance
from fer.prepare.detectors import Detector
from fer.prepare.faces import Box, Face

OVERLAP = 0.3  # intersection over union of a face with where its track is expected
SIZE_RATIO = 2.0  # of the areas, from one frame to the next
LOST_SIZE_RATIO = 1.5  # of the areas, when a lost track is taken up
MEMORY = 50  # frames, 2 s
CUT = 0.5  # correlation of two frames' thumbnails below which there is a cut between them
MOTION = 4  # frames that a track's motion is measured over
CHANGED = 12  # mean difference of a box's pixels from one frame to the next, in grey levels, that is looked into
DESCRIBE_EVERY = 10  # frames between a track's descriptors
MOST_DESCRIPTORS, MOST_OF_PERSON = 20, 60  # of a track, and of the tracks of a person: they bound time and memory

NO_FACE, OTHER_PERSON = 'no_face', 'other_person'  # why a frame gives no face

SCAN_EVERY = 25  # frames
SCAN_IDLE = 3  # frames


class Seen(NamedTuple):
    """What a frame shows of the person followed."""

    face: Face | None
    why: str  # '' when the face is there; else NO_FACE, or OTHER_PERSON (only somebody else is seen)


class Track:
    """The faces of one person."""

    def __init__(self) -> None:
        self.faces: dict[int, Face] = {}  # by frame
        self.last = -1  # the latest frame
        self.weight = 0.0  # size x time: the sum of the box areas, in pixels
        self.ended = False  # by a cut
        self.descriptors: list[np.ndarray] = []  # float32 [D] each
        self.patch: np.ndarray | None = None  # float32 [8, 8, 3], the pixels of the latest box

    def add(self, time: int, face: Face) -> None:
        """Adds the face that the person shows in a frame which had none of theirs."""
        self.faces[time] = face
        self.last = max(self.last, time)
        self.weight += _area(face.box)

    def observe(self, image: np.ndarray) -> None:
        """Remembers how the latest face looks in its frame."""
        face = self.faces[self.last]
        self.patch = _patch(image, face.box)
        due = len(self.faces) % DESCRIBE_EVERY == 1 and len(self.descriptors) < MOST_DESCRIPTORS
        if due or not self.descriptors:
            self.descriptors.append(describe(image, face))

    def looks_like(self, image: np.ndarray, face: Face) -> bool:
        """Returns whether a face may be this person's."""
        return distance(np.stack(self.descriptors), describe(image, face)[None]) <= SAME

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
    before = None  # thumbnail of the last frame
    last_image = np.zeros((1, 1, 3), np.uint8)
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
        links: list[tuple[Track, int]] = []
        if alive and not scan:
            faces = detector(image, [track.faces[track.last].box for track in alive])
            links = _link(alive, faces, time, image, last_image)
            main = max(present, key=lambda track: track.weight, default=None)
            scan = main is not None and all(track is not main for track, _ in links)
        if scan:
            faces = detector(image)
            links = [] if cut else _link(alive, faces, time, image, last_image)
        for track, index in links:
            track.add(time, faces[index])
            track.observe(image)
        for index in sorted(set(range(len(faces))) - {index for _, index in links}):
            newcomer = Track()
            newcomer.add(time, faces[index])
            newcomer.observe(image)
            if scan and not cut:  # before a cut there is another scene
                _look_back(newcomer, time, unscanned, tracks, detector)
            tracks.append(newcomer)
        if cut:
            for track in tracks:
                track.ended = track.last < time
        unscanned = [] if scan else [*unscanned, image]
        last_image = image
    people = _join(tracks)
    followed = _choose(people)
    seen = []
    for time in range(count):
        face = followed.faces.get(time)
        others = any(time in person.faces for person in people)
        seen.append(Seen(face, '' if face else OTHER_PERSON if others else NO_FACE))
    return seen


def take_largest(frames: Iterable[np.ndarray], detector: Detector) -> list[Seen]:
    """Takes the largest face of each frame, whoever it is.

    Most published AFEW pipelines did so. Faces of several people then follow each other in one sequence.

    Args:
      frames: as in `follow`.
      detector: searches every frame as a whole.

    Returns:
      As many as there are frames.
    """
    largest = (max(detector(image), key=lambda face: _area(face.box), default=None) for image in frames)
    return [Seen(face, '' if face else NO_FACE) for face in largest]


def _join(tracks: Sequence[Track]) -> list[Track]:
    """Joins the tracks that look like one person and never share a frame, in the order of their first frames."""
    people: list[Track] = []
    for track in sorted(tracks, key=lambda track: -track.weight):
        descriptors = np.stack(track.descriptors)
        apart = [person for person in people if person.faces.keys().isdisjoint(track.faces)]
        distances = [distance(np.stack(person.descriptors), descriptors) for person in apart]
        nearest = int(np.argmin(distances)) if distances else -1
        if nearest < 0 or distances[nearest] > SAME:
            person = Track()
            people.append(person)
        else:
            person = apart[nearest]
        for time, face in track.faces.items():
            person.add(time, face)
        person.descriptors += track.descriptors[: MOST_OF_PERSON - len(person.descriptors)]
    return sorted(people, key=lambda person: min(person.faces))


def _choose(people: Sequence[Track]) -> Track:
    """Returns the person to follow, or one without faces if there is nobody."""
    totals: dict[int, float] = defaultdict(float)  # by frame, of all faces
    for person in people:
        for time, face in person.faces.items():
            totals[time] += _area(face.box) ** 2
    shares = [
        sum(_area(face.box) ** 2 / max(totals[time], 1e-9) for time, face in person.faces.items()) for person in people
    ]
    return people[int(np.argmax(shares))] if people else Track()


def _link(
    tracks: Sequence[Track], faces: Sequence[Face], time: int, image: np.ndarray, before: np.ndarray
) -> list[tuple[Track, int]]:
    """Returns pairs of a track and the index of its face.

    The best overlap goes first, and tracks of the frame before go before lost ones.
    """
    pairs = []
    for track in tracks:
        lost, box = time - track.last > 1, track.expected(time)
        for index, face in enumerate(faces):
            overlap = iou(box, face.box)
            ratio = _area(face.box) / max(_area(box), 1e-9)
            similar = abs(np.log(max(ratio, 1e-9))) <= np.log(LOST_SIZE_RATIO if lost else SIZE_RATIO)
            if overlap >= OVERLAP and similar and _may_continue(track, face, lost, image, before):
                pairs.append((lost, -overlap, track, index))
    pairs.sort(key=lambda pair: pair[:2])
    links: list[tuple[Track, int]] = []
    for _, _, track, index in pairs:
        if all(track is not other and index != taken for other, taken in links):
            links.append((track, index))
    return links


def _may_continue(track: Track, face: Face, lost: bool, image: np.ndarray, before: np.ndarray) -> bool:
    """Returns whether a face at a track's place is the same person's. Looks are compared where there is a doubt.

    Args:
      track: of the person.
      face: at its place.
      lost: whether the track has no face in the frame before.
      image: the face's frame.
      before: the frame before.
    """
    if lost:
        return track.looks_like(image, face)
    assert track.patch is not None
    if np.abs(_patch(image, face.box) - track.patch).mean() <= CHANGED:
        return True
    return distance(describe(before, track.faces[track.last])[None], describe(image, face)[None]) <= DIFFERENT


def _patch(image: np.ndarray, box: Box) -> np.ndarray:
    """Returns float32 [8, 8, 3], the pixels of a box, which may reach beyond the image."""
    height, width = image.shape[:2]
    left, top = (min(max(round(value), 0), side - 1) for value, side in zip(box[:2], (width, height), strict=True))
    right, bottom = max(left + 1, round(box[0] + box[2])), max(top + 1, round(box[1] + box[3]))
    inside = image[top:bottom, left:right]
    return cv2.resize(inside, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32)


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
            if iou(face.box, box) >= OVERLAP
            and all(iou(face.box, other) < OVERLAP for other in taken)
            and newcomer.looks_like(image, face)
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
