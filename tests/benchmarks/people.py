# SPDX-License-Identifier: Apache-2.0
"""Measures tracking across cuts: python -m tests.benchmarks.people [--clips=FOLDER] [--pairs=20] [--features]

It takes some minutes. Scenes with two or three people are made from clips of one person each, so that the person of
every frame is known:
- A B A: the second person between two pieces of the first
- shot and reverse shot: pieces of 15 frames, two of the first person for one of the second
- passing by: a third person, cut out with hair and shoulders, crosses the first one's picture within 20 frames

Printed for each scene: how many of the main person's frames are kept, of those in which the detector finds a face in
the clip itself, and how many frames give another person's face. Synthetic people are searched with the skin detector,
real people with MTCNN. `--features` also prints how well each descriptor separates people, on pieces of these clips.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from absl import flags

from fer import cli
from fer.prepare.appearance import describe, distance
from fer.prepare.detectors import DETECTORS, Detector
from fer.prepare.faces import Face, align
from fer.prepare.media import read_frames
from fer.prepare.synthetic.frames import draw_frames
from fer.prepare.synthetic.plan import clip_rng, plan_split
from fer.prepare.synthetic.script import write_script
from fer.prepare.tracking import TrackedFrame, follow
from tests.realmedia import find_realdata

flags.DEFINE_string('clips', None, 'Folder of clips of one person each. Default: those of the tests (FER_REALDATA).')
flags.DEFINE_integer('pairs', 20, 'Synthetic people that the scenes are made of, two at a time.', lower_bound=1)
flags.DEFINE_bool('features', False, 'Also compare descriptors.')

REAL = ('Val_AFEW/Sad/000000001.mp4', 'Val_AFEW/Happy/000000002.mp4', 'ravdess_video/01-01-01-01-01-01-01.mp4')
SIZE = (640, 360)  # of every real picture, width and height
PIECE = 15  # frames of a shot
MAIN, OTHER = 0, 1


class Clip(NamedTuple):
    """Pictures of one person."""

    frames: list[np.ndarray]  # uint8 [H, W, 3] RGB
    tracked: list[TrackedFrame]  # the face found in each frame


class Scene(NamedTuple):
    """A film with two or three people."""

    frames: list[np.ndarray]
    truth: list[int]  # the person of each frame, MAIN or OTHER. MAIN if it shows both.
    found: list[bool]  # True if the detector finds the main person's face in the clip itself
    boxes: list[tuple[float, ...] | None]  # place of the other person, in frames that show both


def main() -> None:
    cv2.setNumThreads(1)
    print('people     scene                    frames of the main person  kept            of others')
    synthetic = list(make_clips(flags.FLAGS.pairs, DETECTORS['skin']()))
    pairs = list(zip(synthetic, synthetic[1:] + synthetic[:1], strict=True))
    measure('synthetic', synthetic, pairs, DETECTORS['skin']())
    folder = Path(flags.FLAGS.clips) if flags.FLAGS.clips else find_realdata()
    real: list[Clip] = []
    if folder is None:
        print('no real clips (FER_REALDATA)')
    else:
        mtcnn = DETECTORS['mtcnn']()
        real = [read_clip(folder / name, mtcnn) for name in REAL]
        measure('real', real, list(permutations(real, 2)), mtcnn)
    if flags.FLAGS.features:
        compare_features({'synthetic': synthetic, 'real': real})


def make_clips(number: int, detector: Detector) -> Iterator[Clip]:
    """Yields clips of different synthetic people, in which a face is nearly always found."""
    people = set()
    for plan in plan_split('Train', 40 + 4 * number, seed=11):
        script = write_script(plan, 11)
        if script.identity.person in people or (script.shots != 0).mean() > 0.1 or len(script.shots) < 4 * PIECE:
            continue
        frames = list(draw_frames(script, clip_rng(plan, 11, 1)))
        people.add(script.identity.person)
        yield Clip(frames, follow(iter(frames), detector))
        if len(people) == number:
            return


def read_clip(path: Path, detector: Detector) -> Clip:
    frames = [cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA) for frame in read_frames(path)]
    return Clip(frames, follow(iter(frames), detector))


def cut_between(main: Clip, other: Clip) -> Scene:
    """Makes a scene A B A."""
    half, length = len(main.frames) // 2, len(main.frames)
    between = list(range(min(half, len(other.frames))))[: half - 1]
    return splice([(main, range(half)), (other, between), (main, range(half, length))], main)


def shot_and_reverse(main: Clip, other: Clip) -> Scene:
    pieces: list[tuple[Clip, Sequence[int]]] = []
    for number, start in enumerate(range(0, len(main.frames), PIECE)):
        pieces.append((main, range(start, min(start + PIECE, len(main.frames)))))
        if number % 2:
            begin = (number // 2) * PIECE % max(1, len(other.frames) - PIECE)
            pieces.append((other, range(begin, min(begin + PIECE, len(other.frames)))))
    return splice(pieces, main)


def splice(pieces: Sequence[tuple[Clip, Sequence[int]]], main: Clip) -> Scene:
    parts = [(clip, index) for clip, indices in pieces for index in indices]
    return Scene(
        [clip.frames[index] for clip, index in parts],
        [MAIN if clip is main else OTHER for clip, _ in parts],
        [clip.tracked[index].face is not None for clip, index in parts],
        [None] * len(parts),
    )


def pass_by(main: Clip, other: Clip) -> Scene:
    """Makes a scene where the other person, cut out, crosses the main person's picture within 20 frames."""
    index = next(index for index, frame in enumerate(other.tracked) if frame.face)
    face = other.tracked[index].face
    assert face is not None
    left, top, width, height = face.box
    first = max(0, int(left - 0.3 * width))
    figure = other.frames[index][max(0, int(top - height / 3)) :, first : int(left + 1.3 * width)]
    frames: list[np.ndarray] = [frame.copy() for frame in main.frames]
    boxes: list[tuple[float, ...] | None] = [None] * len(frames)
    screen_height, screen_width = frames[0].shape[:2]
    for step in range(20):
        time = min(len(frames) // 3 + step, len(frames) - 1)
        at = step * screen_width // 19 - figure.shape[1] // 2
        begin, end = max(0, at), min(screen_width, at + figure.shape[1])
        if end > begin:
            above = max(0, screen_height - figure.shape[0])  # the shoulders reach the lower edge
            frames[time][above:, begin:end] = figure[: screen_height - above, begin - at : end - at]
            boxes[time] = (begin, above, end - begin, screen_height - above)
    return Scene(frames, [MAIN] * len(frames), [frame.face is not None for frame in main.tracked], boxes)


SCENES: dict[str, Callable[[Clip, Clip], Scene]] = {
    'A B A': cut_between,
    'shot and reverse shot': shot_and_reverse,
    'passing by': pass_by,
}


def measure(name: str, clips: Sequence[Clip], pairs: Sequence[tuple[Clip, Clip]], detector: Detector) -> None:
    """Prints a row for each kind of scene."""
    for title, make in SCENES.items():
        kept = total = others = 0
        for main, other in pairs:
            scene = make(main, other)
            for tracked, truth, found, box in zip(
                follow(iter(scene.frames), detector), scene.truth, scene.found, scene.boxes, strict=True
            ):
                hidden = box is not None and tracked.face is None  # behind the passer-by
                wrong = tracked.face is not None and (
                    truth == OTHER or (box is not None and is_within(tracked.face, box))
                )
                others += wrong
                total += truth == MAIN and found and not hidden
                kept += truth == MAIN and found and tracked.face is not None and not wrong
        print(f'{name:9s}  {title:23s}  {total:25d}  {f"{kept} = {kept / total:.1%}":14s}  {others:9d}', flush=True)


def is_within(face: Face, box: tuple[float, ...]) -> bool:
    """Returns True if a face is the passer-by's, whose landmarks are within the figure that was pasted in."""
    inside = (face.landmarks >= box[:2]) & (face.landmarks <= (box[0] + box[2], box[1] + box[3]))
    return bool(inside.all())


def compare_features(groups: dict[str, list[Clip]]) -> None:
    """Prints, for each descriptor, the distances of pieces of one clip and of pieces of two."""
    from mtcnn.stages import StageONet  # imported here, because TensorFlow is slow to load
    from scipy.spatial.distance import cdist

    network = StageONet().model

    def describe_by_network(image: np.ndarray, face: Face) -> np.ndarray:
        net = (align(image, face, 48, 0.2)[None].astype(np.float32) - 127.5) / 128
        for number in (1, 2, 3):
            for layer in ('conv', 'prelu', 'maxpool'):
                net = getattr(network, f'{layer}{number}')(net)
        net = network.flatten(network.permute(network.prelu4(network.conv4(net))))
        features = np.asarray(network.prelu5(network.fc5(net)))[0]
        return features / np.linalg.norm(features)

    header = 'descriptor        one person: median, 95%   two people: 1%, median   joined where 0.1% are mistaken'
    print(f'\npeople     {header}')
    descriptors = (
        ('appearance', describe, distance),
        ('last layer of MTCNN', describe_by_network, lambda one, two: float(cdist(one, two).min())),
    )
    for name, clips in groups.items():
        for title, function, measure_distance in descriptors:
            pieces = [describe_pieces(clip, function) for clip in clips]
            same = [measure_distance(first, second) for first, second in pieces]
            pairs = list(permutations(pieces, 2))
            different = [measure_distance(ours[0], theirs[1]) for ours, theirs in pairs]
            if not same or not different:
                continue
            joined = np.mean(np.array(same) < np.quantile(different, 0.001))
            one, two = np.quantile(same, [0.5, 0.95]), np.quantile(different, [0.01, 0.5])
            print(
                f'{name:9s}  {title:20s}  {one[0]:.2f}, {one[1]:.2f}      {two[0]:.2f}, {two[1]:.2f}      {joined:.0%}'
            )


def describe_pieces(clip: Clip, function: Callable[[np.ndarray, Face], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the descriptors of every tenth face, of the clip's first half and of its second."""
    faces = [(image, frame.face) for image, frame in zip(clip.frames, clip.tracked, strict=True) if frame.face][::10]
    described = np.stack([function(image, face) for image, face in faces])
    half = len(described) // 2
    return described[:half], described[half:]


if __name__ == '__main__':
    cli.run(main)
