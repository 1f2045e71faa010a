# SPDX-License-Identifier: Apache-2.0
"""The page of an answer: one self-contained HTML file that plays the video beside its timelines, without a network.

A timeline of hours is binned: at most MOST_BINS bins, each with the mean probabilities of its frames.
"""

import base64
import functools
import hashlib
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fer.emotions import EMOTIONS, NUM_CLASSES
from fer.errors import one_line
from fer.files import atomic_write
from fer.predict.annotate import VIDEO_FILE, main_person
from fer.predict.answer import (
    AUDIO_TIER,
    FRAME_SECONDS,
    FRAMES_FILE,
    SEGMENTS_FILE,
    SUMMARY_FILE,
    Answer,
    name_tier,
)
from fer.predict.palette import COLOURS
from fer.predict.timelines import CUT_NOTE, EAF_FILE, TEXTGRID_FILE, VTT_FILE, Stretch, tiers_of

PAGE_FILE = 'index.html'
MOST_BINS = 3000  # of a timeline, so that an hour has bins of 1.2 seconds
MOST_PERSONS = 24  # with a timeline, those with most frames
_MOST_PERIODS = 24  # rows of the table beside a timeline
_PERIODS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # seconds that a row may stand for
_NO_FACE = 255  # in place of probabilities, which are 0..250
_FULL = 250
_FILES = {
    FRAMES_FILE: 'every frame, with all probabilities',
    SEGMENTS_FILE: 'stretches of equal emotion',
    SUMMARY_FILE: 'the verdicts, and what they were made with',
    VTT_FILE: 'segments as subtitles',
    EAF_FILE: 'segments for ELAN',
    TEXTGRID_FILE: 'segments for Praat',
    VIDEO_FILE: 'the video with boxes and bars',
}


class Period(NamedTuple):
    """A row of the table beside a timeline."""

    begin: float  # seconds
    end: float
    faces: float | None  # share of the frames with an answer in [0, 1]. None for audio
    probabilities: Sequence[float] | None  # [7], their mean. None without an answer, and for audio
    top: str  # the most probable emotion, '' without an answer
    score: float  # its mean probability


class Timeline(NamedTuple):
    """A person or the audio, with the table of its timeline."""

    name: str
    periods: list[Period]
    data: dict[str, Any]  # for the script


