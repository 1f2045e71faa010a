# SPDX-License-Identifier: Apache-2.0
"""The rules of our English that a machine can check (tests/prose.py measures the others)."""

import pytest

from tests.prose import ROOMS, Passage, badly_begun, banned, find_files, read_passages, sentences


@pytest.mark.parametrize('room', ROOMS)
def test_no_banned_words(room):
    assert banned(passage for path in find_files(ROOMS[room]) for passage in read_passages(path)) == []


def test_measures_of_a_made_up_module(tmp_path):
    words = {'anew', 'lacks', 'sound'}
    path = tmp_path / 'audio.py'
    path.write_text(
        'def load(path):\n    """What `sound` means in code may stay."""\n'
        f"    raise ValueError(f'{{path}} {' '.join(words)} a line')  # {' '.join(words)}\n"
    )
    passages = read_passages(path)
    assert [passage.kind for passage in passages] == ['function', 'message', 'comment']
    assert len(banned(passages, tmp_path)) == 2 * len(words)
    assert len(badly_begun(passages, tmp_path)) == 1
    assert badly_begun([Passage(path, 1, 'Returns a line.', 'function')], tmp_path) == []


def test_sentences_are_split_at_ends_and_blank_lines():
    text = 'Reads a file. Its lines are\nrows of numbers.\n\nArgs:\n  path: of the file, as in `a.b`.'
    assert [len(words) for words in sentences(text)] == [3, 6, 7]
