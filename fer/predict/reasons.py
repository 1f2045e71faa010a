# SPDX-License-Identifier: Apache-2.0
"""Explains the answer for a video with each of its networks (fer/predict/explain/)."""

from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from fer.predict.explain.explainer import Explainer, open_explainer
from fer.predict.explain.people import AudioExplanation, Person, PersonExplanation, explain_audio, explain_person
from fer.predict.explain.write import write_explanations
from fer.predict.members import FUNCTIONALS, Member, restore
from fer.predict.passes import Pass, Stretch, Tools


def explain_video(
    folder: Path, seen: Pass, rows: Sequence[array], people: np.ndarray, audio: np.ndarray, tools: Tools
) -> None:
    """Writes what the answers for people and for the audio depend on, to explain/ in the folder of the answer.

    Args:
      folder: of the answer.
      seen: the pass over the video.
      rows: records of each person.
      people: float64 [P, 7], probabilities of each person. NaN without an answer.
      audio: float64 [7], probabilities of the audio. NaN without an answer.
      tools: of the command.
    """

    def of_people() -> Iterator[PersonExplanation]:
        for index, member in enumerate(tools.members):
            if member.reads_faces:
                with open_explainer(member.blueprint, partial(restore, member=member)) as explainer:
                    for person, own in enumerate(rows):
                        records = seen.spool.read(own)
                        # NaN: this member did not answer for the person, without audio or with too few frames.
                        if not (np.isnan(people[person]).any() or np.isnan(records['logits'][:, index]).any()):
                            yield _explain_person(explainer, member, index, seen, person, records, people[person])

        for index, (frames, logits) in seen.heard.of_clips.items():
            if not np.isnan(audio).any():
                member = tools.members[index]
                with open_explainer(member.blueprint, partial(restore, member=member)) as explainer:
                    yield _explain_clips(explainer, member, seen, frames, logits, int(np.argmax(audio)))

    def of_audio() -> Iterator[AudioExplanation]:
        for index, member in enumerate(tools.members):
            if member.kind == FUNCTIONALS and seen.heard.stretches and not np.isnan(audio).any():
                stretch = _deciding(seen.heard.stretches, index, int(np.argmax(audio)))
                with open_explainer(member.blueprint, partial(restore, member=member)) as explainer:
                    values = stretch.values[index]
                    emotion = int(np.argmax(audio))
                    yield explain_audio(explainer, member.name, values, stretch.begin_s, stretch.end_s, emotion)

    with tools.lock:
        write_explanations(folder, of_people(), of_audio())


def _explain_person(
    explainer: Explainer,
    member: Member,
    index: int,
    seen: Pass,
    person: int,
    records: np.ndarray,
    probabilities: np.ndarray,
) -> PersonExplanation:
    clips = seen.open_clips() if member.reads_audio else None

    def read_faces(positions: Sequence[int]) -> list[bytes]:
        return seen.spool.read_faces(records[list(positions)])

    def read_audio(positions: Sequence[int]) -> np.ndarray:
        assert clips is not None, 'a member with audio has answered'
        return np.array(clips[records['frame'][list(positions)] - 1])

    emotion = int(np.argmax(probabilities))
    logits = records['logits'][:, index].astype(np.float64)
    audio = read_audio if member.reads_audio else None
    return explain_person(
        explainer, member.name, Person(person + 1, emotion, records['frame'], logits, read_faces, audio)
    )


def _explain_clips(
    explainer: Explainer, member: Member, seen: Pass, frames: np.ndarray, logits: np.ndarray, emotion: int
) -> PersonExplanation:
    clips = seen.open_clips()
    assert clips is not None, 'a member with audio has answered'

    def read_audio(positions: Sequence[int]) -> np.ndarray:
        return np.array(clips[frames[list(positions)] - 1])

    return explain_person(explainer, member.name, Person(0, emotion, frames, logits, None, read_audio))


def _deciding(stretches: Sequence[Stretch], index: int, emotion: int) -> Stretch:
    """Returns the whole audio if it was analysed, else the window with the highest logit of the emotion."""
    whole = [stretch for stretch in stretches if not stretch.is_window]
    return max(whole or stretches, key=lambda stretch: stretch.logits[index, emotion])