def write_page(answer: Answer) -> None:
    """Writes index.html. It plays annotated.mp4 if the folder has it, or else the video itself by a relative link."""
    period = _period_seconds(answer.summary['duration_s'])
    bin_frames = max(1, math.ceil(answer.summary['frames'] / MOST_BINS))
    timelines = [*_person_timelines(answer, bin_frames, period), *_audio_timeline(answer, period)]
    templates = _templates()
    script = _read_template('page.js')
    data = {
        **{'duration': answer.summary['duration_s'], 'bin': bin_frames * FRAME_SECONDS, 'full': _FULL},
        **{'none': _NO_FACE, 'emotions': EMOTIONS, 'colours': list(COLOURS.values())},
        'tiers': [timeline.data for timeline in timelines],
    }
    text = templates.get_template('index.html').render(
        **{'name': one_line(answer.video.name), 'summary': answer.summary, 'timelines': timelines, 'data': data},
        **{
            'emotions': EMOTIONS,
            'colours': COLOURS,
            'period_text': _period_text(period),
            'bin_seconds': bin_frames * FRAME_SECONDS,
        },
        **{'source': _source_of(answer), 'is_annotated': (answer.folder / VIDEO_FILE).exists(), 'cut_note': CUT_NOTE},
        files=[(file, text) for file, text in _FILES.items() if (answer.folder / file).exists()],
        hidden_persons=max(0, len(answer.summary['persons']) - MOST_PERSONS),
        main=main_person(answer),
        recalls=_recalls(answer.summary),
        members=_members(answer.summary),
        responsible_use=_web_address(answer.summary.get('responsible_use')),
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    with atomic_write(answer.folder / PAGE_FILE) as file:
        file.write(text)


def _person_timelines(answer: Answer, bin_frames: int, period: int) -> list[Timeline]:
    """Reads the frames once, and returns the timelines of the persons with most frames, in the order of their ids."""
    persons = sorted(answer.summary['persons'], key=lambda person: -person['frames'])[:MOST_PERSONS]
    frames = answer.summary['frames']
    period_frames = round(period / FRAME_SECONDS)
    # Sums of the probabilities, and in the last column the number of frames.
    shape = {step: (math.ceil(frames / step), NUM_CLASSES + 1) for step in (bin_frames, period_frames)}
    sums = {person['id']: [np.zeros(shape[step]) for step in (bin_frames, period_frames)] for person in persons}
    values = np.ones(NUM_CLASSES + 1)
    for row in answer.frames():
        if row.person in sums and row.probabilities is not None and row.frame <= frames:
            values[:-1] = row.probabilities
            by_bin, by_period = sums[row.person]
            by_bin[(row.frame - 1) // bin_frames] += values
            by_period[(row.frame - 1) // period_frames] += values
    return [
        Timeline(
            name_tier(person),
            _person_periods(by_period, frames, period_frames),
            {'name': name_tier(person), **_pack_bins(by_bin)},
        )
        for person, (by_bin, by_period) in sorted(sums.items())
    ]


def _pack_bins(sums: np.ndarray) -> dict[str, Any]:
    """Returns the bins between the first and the last one with an answer: bytes [bins, 7] in base64."""
    filled = np.flatnonzero(sums[:, -1])
    if not len(filled):
        return {'first': 0, 'bins': ''}
    sums = sums[filled[0] : filled[-1] + 1]
    means = sums[:, :-1] / np.maximum(sums[:, -1:], 1)
    packed = np.where(sums[:, -1:] > 0, np.rint(means * _FULL), _NO_FACE).astype(np.uint8)
    return {'first': int(filled[0]), 'bins': base64.b64encode(packed.tobytes()).decode()}


def _person_periods(sums: np.ndarray, frames: int, period_frames: int) -> list[Period]:
    periods = []
    for number, total in enumerate(sums):
        first, last = number * period_frames, min((number + 1) * period_frames, frames)
        span, count = (first * FRAME_SECONDS, last * FRAME_SECONDS), int(total[-1])
        if not count:
            periods.append(Period(*span, 0.0, None, '', 0.0))
            continue
        means = (total[:-1] / count).tolist()
        top = int(np.argmax(means))
        periods.append(Period(*span, count / (last - first), means, EMOTIONS[top], means[top]))
    return periods


def _audio_timeline(answer: Answer, period: int) -> list[Timeline]:
    stretches = tiers_of(answer).get(AUDIO_TIER)
    if stretches is None:
        return []
    windows = [
        [stretch.begin, stretch.end, EMOTIONS.index(stretch.label), round(_FULL * stretch.score)]
        for stretch in stretches
        if stretch.label in EMOTIONS
    ]
    duration = answer.summary['duration_s']
    periods = [
        _audio_period(stretches, begin, min(begin + period, duration))
        for begin in range(0, math.ceil(duration), period)
        if begin < duration
    ]
    return [Timeline(AUDIO_TIER, periods, {'name': AUDIO_TIER, 'windows': windows})]


def _audio_period(stretches: Sequence[Stretch], begin: float, end: float) -> Period:
    """Returns the emotion that fills most of a period of the audio, and its mean probability there."""
    seconds, scores = dict.fromkeys(EMOTIONS, 0.0), dict.fromkeys(EMOTIONS, 0.0)
    for stretch in stretches:
        first, last = stretch.seconds
        inside = min(last, end) - max(first, begin)
        if inside > 0 and stretch.label in seconds:
            seconds[stretch.label] += inside
            scores[stretch.label] += inside * stretch.score
    top = max(EMOTIONS, key=lambda name: seconds[name])
    if not seconds[top]:
        return Period(begin, end, None, None, '', 0.0)
    return Period(begin, end, None, None, top, scores[top] / seconds[top])


def _period_seconds(duration: float) -> int:
    """Returns how many seconds a row of a table stands for, so that a table has few rows."""
    return next(
        (p for p in _PERIODS if duration / p <= _MOST_PERIODS), math.ceil(duration / _MOST_PERIODS / 3600) * 3600
    )


def _period_text(seconds: int) -> str:
    return f'{seconds // 60} min' if seconds % 60 == 0 else f'{seconds} s'


def _source_of(answer: Answer) -> str:
    """Returns the address of the video to play, relative to the page, or '' if there is no file."""
    if (answer.folder / VIDEO_FILE).exists():
        return VIDEO_FILE
    if not answer.video.is_file():
        return ''
    # A browser goes up by names, not through links, so neither path is resolved.
    return quote(os.fsencode(os.path.relpath(os.path.abspath(answer.video), os.path.abspath(answer.folder))))


def _recalls(summary: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Returns the recall of each emotion by network, or the only known one."""
    members = [member for member in summary['members'] if isinstance(member, dict) and member.get('recall')]
    if members:
        return [(str(member.get('name', '')), member['recall']) for member in members]
    return [(str(summary.get('recall_of') or 'the networks'), summary['recall'])] if summary.get('recall') else []


def _members(summary: dict[str, Any]) -> list[str]:
    """Returns each network in a line."""
    lines = []
    for member in summary['members']:
        facts = dict(member) if isinstance(member, dict) else {'name': member}
        facts.pop('recall', None)
        texts = [str(facts.pop('name', ''))]
        for key, value in facts.items():
            texts.append(
                f'{key.replace("_", " ")} {value:.3f}'
                if isinstance(value, float)
                else f'{key.replace("_", " ")} {value}'
            )
        lines.append(', '.join(texts))
    return lines


def _web_address(address: object) -> str:
    """Returns an address that a page may link, else ''."""
    return address if isinstance(address, str) and address.startswith(('https://', 'http://')) else ''


@functools.cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader('fer.predict'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {'percent': _percent, 'clock': _format_clock}
    return environment


def _read_template(name: str) -> str:
    environment = _templates()
    assert environment.loader
    return environment.loader.get_source(environment, name)[0]


def _percent(share: float | None) -> str:
    return '' if share is None else f'{100 * share:.0f}%'


def _format_clock(seconds: float) -> str:
    """Returns a time such as 1:02:03 or 2:03.4."""
    whole, tenths = divmod(round(10 * seconds), 10)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f'{hours}:{minutes:02}:{whole % 60:02}'
    return f'{minutes}:{whole % 60:02}' + (f'.{tenths}' if tenths else '')
