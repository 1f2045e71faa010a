# SPDX-License-Identifier: Apache-2.0
"""Follows one person through a clip, across its cuts.

Faces are linked into tracks, each of one person:
- A face continues the track whose box it overlaps best, if they overlap by OVERLAP and are of similar size. A moving
  track's box is first moved to its expected place. Tracks with a face in the frame before are matched first, in the
  order of their overlap. Only the faces left over may continue a lost track.
- A face continues a lost track if the track was lost at most MEMORY frames ago, the face overlaps its last place at a
  similar size, and it looks like the same person. Every other face begins a track.
- A track ends at a cut of the film. It also ends when the picture inside its box changes suddenly and the new face
  looks like a different person, because some cuts leave the rest of the picture unchanged.

Tracks are then joined to people by how they look (fer/prepare/appearance.py), the largest track first. Two tracks with
faces in the same frame are two people.

The followed person is the one who has most of the clip. Each frame counts once. Several faces share it in proportion to
the squares of their areas, so the largest face gets most of it. A person who is larger for a moment therefore does not
win, nor does a close-up between the shots of another person. The result never has another person's face. Two people who
sit side by side stay two tracks. Two people who cross while both are visible stay apart by overlap and motion.

Most frames are searched only near the tracks. The whole frame is searched:
- when the main person so far is lost
- at a cut
- every SCAN_EVERY frames, for newcomers
- every SCAN_IDLE frames while no person is visible

A newcomer whom a full search finds is then searched for in the frames since the full search before. Only a person who
comes and goes between two full searches is missed.
"""

import os
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from fer.files import naming
from fer.prepare.appearance import DIFFERENT_PEOPLE, SAME_PERSON, describe, distance
from fer.prepare.detectors import Detector
from fer.prepare.faces import Box, Face

OVERLAP = 0.3  # intersection over union of a face with the expected place of its track
SIZE_RATIO = 2.0  # of the areas, from one frame to the next
LOST_SIZE_RATIO = 1.5  # of the areas, from a lost track to its next face
MEMORY = 50  # frames, 2 s
CUT = 0.5  # correlation of two frames' thumbnails below which there is a cut between them
MOTION = 4  # frames over which a track's motion is measured
CHANGED = 12  # mean difference in grey levels of a box's pixels in two frames, above which the faces are compared
DESCRIBE_EVERY = 10  # frames between a track's descriptors
MOST_DESCRIPTORS, MOST_OF_PERSON = 20, 60  # descriptors of a track and of a person, to limit time and memory

NO_FACE, OTHER_PERSON = 'no_face', 'other_person'  # reasons why a frame has no face of the followed person

SCAN_EVERY = 25  # frames
SCAN_IDLE = 3  # frames
IN_MEMORY = 500  # descriptors, 2 MB. The others of a video are in a file
LARGEST_HELD = 2**29  # bytes of pictures between two full searches. 4K is searched every 21 frames, 8K every 5


class TrackedFrame(NamedTuple):
    """The followed person's face in one frame."""

    face: Face | None
    reason_missing: str  # '' if there is a face, else NO_FACE, or OTHER_PERSON if only other people are visible


class Track:
    """The faces of one person: numbers and the latest faces only, so that long videos need little memory."""

    def __init__(self, number: int, descriptors: 'DescriptorFile') -> None:
        self.number = number  # among the tracks of the video, from 0
        self.faces: dict[int, Face] = {}  # by frame, the latest ones
        self.length = 0  # faces
        self.last = -1  # the latest frame
        self.weight = 0.0  # size x time: the sum of the box areas, in pixels
        self.ended = False  # by a cut
        self.descriptors: list[int] = []  # places in the file
        self.patch: np.ndarray | None = None  # float32 [8, 8, 3], the pixels of the latest box
        self.spans = array('i')  # first and last frame of each run of faces, of settled frames
        self._file = descriptors

    def add(self, time: int, face: Face) -> None:
        """Adds the person's face in a frame that had none of theirs."""
        self.faces[time] = face
        self.length += 1
        self.last = max(self.last, time)
        self.weight += area(face.box)

    def observe(self, image: np.ndarray) -> None:
        """Remembers the appearance of the latest face in its frame."""
        face = self.faces[self.last]
        self.patch = _patch(image, face.box)
        due = self.length % DESCRIBE_EVERY == 1 and len(self.descriptors) < MOST_DESCRIPTORS
        if due or not self.descriptors:
            self.descriptors.append(self._file.append(describe(image, face)))

    def resembles(self, image: np.ndarray, face: Face) -> bool:
        """Returns True if a face may be this person's."""
        return distance(self._file.read(self.descriptors), describe(image, face)[None]) <= SAME_PERSON

    def expected_box(self, time: int) -> Box:
        """Returns the last box, moved on by the track's motion if `time` is the next frame."""
        left, top, width, height = self.faces[self.last].box
        earlier = self.faces.get(self.last - MOTION)
        if time > self.last + 1 or earlier is None:
            return left, top, width, height
        right = (left + width / 2 - earlier.box[0] - earlier.box[2] / 2) / MOTION
        down = (top + height / 2 - earlier.box[1] - earlier.box[3] / 2) / MOTION
        return left + right, top + down, width, height

    def settle(self, time: int) -> None:
        """Notes a face in a frame that no longer changes."""
        if self.spans and self.spans[-1] == time - 1:
            self.spans[-1] = time
        else:
            self.spans.extend((time, time))

    def forget(self, before: int) -> None:
        """Forgets the faces of frames before a time, except those that motion is measured from."""
        kept = min(before, self.last - MOTION)
        if self.faces and min(self.faces) < kept:
            self.faces = {time: face for time, face in self.faces.items() if time >= kept}


