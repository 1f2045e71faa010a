# SPDX-License-Identifier: Apache-2.0
"""The segments of an answer as timelines for players (WebVTT), ELAN (EAF) and Praat (TextGrid).

Each person has a tier, and so has the audio. A tier of ELAN and Praat may not overlap, but windows of the audio overlap
by half. So of two windows that overlap, the earlier one ends and the later one begins in the middle of the overlap. The
three files do the same. segments.csv has the windows as they were analysed.
"""

import mimetypes
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from fer.emotions import EMOTIONS
from fer.errors import one_line
from fer.files import atomic_write
from fer.predict.answer import AUDIO_TIER, FRAME_SECONDS, RESPONSIBLE_USE, Answer, Segment, name_tier

VTT_FILE, EAF_FILE, TEXTGRID_FILE = 'timeline.vtt', 'timeline.eaf', 'timeline.TextGrid'
CUT_NOTE = 'Windows of the audio overlap. Here each ends, and the next one begins, in the middle of their overlap.'
_EMPTY_TIER = 'no face'  # of a TextGrid without any other tier, because Praat refuses one without tiers
_VOCABULARY, _LANGUAGE = 'emotions', 'eng'
_NOT_XML = re.compile('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')
_SCHEMA = 'http://www.mpi.nl/tools/elan/EAFv3.0.xsd'
_SCHEMAS = 'http://www.w3.org/2001/XMLSchema-instance'


class Stretch(NamedTuple):
    """A segment in whole milliseconds that overlaps no other one of its tier, and is not empty."""

    begin: int
    end: int
    label: str
    score: float

    @property
    def seconds(self) -> tuple[float, float]:
        """Returns the begin and the end in seconds."""
        return self.begin / 1000, self.end / 1000


def tiers_of(answer: Answer) -> dict[str, list[Stretch]]:
    """Returns the stretches of each tier by time: of the persons in order, then of the audio.

    A person without a segment has an empty tier, and so has audio without a window.
    """
    tiers: dict[str, list[Segment]] = {name_tier(person['id']): [] for person in answer.summary['persons']}
    if answer.summary.get('audio'):
        tiers[AUDIO_TIER] = []
    for segment in answer.segments:
        tiers.setdefault(segment.tier, []).append(segment)
    return {tier: cut_overlaps(segments) for tier, segments in tiers.items()}


def cut_overlaps(segments: Iterable[Segment]) -> list[Stretch]:
    """Cuts segments of one tier where they overlap, in the middle of the overlap.

    Args:
      segments: of one tier, in any order.

    Returns:
      By time. Segments of less than half a millisecond are left out.
    """
    stretches: list[Stretch] = []
    for segment in sorted(segments, key=lambda segment: (segment.begin_s, segment.end_s)):
        begin, end = round(1000 * segment.begin_s), round(1000 * segment.end_s)
        if stretches and begin < stretches[-1].end:
            begin = max(round((begin + min(stretches[-1].end, end)) / 2), stretches[-1].begin)
            stretches[-1] = stretches[-1]._replace(end=begin)
            if stretches[-1].begin == begin:
                stretches.pop()
        if begin < end:
            stretches.append(Stretch(begin, end, segment.label, segment.score))
    return stretches


def write_vtt(answer: Answer) -> None:
    """Writes timeline.vtt: a cue for each segment, `<v person 1>Happy 0.83`, by time (W3C WebVTT)."""
    cues = sorted(
        (stretch.begin, stretch.end, number, tier, stretch)
        for number, (tier, stretches) in enumerate(tiers_of(answer).items())
        for stretch in stretches
    )
    # A note may not contain an arrow, because an arrow makes a line the time of a cue.
    name = one_line(answer.video.name).replace('-->', '->')
    with atomic_write(answer.folder / VTT_FILE) as file:
        file.write(f'WEBVTT\n\nNOTE Emotions in {name}, with their mean probability. {CUT_NOTE}\n')
        file.write(f'\nNOTE Responsible use: {RESPONSIBLE_USE} of the software\n')
        for begin, end, _, tier, stretch in cues:
            text = f'<v {_escape_cue(tier)}>{_escape_cue(stretch.label)} {stretch.score:.2f}'
            file.write(f'\n{_format_clock(begin)} --> {_format_clock(end)}\n{text}\n')


def _escape_cue(text: str) -> str:
    return one_line(text).replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')


