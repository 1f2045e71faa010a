# SPDX-License-Identifier: Apache-2.0
"""Files that are either whole or absent."""

import pytest

from fer.files import atomic_write, remove_temporaries

LONGEST = 255  # bytes that file systems allow in a name


@pytest.mark.parametrize('name', ['a', 'ä' * (LONGEST // 2) + 'b', 'n' * (LONGEST - 5) + '.json'])
def test_any_allowed_name_can_be_written(tmp_path, name):
    with atomic_write(tmp_path / name) as file:
        file.write('ä\n')
        assert not (tmp_path / name).exists()
        (temporary,) = tmp_path.iterdir()
        assert temporary.name.startswith('.')
    assert (tmp_path / name).read_bytes() == 'ä\n'.encode()
    assert len(list(tmp_path.iterdir())) == 1


def test_several_files_may_be_open_at_once(tmp_path):
    with atomic_write(tmp_path / 'a') as a, atomic_write(tmp_path / 'b', 'wb') as b, atomic_write(tmp_path / 'a') as c:
        a.write('first')
        b.write(b'other')
        c.write('second')
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {'a': 'first', 'b': 'other'}


def test_a_failed_write_leaves_the_file_before(tmp_path):
    path = tmp_path / 'a'
    path.write_text('before')

    def fail():
        with atomic_write(path) as file:
            file.write('half')
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {'a': 'before'}


def test_temporaries_of_killed_writers_are_removed(tmp_path):
    """Files with similar names stay."""
    with atomic_write(tmp_path / 'a'):
        (temporary,) = tmp_path.iterdir()
    for path in (temporary, tmp_path / '.notes.tmp', tmp_path / f'{temporary.name[1:]}'):
        path.touch()
    remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {'a', '.notes.tmp', temporary.name[1:]}