class DescriptorFile:
    """Descriptors of faces, most of them in a temporary file, because those of an hour would fill the memory."""

    def __init__(self) -> None:
        self._first: list[np.ndarray] = []
        self._file = tempfile.TemporaryFile(prefix='fer-tracks-')  # noqa: SIM115 (it lives as long as the tracker)
        self._count = 0
        self._bytes = 0  # of one descriptor

    def append(self, descriptor: np.ndarray) -> int:
        """Writes float32 [D]. Returns its place."""
        self._count += 1
        if len(self._first) < IN_MEMORY:
            self._first.append(descriptor)
        else:
            with naming(tempfile.gettempdir()):
                self._file.seek(0, os.SEEK_END)
                self._bytes = self._file.write(descriptor.tobytes())
                self._file.flush()
        return self._count - 1

    def read(self, places: Sequence[int]) -> np.ndarray:
        """Returns float32 [N, D]."""
        return np.stack(
            [self._first[place] if place < IN_MEMORY else self._read(place - IN_MEMORY) for place in places]
        )

    def _read(self, row: int) -> np.ndarray:
        content = os.pread(self._file.fileno(), self._bytes, row * self._bytes)
        return np.frombuffer(content, np.float32)


class SettledFrame(NamedTuple):
    """A frame whose faces no longer change."""

    time: int  # from 0
    image: np.ndarray  # uint8 [H, W, 3] RGB
    faces: list[tuple[int, Face]]  # number of the track and its face


class People(NamedTuple):
    """The people of a video, in the order in which they appear."""

    of_track: list[int]  # the person of each track, from 0
    number: int


def follow(frames: Iterable[np.ndarray], detector: Detector) -> list[TrackedFrame]:
    """Finds the clip's main person in each of its frames.

    Args:
      frames: uint8 [H, W, 3] RGB in time order, 0.04 s apart. At most SCAN_EVERY of them are held in memory.
      detector: a detector of fer/prepare/detectors.py.

    Returns:
      One TrackedFrame for each frame.
    """
    tracker = Tracker(detector)
    found: list[list[tuple[int, Face]]] = []
    for image in frames:
        found += [frame.faces for frame in tracker.add_frame(image)]
    found += [frame.faces for frame in tracker.finish()]
    people = tracker.join()
    main = main_person(people, ([(track, face.box) for track, face in faces] for faces in found))
    tracked = []
    for faces in found:
        face = next((face for track, face in faces if people.of_track[track] == main), None)
        tracked.append(TrackedFrame(face, '' if face else OTHER_PERSON if faces else NO_FACE))
    return tracked


def take_largest(frames: Iterable[np.ndarray], detector: Detector) -> list[TrackedFrame]:
    """Takes the largest face of each frame, whoever it is.

    Most published AFEW pipelines did so. Faces of several people then follow each other in one sequence.

    Args:
      frames: uint8 [H, W, 3] RGB in time order.
      detector: a detector of fer/prepare/detectors.py. It searches all of every frame.

    Returns:
      One TrackedFrame for each frame.
    """
    largest = (largest_face(detector(image)) for image in frames)
    return [TrackedFrame(face, '' if face else NO_FACE) for face in largest]


def largest_face(faces: Iterable[Face]) -> Face | None:
    """Returns the face with the largest box, None without faces."""
    return max(faces, key=lambda face: area(face.box), default=None)


def main_person(people: People, frames: Iterable[Sequence[tuple[int, Box]]]) -> int:
    """Returns the person who has most of the video, -1 without people.

    Args:
      people: of the video.
      frames: the tracks in each frame and their boxes.
    """
    shares = np.zeros(people.number)
    for boxes in frames:
        total = sum(area(box) ** 2 for _, box in boxes)
        for track, box in boxes:
            shares[people.of_track[track]] += area(box) ** 2 / max(total, 1e-9)
    return int(np.argmax(shares)) if people.number else -1


