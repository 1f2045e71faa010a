# SPDX-License-Identifier: Apache-2.0
"""The page of an answer: its data, its links, its words for every verdict, and how it works in a browser."""

import base64
import html.parser
import json
from pathlib import Path
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import numpy as np
import pytest
from predict_answers import make_answer
from test_predict_views import STRANGE_NAME, film

from fer.predict import page
from fer.predict.answer import read_answer, write_summary
from fer.predict.views import VIEWS, write_views
from tests import browser


class Reader(html.parser.HTMLParser):
    """The elements of a page, and its text without scripts."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text, self.scripts, self._open = [], '', [], ''
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open = tag if tag in ('script', 'style') else self._open

    def handle_endtag(self, tag):
        self._open = '' if tag == self._open else self._open

    def handle_data(self, data):
        if self._open == 'script':
            self.scripts.append(data)
        elif not self._open:
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def data(self):
        return json.loads(self.scripts[0])


def read_page(answer):
    assert write_views(answer, ['html']) == []
    return Reader(answer.folder / 'index.html')


def change(answer, **changes):
    write_summary(answer.folder / 'summary.json', answer.summary | changes)
    return read_answer(answer.video, answer.folder)


def values_of(tier):
    return np.frombuffer(base64.b64decode(tier['bins']), np.uint8).reshape(-1, 7)


@pytest.fixture(scope='module')
def answer(tmp_path_factory):
    folder = tmp_path_factory.mktemp('page')
    return make_answer(folder / 'clip.mp4', folder / 'out', 100, [[*range(11, 41), *range(61, 91)], range(30, 41)])


def test_page_has_every_frame_of_a_short_video(answer):
    data = read_page(answer).data()
    rows = {row.frame: row.probabilities for row in answer.frames() if row.person == 1}
    first, second, audio = data['tiers']
    assert (data['bin'], first['first'], second['first']) == (0.04, 10, 29)
    values = values_of(first)
    assert len(values) == 80
    assert (values[30:50] == 255).all()  # the gap
    frames = [10 + number + 1 for number in range(80) if number not in range(30, 50)]
    expected = np.rint(np.stack([rows[frame] for frame in frames]) * 250)
    np.testing.assert_array_equal(np.delete(values, range(30, 50), 0), expected)
    assert audio['windows'] == [[0, 4000, 0, 125]]


def test_page_bins_a_long_video(answer, monkeypatch):
    monkeypatch.setattr(page, 'MOST_BINS', 30)
    data = read_page(answer).data()
    rows = [row for row in answer.frames() if row.person == 1]
    values = values_of(data['tiers'][0])
    assert (data['bin'], data['tiers'][0]['first']) == (0.16, 2)  # bins of 4 frames: 9 to 12, 13 to 16
    np.testing.assert_array_equal(values[0], np.rint(250 * np.mean([row.probabilities for row in rows[:2]], 0)))
    np.testing.assert_array_equal(values[1], np.rint(250 * np.mean([row.probabilities for row in rows[2:6]], 0)))
    assert (values[8:13] == 255).all()


def test_page_shows_the_persons_with_most_frames(answer, monkeypatch):
    monkeypatch.setattr(page, 'MOST_PERSONS', 1)
    found = read_page(answer)
    assert [tier['name'] for tier in found.data()['tiers']] == ['person 1', 'audio']
    assert '1 person with fewer frames has no timeline here' in found.text


def test_table_beside_a_timeline_has_means_and_gaps(answer):
    periods = page._person_timelines(answer, 1, 1)[0].periods
    rows = {row.frame: row.probabilities for row in answer.frames() if row.person == 1}
    assert [(one.begin, one.end) for one in periods] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [one.faces for one in periods] == pytest.approx([15 / 25, 15 / 25, 15 / 25, 15 / 25])
    np.testing.assert_allclose(periods[0].probabilities, np.mean([rows[frame] for frame in range(11, 26)], 0))
    assert page._person_timelines(answer, 1, 1)[1].periods[3].top == ''


@pytest.mark.parametrize('seconds', [0, 0.04, 1, 24, 24.5, 3600, 360000])
def test_table_beside_a_timeline_is_short(seconds):
    assert seconds / page._period_seconds(seconds) <= 24


def test_page_links_a_video_of_strange_name(tmp_path):
    video = tmp_path / ('a:' + STRANGE_NAME)
    video.write_bytes(b'')
    answer = make_answer(video, tmp_path / STRANGE_NAME / 'out', 40, [range(1, 41)])
    attack = '</script><script>alert(1)</script>"><img src=x onerror=alert(2)>'
    answer = change(
        answer, problems=[attack], members=[attack], versions={attack: attack}, responsible_use='javascript:1'
    )
    found = read_page(answer)
    assert [len(found.all(tag)) for tag in ('script', 'img', 'b')] == [2, 0, 2]
    assert found.text.count(attack) == 4
    assert not any(name.startswith('on') for _, attrs in found.elements for name in attrs)
    assert not any('javascript' in attrs.get('href', '') for attrs in found.all('a'))
    address = urljoin((answer.folder / 'index.html').as_uri(), found.all('video')[0]['src'])
    assert Path(unquote_to_bytes(urlsplit(address).path).decode('utf-8', 'surrogateescape')) == video
    assert not urlsplit(address).query + urlsplit(address).fragment


def test_page_plays_the_annotated_video_if_written(answer):
    assert read_page(answer).all('video') == []
    (answer.folder / 'annotated.mp4').write_bytes(b'')
    assert read_page(answer).all('video')[0]['src'] == 'annotated.mp4'
    (answer.folder / 'annotated.mp4').unlink()


def test_page_of_unhidden_faces_is_a_remark(answer):
    [remark] = write_views(answer, ['html'], blur_others=True)
    assert 'whose faces are not hidden' in remark


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'verdict': 'Happy', 'probabilities': {'Happy': 0.71}}, 'Happy, 71%'),
        ({'verdict': 'uncertain'}, 'has less than 40%, the threshold'),
        ({'verdict': None, 'probabilities': None, 'why': 'two faces'}, 'There is no verdict: two faces.'),
        ({'verdict': None, 'probabilities': None}, 'no person has a face in at least 5 frames'),
        ({'persons': [], 'verdict': 'uncertain'}, 'It is from the audio alone'),
        ({'recall': None, 'members': ['a']}, 'These networks have no card'),
        ({'members': [{'name': 'one', 'model': 'ffn', 'recall': {'Sad': 0.437}}]}, 'one, model ffn'),
        ({'members': [{'name': 'one', 'model': 'ffn', 'recall': {'Sad': 0.437}}]}, 'Sad44%'),
        ({'persons': [], 'audio': None}, 'No person was found, and no audio was analysed'),
    ],
)
def test_page_explains_each_verdict(answer, changes, words):
    names = dict.fromkeys(answer.summary['recall'], 0.0)
    if changes.get('probabilities'):
        changes = changes | {'probabilities': names | changes['probabilities']}
    text = ' '.join(read_page(change(answer, **changes)).text.split())
    change(answer)
    assert words in text


def test_page_needs_no_network_and_nothing_else(answer):
    found = read_page(answer)
    assert [attrs for attrs in found.all('script') if 'src' in attrs] == found.all('link') == []
    policy = next(attrs['content'] for attrs in found.all('meta') if attrs.get('http-equiv'))
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert list(VIEWS)[-2:] == ['video', 'html']


def test_page_works_in_a_browser(tmp_path):
    """Chromium needs some seconds, so other checks are made with `python -m tests.browser`."""
    pytest.importorskip('playwright')
    if browser.find_browser() is None:
        pytest.skip('no Chromium on the PATH')
    video = film(tmp_path / 'a.mp4', seconds=4).rename(tmp_path / STRANGE_NAME)
    answer = make_answer(video, tmp_path / 'out' / STRANGE_NAME, 100, [range(11, 91)])
    assert write_views(answer, ['video', 'html']) == []
    with browser.open_browser() as opened:
        found = browser.use_page(opened, answer.folder / 'index.html', 'light', 390)
    assert (found['messages'], found['requests'], found['width']) == ([], [], 390)
    times = {action: state['slider'] for action, state in found['states'].items()}
    expected = {'click': 2, 'Home': 0, 'ArrowRight': 1, 'Shift+ArrowRight': 1.04, 'ArrowLeft': 0.04, 'End': 4}
    assert times == pytest.approx(expected | {'PageDown': 0, 'PageUp': 4, 'row': 1}, abs=0.02)
    assert all(state['video'] == pytest.approx(state['slider'], abs=0.02) for state in found['states'].values())
    assert found['states']['Home']['text'] == '0:00.0, no face'
    assert found['played'] > 0.3
