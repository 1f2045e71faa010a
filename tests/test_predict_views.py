# SPDX-License-Identifier: Apache-2.0
"""The views of an answer for a video, each read by a program that did not write it."""

import html
import itertools
import warnings
from pathlib import Path
from xml.etree import ElementTree

import av
import cv2
import ffmpeg
import numpy as np
import pympi
import pytest
import webvtt
from praatio import textgrid
from predict_answers import make_answer

from fer.predict import annotate
from fer.predict.answer import AUDIO_TIER, Segment, read_answer, write_segments
from fer.predict.timelines import cut_overlaps
from fer.predict.views import VIEWS, write_views
from fer.prepare.ffmpeg import FFMPEG
from fer.prepare.media import Choice, extract_wav

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


def film(path, size='64x48', pattern='testsrc', seconds=1, **options):
    """Writes a video with a chirp as its audio, whose shifts in time show."""
    streams = [
        ffmpeg.input(f'{pattern}=size={size}:rate=30', f='lavfi'),
        ffmpeg.input('aevalsrc=0.5*sin(2000*t*t):s=16000', f='lavfi'),
    ]
    ffmpeg.output(*streams, str(path), t=seconds, loglevel='error', **options).run(cmd=FFMPEG, overwrite_output=True)
    return path


def packets(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def pictures(path):
    """Returns the frames as OpenCV reads them, RGB."""
    capture = cv2.VideoCapture(str(path))
    found = []
    while (frame := capture.read())[0]:
        found.append(frame[1][:, :, ::-1])
    return found


def waves(answer):
    """Returns the audio of the source and of the annotated video."""
    samples = []
    for number, path in enumerate((answer.video, answer.folder / 'annotated.mp4')):
        extract_wav(path, answer.folder / f'{number}.wav', sample_rate=16000)
        samples.append(np.frombuffer((answer.folder / f'{number}.wav').read_bytes()[44:], '<i2').astype(float))
    return samples


@pytest.mark.parametrize(
    ('name', 'codec', 'copied'),
    [
        ('a.mp4', 'aac', True),
        ('a.ts', 'aac', True),
        ('a.mkv', 'libopus', True),
        ('b.mp4', 'libmp3lame', True),
        ('a.avi', 'pcm_s16le', False),
    ],
)
def test_annotated_video_keeps_audio_in_time(tmp_path, name, codec, copied):
    answer = make_answer(film(tmp_path / name, acodec=codec), tmp_path / 'out', 25, [range(1, 26)])
    remarks = write_views(answer, ['video'])
    assert [one for one in remarks if 'encoded again' in one] == ([] if copied else remarks)
    assert bool(remarks) is not copied
    if copied and name != 'a.ts':  # where each packet has a header that an MP4 stores once
        assert packets(answer.folder / 'annotated.mp4') == packets(answer.video)
    source, written = waves(answer)
    assert abs(len(source) - len(written)) <= 1600
    length = min(len(source), len(written)) - 2000
    shifts = [np.dot(source[1000:length], written[1000 + shift : length + shift]) for shift in range(-400, 401, 10)]
    assert abs(int(np.argmax(shifts)) - 40) <= 16  # 0.01 s


def test_annotated_video_has_a_picture_per_frame(tmp_path):
    answer = make_answer(film(tmp_path / 'a.mp4', '320x240'), tmp_path / 'out', 25, [range(5, 20)], size=240)
    assert write_views(answer, ['video']) == []
    source, written = pictures(answer.video), pictures(answer.folder / 'annotated.mp4')
    assert (len(written), written[0].shape) == (25, (240, 320, 3))
    with av.open(str(answer.folder / 'annotated.mp4')) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == ('h264', 'yuv420p', 25)
    # Box: left 24, top 48, width 60, height 72. Bars are to the right of it.
    changed = [np.abs(written[k].astype(float) - source[round(k * 1.2)]).mean(2) for k in (0, 10)]
    assert changed[0].mean() < 6
    assert changed[1][50:100, 90:130].mean() > 40 > 10 > changed[1][200:, 200:].mean()


@pytest.mark.parametrize(('limit', 'size', 'is_named'), [(1920, (52, 64), False), (32, (26, 32), True)])
def test_annotated_video_has_even_sides_within_limit(tmp_path, monkeypatch, limit, size, is_named):
    monkeypatch.setattr(annotate, 'LONGEST_SIDE', limit)
    video = film(tmp_path / 'a.mkv', '65x51', vcodec='ffv1')
    answer = make_answer(video, tmp_path / 'out', 25, [range(1, 26)])
    remarks = write_views(answer, ['video'])
    assert any('scaled down from 65x51 to 32x26' in one for one in remarks) is is_named
    assert {picture.shape for picture in pictures(answer.folder / 'annotated.mp4')} == {(*size, 3)}


def test_blur_hides_everyone_except_the_main_person(tmp_path):
    answer = make_answer(
        film(tmp_path / 'a.mp4', '320x240', 'cellauto'),
        *(tmp_path / 'out', 25, [range(1, 26), range(3, 9)]),
        size=240,
    )
    remarks = write_views(answer, ['video'], blur_others=True)
    assert 'hides faces that were found' in remarks[-1]
    hidden = pictures(answer.folder / 'annotated.mp4')
    write_views(answer, ['video'])
    shown = pictures(answer.folder / 'annotated.mp4')
    # Person 2: left 48, top 48, width 60, height 72, of which the lower part is free of texts.
    for number in (0, 5, 20):
        parts = [np.abs(np.diff(one[number][125:138, 50:100].astype(float), axis=1)).mean() for one in (hidden, shown)]
        assert parts[0] < 0.35 * parts[1], number
        assert np.abs(hidden[number][220:, 200:].astype(float) - shown[number][220:, 200:]).mean() < 15


def test_hidden_face_stays_hidden_where_it_was_missed(tmp_path):
    answer = make_answer(tmp_path / 'a.mp4', tmp_path / 'out', 120, [range(1, 121), [40, *range(50, 60)]], audio=False)
    scenes = [scene.hidden for scene in annotate._hide_others(answer)]
    assert [number for number, hidden in enumerate(scenes, 1) if hidden] == list(range(15, 85))
    assert annotate._between((1, (0, 0, 9, 9)), (3, (8, 4, 9, 5))) == (2, 1, 9, 8)


def test_video_that_is_gone_is_a_remark(tmp_path):
    answer = make_answer(tmp_path / 'a.mp4', tmp_path / 'out', 25, [range(1, 26)])
    answer.video.write_bytes(b'no video')
    (answer.folder / 'annotated.mp4').write_bytes(b'of an earlier answer')
    [remark] = write_views(answer, ['video'])
    assert remark.startswith('no annotated.mp4: ')
    assert not (answer.folder / 'annotated.mp4').exists()


def test_annotated_video_has_the_chosen_streams(tmp_path):
    inputs = [ffmpeg.input(film(tmp_path / f'{name}.mp4', pattern=name)) for name in ('testsrc', 'smptebars')]
    both = tmp_path / 'both.mp4'
    streams = [inputs[1].video, inputs[1].audio, inputs[0].video]
    ffmpeg.output(*streams, str(both), c='copy', loglevel='error').run(cmd=FFMPEG)
    answer = make_answer(both, tmp_path / 'out', 25, [range(1, 26)])
    write_views(answer, ['video'], streams=Choice(video=1))
    paths = (answer.folder / 'annotated.mp4', *(tmp_path / f'{name}.mp4' for name in ('testsrc', 'smptebars')))
    written, chosen, other = (pictures(path)[0][40:].astype(float) for path in paths)
    assert np.abs(written - chosen).mean() < 30 < 60 < np.abs(written - other).mean()


def test_main_person_is_the_one_of_the_verdict(tmp_path):
    answer = make_answer(tmp_path / 'a.mp4', tmp_path / 'out', 25, [range(1, 9), range(1, 26), range(1, 26)])
    assert annotate.main_person(answer) == 2
    answer.summary['main_person'] = 3
    assert annotate.main_person(answer) == 3