class Tracker:
    """The tracks of a video, which grow frame by frame.

    A frame settles with the next full search, because a newcomer is then searched for in the frames before.

    Attributes:
      tracks: of all frames so far.
      time: the number of frames so far.
    """

    def __init__(self, detector: Detector) -> None:
        self.tracks: list[Track] = []
        self.time = 0
        self._detector = detector
        self._alive: list[Track] = []  # that may continue
        self._unscanned: list[np.ndarray] = []  # the frames since the last full search
        self._thumbnail: np.ndarray | None = None  # of the last frame
        self._last_image = np.zeros((1, 1, 3), np.uint8)
        self._descriptors = DescriptorFile()

    def add_frame(self, image: np.ndarray) -> list[SettledFrame]:
        """Finds the faces of the next frame and adds them to the tracks.

        Args:
          image: uint8 [H, W, 3] RGB.

        Returns:
          The frames that are settled now, each once and in order.
        """
        cut = self._is_after_cut(image)
        faces, links, scanned = self._find_faces(image, cut=cut)
        for track, index in links:
            track.add(self.time, faces[index])
            track.observe(image)
        for index in sorted(set(range(len(faces))) - {index for _, index in links}):
            newcomer = Track(len(self.tracks), self._descriptors)
            newcomer.add(self.time, faces[index])
            newcomer.observe(image)
            if scanned and not cut:  # the frames before a cut show a different scene
                self._add_earlier_faces(newcomer)
            self.tracks.append(newcomer)
            self._alive.append(newcomer)
        if cut:
            for track in self._alive:
                track.ended = track.last < self.time
        self._unscanned.append(image)
        self._last_image = image
        self.time += 1
        return self._settle() if scanned else []

    def finish(self) -> list[SettledFrame]:
        """Returns the frames at the end of the video that are not settled yet."""
        return self._settle()

    def join(self) -> People:
        """Returns the people of a finished video. Tracks that look alike and never share a frame are one person's."""
        groups: list[_Group] = []
        for track in sorted(self.tracks, key=lambda track: -track.weight):
            own = self._descriptors.read(track.descriptors)
            apart = [group for group in groups if not any(_overlap(track.spans, spans) for spans in group.spans)]
            distances = [distance(self._descriptors.read(group.descriptors), own) for group in apart]
            nearest = int(np.argmin(distances)) if distances else -1
            if nearest < 0 or distances[nearest] > SAME_PERSON:
                group = _Group([], [], [])
                groups.append(group)
            else:
                group = apart[nearest]
            group.tracks.append(track.number)
            group.spans.append(track.spans)
            group.descriptors.extend(track.descriptors[: MOST_OF_PERSON - len(group.descriptors)])
        groups.sort(key=lambda group: min(spans[0] for spans in group.spans))
        of_track = [0] * len(self.tracks)
        for person, group in enumerate(groups):
            for number in group.tracks:
                of_track[number] = person
        return People(of_track, len(groups))

    def _settle(self) -> list[SettledFrame]:
        first = self.time - len(self._unscanned)
        settled = []
        for time, image in enumerate(self._unscanned, start=first):
            faces = [(track.number, track.faces[time]) for track in self._alive if time in track.faces]
            for track in self._alive:
                if time in track.faces:
                    track.settle(time)
            settled.append(SettledFrame(time, image, faces))
        self._unscanned = []
        for track in self._alive:
            track.forget(self.time)
            if track.ended or self.time - track.last > MEMORY:
                track.faces, track.patch = {}, None
        self._alive = [track for track in self._alive if track.faces]
        return settled

    def _is_after_cut(self, image: np.ndarray) -> bool:
        before, self._thumbnail = self._thumbnail, _make_thumbnail(image)
        return before is not None and _are_cut_apart(before, self._thumbnail)

    def _find_faces(self, image: np.ndarray, *, cut: bool) -> tuple[list[Face], list[tuple[Track, int]], bool]:
        """Searches a frame near the tracks, or all of it when a full search is due or the main person is lost.

        Returns:
          The faces, (track, index of its face) pairs, and True after a full search.
        """
        alive = [track for track in self._alive if not track.ended and self.time - track.last <= MEMORY]
        present = [track for track in alive if track.last == self.time - 1]
        scan = self.time == 0 or cut or len(self._unscanned) + 1 >= (_scan_every(image) if present else SCAN_IDLE)
        faces: list[Face] = []
        links: list[tuple[Track, int]] = []
        if alive and not scan:
            faces = self._detector(image, [track.faces[track.last].box for track in alive])
            links = _link(alive, faces, self.time, image, self._last_image)
            main = max(present, key=lambda track: track.weight, default=None)
            scan = main is not None and all(track is not main for track, _ in links)
        if scan:
            faces = self._detector(image)
            links = [] if cut else _link(alive, faces, self.time, image, self._last_image)
        return faces, links, scan

    def _add_earlier_faces(self, newcomer: Track) -> None:
        """Adds a newcomer's faces in the frames since the last full search. Goes backwards until a frame has none."""
        box = newcomer.faces[self.time].box
        for time, image in zip(range(self.time - 1, -1, -1), reversed(self._unscanned), strict=False):
            taken = [track.faces[time].box for track in self._alive if time in track.faces]
            faces = [
                face
                for face in self._detector(image, [box])
                if iou(face.box, box) >= OVERLAP
                and all(iou(face.box, other) < OVERLAP for other in taken)
                and newcomer.resembles(image, face)
            ]
            if not faces:
                return
            face = max(faces, key=lambda face: iou(face.box, box))
            newcomer.add(time, face)
            box = face.box


