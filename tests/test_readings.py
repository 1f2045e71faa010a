# SPDX-License-Identifier: Apache-2.0
"""docs/readings.md: every row is complete. A reading names a flag that exists, and a stand-in a file."""

import re

import pytest
from conftest import ROOT
from test_docs import flags_of

from fer.runs.config import TrainConfig
from fer.settings import settings_of

pytestmark = pytest.mark.xdist_group('test_docs')  # --help of each program runs once
DATA = {'val_manifest'}  # its rows are about the data, not about a passage
ROW = re.compile(r'^\| (?!passage|-)(.+) \|$', re.MULTILINE)
FLAG = re.compile(r'`([\w.]+(?:\.py)?) --(\w+)(?:=[\w.-]+)?`')


def read_tables():
    """Rows of the table of readings and of the table of stand-ins."""
    parts = (ROOT / 'docs/readings.md').read_text().split('\n## Stand-ins\n')
    return [[[cell.strip() for cell in row.split(' | ')] for row in ROW.findall(part)] for part in parts]


def test_rows_have_only_filled_cells():
    for rows, cells in zip(read_tables(), (5, 4), strict=True):
        assert rows
        assert [row for row in rows if len(row) != cells or not all(row)] == []


def test_readings_name_flags_that_exist():
    for row in read_tables()[0]:
        named = FLAG.findall(row[4])
        assert named, row
        for program, flag in named:
            assert flag in flags_of(program), (program, flag)


def test_readings_name_flags_whose_help_names_a_section():
    settings = settings_of(TrainConfig)
    named = {flag for row in read_tables()[0] for program, flag in FLAG.findall(row[4]) if program == 'train.py'}
    assert [flag for flag in named - DATA if not settings[flag].section] == []
    later = {flag for flag, one in settings.items() if one.section and one.is_later}
    assert later <= named  # a reading that is added has a row


def test_stand_ins_name_files_that_exist():
    for row in read_tables()[1]:
        named = re.findall(r'`([\w/]+\.(?:py|conf))`', row[3])
        assert named, row
        assert [path for path in named if not (ROOT / path).is_file()] == []
