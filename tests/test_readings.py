# SPDX-License-Identifier: Apache-2.0
"""docs/readings.md: every row is complete and names a flag whose help names the section."""

import re

import pytest
from conftest import ROOT
from test_docs import flags_of

pytestmark = pytest.mark.xdist_group('test_docs')  # --help of each program runs once
ROW = re.compile(r'^\| (?!passage|-)(.+) \|$', re.MULTILINE)
FLAG = re.compile(r'`([\w.]+(?:\.py)?) --(\w+)(?:=[\w.-]+)?`')


def read_rows():
    return [[cell.strip() for cell in row.split(' | ')] for row in ROW.findall((ROOT / 'docs/readings.md').read_text())]


def test_rows_have_five_filled_cells():
    assert [row for row in read_rows() if len(row) != 5 or not all(row)] == []


def test_rows_name_flags_that_exist():
    for row in read_rows():
        named = FLAG.findall(row[4])
        assert named, row
        for program, flag in named:
            assert flag in flags_of(program), (program, flag)
