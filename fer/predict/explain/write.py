# SPDX-License-Identifier: Apache-2.0
"""The files of an explanation, below `explain/` in the folder of an answer.

explain.json                  what was explained, how, and in which files
frame_00012_person_1.jpg      a deciding frame: the face, the face under its heat map, and the class
frames_contributions.csv      the part of each frame in the logits of its window
audio_groups.csv              the part of each group of audio features in the logits of a window
"""

import contextlib
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer.emotions import EMOTIONS
from fer.files import atomic_write
from fer.predict.answer import FRAME_SECONDS, RESPONSIBLE_USE
from fer.predict.explain.explainer import LEFT_OUT, SHARE, GroupContributions
from fer.predict.explain.people import AudioExplanation, ExplainedWindow, Overlay, PersonExplanation

FOLDER, INDEX_FILE = 'explain', 'explain.json'
FRAMES_FILE, GROUPS_FILE = 'frames_contributions.csv', 'audio_groups.csv'
_PARTS = tuple(f'c_{name}' for name in EMOTIONS)
FRAMES_COLUMNS = ('member', 'person', 'window', 'frame', 'time_s', *_PARTS)
GROUPS_COLUMNS = ('member', 'person', 'begin_s', 'end_s', 'group', 'features', *_PARTS)
BASELINE, INTERACTION, TOTAL = 'baseline', 'interaction', 'total'  # rows of GROUPS_FILE besides the groups
METHODS = {
    'pictures': 'Grad-CAM (Selvaraju et al. 2017) of the class, on the last map of the network. Each map is scaled by '
    'its own highest place, so colours of two pictures do not compare. `peak` does.',
    SHARE: 'The share of each frame in the mean of all frames. Shares add up to the logits.',
    LEFT_OUT: 'The logits of the window less its logits without the frame. These parts need not add up to the logits.',
    'audio': 'The logits less those with the group at the mean of the training set. The baseline has all groups at '
    'the mean. Baseline, groups and interaction add up to the total, which is the logits.',
}
_SIDE, _STRIP = 224, 20  # pixels of a face and of the line of text below
_QUALITY = 92  # of the JPEGs
_STRONGEST = 0.6  # share of the colour at the highest place
_INK = (255, 255, 255)


def write_explanations(
    folder: Path, people: Iterable[PersonExplanation], audio: Iterable[AudioExplanation] = ()
) -> Path:
    """Writes the files of an explanation, person by person.

    Args:
      folder: of the answer.
      people: taken one by one, so that they may be made while they are written.
      audio: the same.

    Returns:
      The folder of the explanation.
    """
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {'responsible_use': RESPONSIBLE_USE, 'methods': METHODS, 'people': [], 'audio': []}
    with contextlib.ExitStack() as stack:
        frames = _open_table(stack, target / FRAMES_FILE, FRAMES_COLUMNS)
        groups = _open_table(stack, target / GROUPS_FILE, GROUPS_COLUMNS)
        members: list[str] = []  # with pictures
        for one in people:
            if one.overlays and one.member not in members:
                members.append(one.member)
            suffix = f'_member_{members.index(one.member) + 1}' if one.member in members[1:] else ''
            index['people'].append(_describe_person(one, _write_pictures(target, one, suffix)))
            frames.writerows(_frame_rows(one))
            for window in one.windows:
                begin, end = _seconds(window)
                groups.writerows(_group_rows(one.member, one.person, begin, end, window.groups))
        for stretch in audio:
            index['audio'].append(_describe_audio(stretch))
            groups.writerows(_group_rows(stretch.member, 0, stretch.begin_s, stretch.end_s, stretch.groups))
    with atomic_write(target / INDEX_FILE) as file:
        json.dump(index, file, indent=1, ensure_ascii=False)
        file.write('\n')
    return target


def _open_table(stack: contextlib.ExitStack, path: Path, columns: Sequence[str]) -> Any:
    """Returns the CSV writer of a file that is complete when the stack closes."""
    writer = csv.writer(stack.enter_context(atomic_write(path)), lineterminator='\n')
    writer.writerow(columns)
    return writer


def _seconds(window: ExplainedWindow) -> tuple[float, float]:
    """Returns where the first frame of a window begins and its last one ends."""
    return (int(window.frames[0]) - 1) * FRAME_SECONDS, int(window.frames[-1]) * FRAME_SECONDS


def _frame_rows(one: PersonExplanation) -> Iterator[list[str]]:
    """Yields the rows of FRAMES_FILE."""
    for number, window in enumerate(one.windows, start=1):
        for frame, values in zip(window.frames.tolist(), window.contributions.values, strict=True):
            where = [one.member, str(one.person or ''), str(number), str(frame), f'{(frame - 1) * FRAME_SECONDS:.2f}']
            yield where + _format(values)