class _Group(NamedTuple):
    """The tracks of one person."""

    tracks: list[int]  # numbers
    spans: list[array]  # of each track
    descriptors: list[int]  # places in the file


def _overlap(first: array, second: array) -> bool:
    """Returns whether two tracks share a frame, given the runs of frames of each in order."""
    if first[-1] < second[0] or second[-1] < first[0]:
        return False
    i = j = 0
    while i < len(first) and j < len(second):
        if first[i + 1] < second[j]:
            i += 2
        elif second[j + 1] < first[i]:
            j += 2
        else:
            return True
    return False


def _scan_every(image: np.ndarray) -> int:
    """Returns SCAN_EVERY, or less for pictures so large that the frames between two full searches fill the memory."""
    return int(np.clip(LARGEST_HELD / image.nbytes, SCAN_IDLE, SCAN_EVERY))


def _link(
    tracks: Sequence[Track], faces: Sequence[Face], time: int, image: np.ndarray, last_image: np.ndarray
) -> list[tuple[Track, int]]:
    """Returns pairs of a track and the index of its face.

    Tracks with a face in the frame before come first, then lost tracks, each group in the order of overlap.
    """
    pairs = []
    for track in tracks:
        lost, box = time - track.last > 1, track.expected_box(time)
        for index, face in enumerate(faces):
            overlap = iou(box, face.box)
            ratio = area(face.box) / max(area(box), 1e-9)
            similar = abs(np.log(max(ratio, 1e-9))) <= np.log(LOST_SIZE_RATIO if lost else SIZE_RATIO)
            if overlap >= OVERLAP and similar and _may_continue(track, face, image, last_image, lost=lost):
                pairs.append((lost, -overlap, track, index))
    pairs.sort(key=lambda pair: pair[:2])
    links: list[tuple[Track, int]] = []
    for _, _, track, index in pairs:
        if all(track is not other and index != taken for other, taken in links):
            links.append((track, index))
    return links


def _may_continue(track: Track, face: Face, image: np.ndarray, last_image: np.ndarray, *, lost: bool) -> bool:
    """Returns True if a face may be the next of a track.

    A face that follows in the next frame is compared with the track's last face only if the picture in the box changed.

    Args:
      track: the track.
      face: a face at the track's expected place.
      image: the face's frame, uint8 [H, W, 3].
      last_image: the frame before, uint8 [H, W, 3].
      lost: True if the track has no face in the frame before.
    """
    if lost:
        return track.resembles(image, face)
    assert track.patch is not None
    if np.abs(_patch(image, face.box) - track.patch).mean() <= CHANGED:
        return True
    last_face = describe(last_image, track.faces[track.last])
    return distance(last_face[None], describe(image, face)[None]) <= DIFFERENT_PEOPLE


def _patch(image: np.ndarray, box: Box) -> np.ndarray:
    """Returns float32 [8, 8, 3], the pixels of a box, which may reach beyond the image."""
    height, width = image.shape[:2]
    left, top = (min(max(round(value), 0), side - 1) for value, side in zip(box[:2], (width, height), strict=True))
    right, bottom = max(left + 1, round(box[0] + box[2])), max(top + 1, round(box[1] + box[3]))
    inside = image[top:bottom, left:right]
    return cv2.resize(inside, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32)


def iou(a: Box, b: Box) -> float:
    """Returns the intersection over union of two boxes, in [0, 1]."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / max(area(a) + area(b) - shared, 1e-9)


def area(box: Box) -> float:
    """Returns the area of a box in pixels."""
    return box[2] * box[3]


def _make_thumbnail(image: np.ndarray) -> np.ndarray:
    """Returns float64 [P] with mean 0, so that brighter light does not count as a cut."""
    small = cv2.resize(image, (32, 18), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    return small - small.mean()


def _are_cut_apart(before: np.ndarray, after: np.ndarray) -> bool:
    return bool(before @ after < CUT * np.linalg.norm(before) * np.linalg.norm(after))