def _format_clock(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f'{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}'


def write_eaf(answer: Answer) -> None:
    """Writes timeline.eaf for ELAN, format 3.0, with a controlled vocabulary of the seven emotions.

    ELAN looks for the video at its absolute path, then at the path relative to the file. It reads these paths without
    undoing any percent-encoding, so they have none.
    """
    tiers = tiers_of(answer)
    root = ET.Element('ANNOTATION_DOCUMENT', {'AUTHOR': 'fer.predict', 'DATE': _date_of(answer), 'FORMAT': '3.0'})
    root.attrib |= {'VERSION': '3.0', 'xmlns:xsi': _SCHEMAS, 'xsi:noNamespaceSchemaLocation': _SCHEMA}
    header = ET.SubElement(root, 'HEADER', {'MEDIA_FILE': '', 'TIME_UNITS': 'milliseconds'})
    ET.SubElement(header, 'MEDIA_DESCRIPTOR', _describe_media(answer))
    ET.SubElement(header, 'PROPERTY', {'NAME': 'audio windows'}).text = CUT_NOTE
    ET.SubElement(header, 'PROPERTY', {'NAME': 'responsible use'}).text = RESPONSIBLE_USE
    count = sum(map(len, tiers.values()))
    ET.SubElement(header, 'PROPERTY', {'NAME': 'lastUsedAnnotationId'}).text = str(count)
    times = sorted({time for stretches in tiers.values() for s in stretches for time in (s.begin, s.end)})
    slots = {time: f'ts{number}' for number, time in enumerate(times, 1)}
    order = ET.SubElement(root, 'TIME_ORDER')
    for time, slot in slots.items():
        ET.SubElement(order, 'TIME_SLOT', {'TIME_SLOT_ID': slot, 'TIME_VALUE': str(time)})
    number = 0
    for tier, stretches in tiers.items():
        element = ET.SubElement(root, 'TIER', {'LINGUISTIC_TYPE_REF': 'emotion', 'TIER_ID': _for_xml(tier)})
        for stretch in stretches:
            number += 1
            _add_annotation(element, f'a{number}', slots[stretch.begin], slots[stretch.end], stretch.label)
    _add_vocabulary(root)
    ET.indent(root, ' ')
    with atomic_write(answer.folder / EAF_FILE, 'wb') as file:
        ET.ElementTree(root).write(file, encoding='UTF-8', xml_declaration=True)


def _describe_media(answer: Answer) -> dict[str, str]:
    path = answer.video.resolve()
    relative = Path(os.path.relpath(path, answer.folder.resolve())).as_posix()
    return {
        'MEDIA_URL': _for_xml(f'file://{path.as_posix()}'),
        'MIME_TYPE': mimetypes.guess_type(path.name)[0] or 'unknown',
        'RELATIVE_MEDIA_URL': _for_xml(f'./{relative}'),
    }


def _for_xml(text: str) -> str:
    """Returns a text in which a mark takes the place of each character that XML does not allow."""
    return _NOT_XML.sub('\ufffd', text)


def _date_of(answer: Answer) -> str:
    """Returns when the video was made, so that an answer that is written again has the same bytes."""
    seconds = answer.video.stat().st_mtime if answer.video.exists() else 0
    return datetime.fromtimestamp(int(seconds), timezone.utc).isoformat()


def _add_annotation(tier: ET.Element, identifier: str, begin: str, end: str, label: str) -> None:
    annotation = ET.SubElement(tier, 'ANNOTATION')
    values = {'ANNOTATION_ID': identifier, 'TIME_SLOT_REF1': begin, 'TIME_SLOT_REF2': end}
    if label in EMOTIONS:
        values['CVE_REF'] = f'cve_{label}'
    alignable = ET.SubElement(annotation, 'ALIGNABLE_ANNOTATION', values)
    ET.SubElement(alignable, 'ANNOTATION_VALUE').text = _for_xml(label)


def _add_vocabulary(root: ET.Element) -> None:
    """Adds the type of all tiers, and the emotions that its annotations may have."""
    kind = {'CONTROLLED_VOCABULARY_REF': _VOCABULARY, 'GRAPHIC_REFERENCES': 'false', 'LINGUISTIC_TYPE_ID': 'emotion'}
    ET.SubElement(root, 'LINGUISTIC_TYPE', kind | {'TIME_ALIGNABLE': 'true'})
    language = {'LANG_DEF': 'http://cdb.iso.org/lg/CDB-00138502-001', 'LANG_ID': _LANGUAGE, 'LANG_LABEL': 'English'}
    ET.SubElement(root, 'LANGUAGE', language)
    vocabulary = ET.SubElement(root, 'CONTROLLED_VOCABULARY', {'CV_ID': _VOCABULARY})
    ET.SubElement(vocabulary, 'DESCRIPTION', {'LANG_REF': _LANGUAGE})
    for name in EMOTIONS:
        entry = ET.SubElement(vocabulary, 'CV_ENTRY_ML', {'CVE_ID': f'cve_{name}'})
        ET.SubElement(entry, 'CVE_VALUE', {'LANG_REF': _LANGUAGE}).text = name


def write_textgrid(answer: Answer) -> None:
    """Writes timeline.TextGrid for Praat, in the long text format. Times without a segment are empty intervals."""
    tiers = tiers_of(answer) or {_EMPTY_TIER: []}
    ends = [stretches[-1].end for stretches in tiers.values() if stretches]
    end = max([round(1000 * answer.summary['duration_s']), round(1000 * FRAME_SECONDS), *ends])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', '', 'xmin = 0', f'xmax = {_seconds(end)}']
    lines += ['tiers? <exists>', f'size = {len(tiers)}', 'item []:']
    for number, (tier, stretches) in enumerate(tiers.items(), 1):
        intervals = _fill_gaps(stretches, end)
        lines += [f'    item [{number}]:', '        class = "IntervalTier"', f'        name = {_quote(tier)}']
        lines += ['        xmin = 0', f'        xmax = {_seconds(end)}', f'        intervals: size = {len(intervals)}']
        for position, (first, last, label) in enumerate(intervals, 1):
            lines += [f'        intervals [{position}]:', f'            xmin = {_seconds(first)}']
            lines += [f'            xmax = {_seconds(last)}', f'            text = {_quote(label)}']
    with atomic_write(answer.folder / TEXTGRID_FILE) as file:
        file.writelines(f'{line}\n' for line in lines)


def _fill_gaps(stretches: Sequence[Stretch], end: int) -> list[tuple[int, int, str]]:
    """Returns intervals from 0 to `end` milliseconds without a gap, those between the stretches with an empty text."""
    intervals: list[tuple[int, int, str]] = []
    now = 0
    for stretch in stretches:
        if now < stretch.begin:
            intervals.append((now, stretch.begin, ''))
        intervals.append((stretch.begin, stretch.end, stretch.label))
        now = stretch.end
    return [*intervals, (now, end, '')] if now < end else intervals


def _seconds(milliseconds: int) -> str:
    return f'{milliseconds / 1000:.3f}'


def _quote(text: str) -> str:
    return '"' + one_line(text).replace('"', '""') + '"'
