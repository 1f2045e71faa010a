# SPDX-License-Identifier: Apache-2.0
"""The explanation of a member's answer for a person of a video, and for a stretch of its audio.

Faces come as the JPEGs that the member answered for. They are read when they are needed: only those of the deciding
frames, or of the windows that these lie in.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from fer.data.audio import scale_features
from fer.predict.explain.choice import deciding_frames
from fer.predict.explain.explainer import Explainer, FrameContributions, GroupContributions, Window
from fer.predict.explain.feature_groups import group_features
from fer.predict.explain.fields import Grid
from fer.training.stages import window_length


class Person(NamedTuple):
    """The N frames of a person, as a member answered for them."""

    number: int  # from 1, 0 for audio without a person
    emotion: int  # to explain, the class of the verdict, 0 to 6
    frames: np.ndarray  # int [N], from 1, ascending
    logits: np.ndarray  # float [N, 7], of the member for each frame
    # Returns the JPEGs of the faces at positions within `frames`. None for a member without images.
    read_faces: Callable[[Sequence[int]], Sequence[bytes]] | None = None
    # Returns the audio features at positions within `frames`, float32 [n, D], not scaled. None without audio.
    read_audio: Callable[[Sequence[int]], np.ndarray] | None = None


class Overlay(NamedTuple):
    """A deciding frame, with the places that raise the logit."""

    frame: int  # from 1
    face: np.ndarray  # uint8 [H, W, 3], RGB
    heat: np.ndarray  # float32 [H', W'] in [0, 1]
    grid: Grid  # where the cells of `heat` are
    peak: float  # the highest place before scaling, 0 if nothing raises the logit
    logit: float  # of the frame, for the emotion


class ExplainedWindow(NamedTuple):
    """The parts of a window's logits."""

    frames: np.ndarray  # int [L], from 1
    contributions: FrameContributions
    groups: GroupContributions | None  # None without audio


class PersonExplanation(NamedTuple):
    """The explanation of a member's answer for a person."""

    member: str
    person: int
    emotion: int
    layer: str  # of the heat maps, '' without images
    windows: list[ExplainedWindow]  # by time: all of them if shares are exact, else those with deciding frames
    overlays: list[Overlay]  # highest logit first


class AudioExplanation(NamedTuple):
    """The explanation of a member's answer for a stretch of audio."""

    member: str
    emotion: int
    begin_s: float
    end_s: float
    groups: GroupContributions


def explain_person(explainer: Explainer, member: str, person: Person) -> PersonExplanation:
    """Explains a member's answer for a person.

    Args:
      explainer: of the member, for stills, windows of faces or clips of audio.
      member: its name.
      person: at least one frame, with the faces and the audio that the member reads.
    """
    deciding = deciding_frames(person.frames, person.logits[:, person.emotion])
    explain = _explain_stills if explainer.blueprint.stage.contents.item == 'still' else _explain_windows
    windows, shown = explain(explainer, person, deciding)
    overlays = [shown[at] for at in deciding.tolist() if at in shown]
    return PersonExplanation(member, person.number, person.emotion, explainer.layer, windows, overlays)


def _explain_stills(
    explainer: Explainer, person: Person, deciding: np.ndarray
) -> tuple[list[ExplainedWindow], dict[int, Overlay]]:
    """Returns all frames as one window, and the deciding ones as overlays by position."""
    window = _read_window(explainer, person, deciding)
    shown = _overlays(explainer, person, window, {at: row for row, at in enumerate(deciding.tolist())})
    return [ExplainedWindow(person.frames, explainer.share(person.logits), None)], shown


def _explain_windows(
    explainer: Explainer, person: Person, deciding: np.ndarray
) -> tuple[list[ExplainedWindow], dict[int, Overlay]]:
    """Returns the explained windows by time, and the deciding frames as overlays by position if there are faces."""
    windows: list[ExplainedWindow] = []
    shown: dict[int, Overlay] = {}
    length, size = len(person.frames), window_length(explainer.blueprint)
    for start in range(0, length, size):
        positions = np.arange(start, min(start + size, length))
        here = np.intersect1d(deciding, positions).tolist()
        if here:
            window = _read_window(explainer, person, positions)
            windows.append(_explain_window(explainer, person.frames[positions], window))
            shown |= _overlays(explainer, person, window, {at: at - start for at in here})
        elif explainer.is_exact:  # shares follow from the logits, without the faces
            windows.append(ExplainedWindow(person.frames[positions], explainer.share(person.logits[positions]), None))
    return windows, shown


def _explain_window(explainer: Explainer, frames: np.ndarray, window: Window) -> ExplainedWindow:
    """Returns the parts of a window's logits."""
    groups = None
    if window.audio is not None:
        assert explainer.blueprint.scaling, 'a run with audio has a scaling'
        groups = explainer.explain_groups(window, group_features(explainer.blueprint.scaling.names))
    return ExplainedWindow(frames, explainer.explain_frames(window), groups)


def _read_window(explainer: Explainer, person: Person, positions: np.ndarray) -> Window:
    """Reads what a member needs of a person's frames."""
    blueprint, at = explainer.blueprint, positions.tolist()
    faces = audio = None
    if blueprint.stage.contents.images:
        assert person.read_faces, 'the member reads faces'
        faces = decode_faces(person.read_faces(at))
    if blueprint.stage.contents.audio_size:
        assert person.read_audio, 'the member reads audio'
        assert blueprint.scaling, 'a run with audio has a scaling'
        audio = scale_features(person.read_audio(at), blueprint.scaling)
    return Window(faces, audio)


def decode_faces(jpegs: Sequence[bytes]) -> np.ndarray:
    """Decodes faces of one size, to uint8 [N, H, W, 3], RGB. Pixels equal those of `fer.data.images`."""
    return np.stack([cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for jpeg in jpegs])


def _overlays(explainer: Explainer, person: Person, window: Window, rows: dict[int, int]) -> dict[int, Overlay]:
    """Returns frames of a window with their maps, by position. A window without faces has no maps.

    Args:
      explainer: of the member.
      person: who is in the window.
      window: as the member reads it.
      rows: the frames to show. A position within the person's frames gives the row within the window.
    """
    if window.faces is None:
        return {}
    heats = explainer.show_places(window, person.emotion)
    return {
        at: Overlay(
            frame=int(person.frames[at]),
            face=window.faces[row],
            heat=heats.maps[row],
            grid=explainer.grid,
            peak=float(heats.peaks[row]),
            logit=float(person.logits[at, person.emotion]),
        )
        for at, row in rows.items()
    }


def explain_audio(
    explainer: Explainer, member: str, values: np.ndarray, begin_s: float, end_s: float, emotion: int
) -> AudioExplanation:
    """Explains a member's answer for the functionals of a stretch of audio.

    Args:
      explainer: of the member, which answers for functionals.
      member: its name.
      values: float32 [D], not scaled, in the order of the member's features.
      begin_s: where the stretch begins, in seconds.
      end_s: where it ends.
      emotion: the class of the verdict, 0 to 6.
    """
    scaling = explainer.blueprint.scaling
    assert scaling, 'a run with audio has a scaling'
    window = Window(None, scale_features(values[np.newaxis], scaling))
    return AudioExplanation(
        member, emotion, begin_s, end_s, explainer.explain_groups(window, group_features(scaling.names))
    )
