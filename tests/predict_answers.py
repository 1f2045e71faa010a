# SPDX-License-Identifier: Apache-2.0
"""Answers for videos, made up without a network."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer.emotions import EMOTIONS
from fer.errors import one_line
from fer.predict.answer import (
    AUDIO_TIER,
    FRAME_SECONDS,
    FRAMES_FILE,
    SEGMENTS_FILE,
    SUMMARY_FILE,
    Answer,
    FrameRow,
    Segment,
    name_tier,
    read_answer,
    write_frames,
    write_segments,
    write_summary,
)

VERSIONS = {'fer': '1.0', 'python': '3.11'}


def make_answer(
    video: Path,
    folder: Path,
    frames: int,
    present: Sequence[range],
    *,
    audio: bool = True,
    size: int = 64,
    seed: int = 0,
) -> Answer:
    """Writes a made-up answer for a video.

    Args:
      video: its file, which may be missing.
      folder: for the answer.
      frames: of the video.
      present: for each person, the frames (from 1) in which the person has a face.
      audio: whether the audio has an answer too.
      size: of the picture, in pixels.
      seed: of the probabilities.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    segments, persons = [], []
    rows: list[FrameRow] = []
    for person, span in enumerate(present, 1):
        probabilities = _smooth(rng.dirichlet(np.full(7, 0.3), len(span)))
        box = (size * 0.1 * person, size * 0.2, size * 0.25, size * 0.3)
        rows += [FrameRow(f, person, box, 0.9, p) for f, p in zip(span, probabilities, strict=True)]
        segments += _segments(name_tier(person), span, probabilities)
        persons.append({'id': person, 'frames': len(span), **_verdict(probabilities)})
    seen = {row.frame for row in rows}
    rows += [FrameRow(frame, 0, None, 0.0, None) for frame in range(1, frames + 1) if frame not in seen]
    duration = frames * FRAME_SECONDS
    audio_verdict = _verdict(rng.dirichlet(np.ones(7), 3)) if audio else None
    if audio:
        starts = np.arange(0, max(duration - 2, 0.1), 2)
        segments += [
            Segment(AUDIO_TIER, s, min(s + 4, duration), EMOTIONS[i % 7], 0.5 + i % 3 / 10)
            for i, s in enumerate(starts)
        ]
    write_frames(folder / FRAMES_FILE, sorted(rows, key=lambda row: (row.frame, row.person)))
    write_segments(folder / SEGMENTS_FILE, segments)
    main: dict[str, Any] = max(persons, key=lambda p: p['frames'], default={})
    write_summary(
        folder / SUMMARY_FILE,
        {
            **{'video': one_line(video.name), 'duration_s': duration, 'frames': frames, 'frames_with_face': len(seen)},
            **{'persons': persons, 'verdict': main.get('verdict'), 'probabilities': main.get('probabilities')},
            **{'audio': audio_verdict, 'threshold': 0.4, 'min_faces': 5, 'width': size, 'height': size},
            **{'members': ['starter/face', 'starter/voice'], 'method': 3, 'temperature': 1.3, 'versions': VERSIONS},
            **{'weights_sha256': {'starter/face': 'ab' * 32}, 'problems': ['a made-up answer']},
            'recall': dict(zip(EMOTIONS, np.linspace(0.3, 0.9, 7).round(3).tolist(), strict=True)),
            'responsible_use': 'https://example.org/responsible-use',
        },
    )
    return read_answer(video, folder)


def _smooth(probabilities: np.ndarray) -> np.ndarray:
    kernel = np.ones(min(15, len(probabilities)))
    mixed = np.stack([np.convolve(column, kernel, 'same') for column in probabilities.T], 1)
    return mixed / mixed.sum(1, keepdims=True)


def _segments(tier: str, span: range, probabilities: np.ndarray) -> list[Segment]:
    tops = probabilities.argmax(1)
    cuts = [0, *(np.flatnonzero(np.diff(tops)) + 1).tolist(), len(tops)]
    return [
        Segment(
            tier,
            (span[begin] - 1) * FRAME_SECONDS,
            span[end - 1] * FRAME_SECONDS,
            EMOTIONS[tops[begin]],
            float(probabilities[begin:end, tops[begin]].mean()),
        )
        for begin, end in itertools.pairwise(cuts)
        if begin < end
    ]


def _verdict(probabilities: np.ndarray) -> dict[str, Any]:
    if len(probabilities) < 3:
        return {'verdict': None, 'probabilities': None}
    mean = probabilities.mean(0)
    top = int(mean.argmax())
    return {
        'verdict': EMOTIONS[top] if mean[top] >= 0.4 else 'uncertain',
        'probabilities': dict(zip(EMOTIONS, mean.round(6).tolist(), strict=True)),
    }