def _group_rows(
    member: str, person: int, begin_s: float, end_s: float, groups: GroupContributions | None
) -> Iterator[list[str]]:
    """Yields the rows of GROUPS_FILE for a window, whose last one is the sum of the others."""
    if groups is None:
        return
    where = [member, str(person or ''), f'{begin_s:.2f}', f'{end_s:.2f}']
    yield [*where, BASELINE, '', *_format(groups.baseline)]
    for name, size, values in zip(groups.names, groups.sizes, groups.values, strict=True):
        yield [*where, name, str(size), *_format(values)]
    yield [*where, INTERACTION, '', *_format(groups.interaction)]
    yield [*where, TOTAL, str(sum(groups.sizes)), *_format(groups.logits)]


def _format(values: np.ndarray) -> list[str]:
    return [f'{value:.6f}' for value in values]


def _describe_person(one: PersonExplanation, pictures: Sequence[str]) -> dict[str, Any]:
    """Returns what INDEX_FILE has about a person."""
    return {
        'member': one.member,
        'person': one.person or None,
        'emotion': EMOTIONS[one.emotion],
        'layer': one.layer or None,
        'pictures': [
            {
                'file': name,
                'frame': overlay.frame,
                'time_s': round((overlay.frame - 1) * FRAME_SECONDS, 2),
                'logit': round(overlay.logit, 6),
                'peak': round(overlay.peak, 6),
            }
            for name, overlay in zip(pictures, one.overlays, strict=True)
        ],
        'windows': [
            {
                'window': number,
                'first_frame': int(window.frames[0]),
                'last_frame': int(window.frames[-1]),
                'method': window.contributions.method,
                'logit': round(float(window.contributions.logits[one.emotion]), 6),
                'sum_of_frames': round(float(window.contributions.values[:, one.emotion].sum()), 6),
            }
            for number, window in enumerate(one.windows, start=1)
        ],
    }


def _describe_audio(stretch: AudioExplanation) -> dict[str, Any]:
    """Returns what INDEX_FILE has about a stretch of audio."""
    groups, emotion = stretch.groups, stretch.emotion
    return {
        'member': stretch.member,
        'emotion': EMOTIONS[emotion],
        'begin_s': round(stretch.begin_s, 2),
        'end_s': round(stretch.end_s, 2),
        'logit': round(float(groups.logits[emotion]), 6),
        'groups': {
            name: round(float(values[emotion]), 6) for name, values in zip(groups.names, groups.values, strict=True)
        },
    }


def _write_pictures(folder: Path, one: PersonExplanation, suffix: str) -> list[str]:
    """Writes a picture of each deciding frame. Returns the names of the files."""
    names = []
    for overlay in one.overlays:
        name = f'frame_{overlay.frame:05d}_person_{one.person}{suffix}.jpg'
        picture = draw_overlay(overlay, f'{EMOTIONS[one.emotion]}, person {one.person}')
        with atomic_write(folder / name, 'wb', durable=False) as file:
            quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
            file.write(cv2.imencode('.jpg', picture[..., ::-1], quality)[1].tobytes())
        names.append(name)
    return names


def draw_overlay(overlay: Overlay, caption: str) -> np.ndarray:
    """Draws a face, beside it the face under its heat map, and a line of text below.

    Args:
      overlay: the frame.
      caption: ASCII, continued by the time of the frame.

    Returns:
      uint8 [244, 448, 3], RGB. Colour covers as much as the map is high. Between its cells the map is interpolated.
    """
    face = cv2.resize(overlay.face, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    heat = _spread(overlay)
    colour = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = _STRONGEST * heat[..., np.newaxis]
    covered = (face * (1 - share) + colour * share).round().astype(np.uint8)
    strip = np.zeros((_STRIP, 2 * _SIDE, 3), np.uint8)
    text = f'{caption}, {(overlay.frame - 1) * FRAME_SECONDS:.2f} s, logit {overlay.logit:.2f}'
    cv2.putText(strip, text, (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
    return np.concatenate([np.concatenate([face, covered], axis=1), strip])


def _spread(overlay: Overlay) -> np.ndarray:
    """Returns a map with its cells in their places, float32 [224, 224] in [0, 1]. The edge repeats the outer cells."""
    grid = overlay.grid
    scale = 1 / (_SIDE * grid.step)  # cells of a pixel
    shift = (0.5 / _SIDE - grid.first) / grid.step
    matrix = np.array([[scale, 0, shift], [0, scale, shift]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    spread = cv2.warpAffine(overlay.heat, matrix, (_SIDE, _SIDE), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(spread, 0, 1)
