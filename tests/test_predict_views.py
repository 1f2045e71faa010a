# SPDX-License-Identifier: Apache-2.0
"""The views of an answer for a video, each read by a program that did not write it."""

import html
import itertools
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pympi
import pytest
import webvtt
from praatio import textgrid
from predict_answers import make_answer

from fer.predict.answer import AUDIO_TIER, Segment, read_answer, write_segments
from fer.predict.timelines import cut_overlaps
from fer.predict.views import VIEWS, write_views

TIMELINES = ('vtt', 'eaf', 'textgrid')
# Quotes, an arrow of WebVTT, tags, a line break, an entity, what an address quotes, and a byte that is not UTF-8.
STRANGE_NAME = 'a "b" \'c\' --> <script>alert(1)\n&amp; #1 100%?.mp4' + '\udcff'


@pytest.fixture(scope='module')
def answer(tmp_path_factory):
    """An answer with two people, a gap in the first one, and audio."""
    folder = tmp_path_factory.mktemp('views')
    answer = make_answer(folder / 'clip.mp4', folder / 'out', 300, [range(10, 260), range(100, 180)])
    write_views(answer, TIMELINES)
    return answer


def of_tier(answer, tier):
    return [segment for segment in answer.segments if segment.tier == tier]


def test_cut_of_overlaps_is_their_middle():
    windows = [Segment(AUDIO_TIER, begin, begin + 4.0, 'Sad', 0.5) for begin in (0.0, 2.0, 4.0, 9.0)]
    assert [(s.begin, s.end) for s in cut_overlaps(windows)] == [(0, 3000), (3000, 5000), (5000, 8000), (9000, 13000)]


@pytest.mark.parametrize('spans', [[(0, 4), (0, 4)], [(0, 4), (1, 2)], [(0, 4), (2, 6), (2.1, 6), (3, 3)], [(1, 1)]])
def test_cut_of_any_overlaps_leaves_none(spans):
    cut = cut_overlaps(Segment(AUDIO_TIER, *span, 'Sad', 0.5) for span in spans)
    assert all(one.begin < one.end for one in cut)
    assert all(one.end <= other.begin for one, other in itertools.pairwise(cut))


def test_vtt_has_a_cue_per_segment(answer):
    cues = webvtt.read(answer.folder / 'timeline.vtt').captions
    assert [cue.start_in_seconds for cue in cues] == sorted(cue.start_in_seconds for cue in cues)
    for tier in ('person 1', 'person 2'):
        expected = [(s.begin_s, s.end_s, f'{s.label} {s.score:.2f}') for s in of_tier(answer, tier)]
        found = [(_seconds(cue.start), _seconds(cue.end), cue.text) for cue in cues if cue.voice == tier]
        assert found == [(pytest.approx(begin), pytest.approx(end), text) for begin, end, text in expected]
    assert [cue.text[:-5] for cue in cues if cue.voice == AUDIO_TIER] == [s.label for s in of_tier(answer, AUDIO_TIER)]


def _seconds(clock):
    hours, minutes, seconds = clock.split(':')
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def test_eaf_has_a_tier_per_person_and_audio(answer):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        eaf = pympi.Elan.Eaf(str(answer.folder / 'timeline.eaf'))
    assert list(eaf.get_tier_names()) == ['person 1', 'person 2', AUDIO_TIER]
    for tier in ('person 1', 'person 2'):
        expected = [(round(1000 * s.begin_s), round(1000 * s.end_s), s.label) for s in of_tier(answer, tier)]
        assert [one[:3] for one in sorted(eaf.get_annotation_data_for_tier(tier))] == expected
    audio = [one[:2] for one in sorted(eaf.get_annotation_data_for_tier(AUDIO_TIER))]
    assert audio == [(0, 3000), (3000, 5000), (5000, 7000), (7000, 9000), (9000, 12000)]
    assert set(eaf.get_cv_entries('emotions')) == {f'cve_{name}' for name in answer.summary['recall']}
    media = eaf.get_linked_files()[0]
    assert (media['MEDIA_URL'], media['RELATIVE_MEDIA_URL']) == (f'file://{answer.video}', './../clip.mp4')
    assert media['MIME_TYPE'] == 'video/mp4'


def test_textgrid_has_gaps_as_empty_intervals(answer):
    grid = textgrid.openTextgrid(str(answer.folder / 'timeline.TextGrid'), includeEmptyIntervals=True)
    assert (grid.tierNames, grid.maxTimestamp) == (('person 1', 'person 2', AUDIO_TIER), 12.0)
    for tier in ('person 1', 'person 2'):
        intervals = grid.getTier(tier).entries
        assert [one.end for one in intervals[:-1]] == [one.start for one in intervals[1:]]
        assert (intervals[0].start, intervals[-1].end) == (0, 12.0)
        filled = [(pytest.approx(one.start), pytest.approx(one.end), one.label) for one in intervals if one.label]
        assert filled == [(s.begin_s, s.end_s, s.label) for s in of_tier(answer, tier)]
    assert grid.getTier('person 1').entries[0][1:] == (0.36, '')


def test_timelines_without_any_segment_are_readable(tmp_path):
    answer = make_answer(tmp_path / 'nothing.mp4', tmp_path / 'out', 40, [], audio=False)
    write_views(answer, TIMELINES)
    assert webvtt.read(answer.folder / 'timeline.vtt').captions == []
    assert list(pympi.Elan.Eaf(str(answer.folder / 'timeline.eaf')).get_tier_names()) == []
    grid = textgrid.openTextgrid(str(answer.folder / 'timeline.TextGrid'), includeEmptyIntervals=True)
    assert [tuple(one) for one in grid.getTier('no face').entries] == [(0, 1.6, '')]


def test_timelines_of_a_strange_name_are_readable(tmp_path):
    answer = make_answer(tmp_path / STRANGE_NAME, tmp_path / 'out', 40, [range(1, 41)])
    assert write_views(answer, TIMELINES) == []
    assert len(webvtt.read(answer.folder / 'timeline.vtt').captions) == len(answer.segments)
    media = pympi.Elan.Eaf(str(answer.folder / 'timeline.eaf')).get_linked_files()[0]
    assert Path(media['MEDIA_URL'][7:]).name == answer.video.name.replace('\udcff', '\ufffd')


def test_labels_of_any_text_survive(tmp_path):
    answer = make_answer(tmp_path / 'clip.mp4', tmp_path / 'out', 40, [range(1, 41)], audio=False)
    write_segments(answer.folder / 'segments.csv', [Segment('person 1', 0, 1, 'call "a" --> <b> & c', 0.5)])
    answer = read_answer(answer.video, answer.folder)
    write_views(answer, TIMELINES)
    cue = webvtt.read(answer.folder / 'timeline.vtt').captions[0]
    assert html.unescape(cue.text) == 'call "a" --> <b> & c 0.50'
    grid = textgrid.openTextgrid(str(answer.folder / 'timeline.TextGrid'), includeEmptyIntervals=False)
    assert grid.getTier('person 1').entries[0].label == 'call "a" --> <b> & c'
    tree = ElementTree.parse(answer.folder / 'timeline.eaf')
    assert tree.findtext('.//ANNOTATION_VALUE') == 'call "a" --> <b> & c'


def test_timelines_come_first_in_the_table():
    assert list(VIEWS)[:3] == list(TIMELINES)
